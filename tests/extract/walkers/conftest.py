"""A small dataset of walkers, rendered once for all tests."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline.params.config import load
from tests.conftest import ROOT

SMALL = (
    "walkers.identities_train=3",
    "walkers.identities_test=4",
    "walkers.cameras=3",
    "walkers.frames=[3,5]",
    "walkers.distractors=3",
    "walkers.junk=2",
)


def knobs(*overrides: str):
    return load((*SMALL, *overrides), path=ROOT / "params.yaml").walkers


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with params.yaml in which the small dataset is rendered."""
    folder = tmp_path_factory.mktemp("walkers")
    text = (ROOT / "params.yaml").read_text()
    for override in SMALL:
        key, value = override.removeprefix("walkers.").split("=")
        text, changed = re.subn(rf"^(  {key}:) [^#\n]*", rf"\1 {value} ", text, count=1, flags=re.M)
        assert changed
    (folder / "params.yaml").write_text(text.replace("workers: 2", "workers: 1"))
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "extract.walkers", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dataset(place) -> Path:
    return place / "data" / "raw" / "walkers"


@pytest.fixture(scope="module")
def truth(dataset) -> pd.DataFrame:
    return pd.read_parquet(dataset / "truth.parquet")
