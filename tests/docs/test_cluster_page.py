"""The two-node run of docs/cluster.md, word by word, with two folders for the nodes."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

PATIENCE_S = 300
CODE = ("conf", "dvc.yaml", "evaluate", "extract", "pipeline", "shards", "train")
SMALL = {
    "identities_train": 2, "identities_test": 2, "cameras": 2, "frames": [3, 4],
    "distractors": 2, "junk": 1,
}  # fmt: skip

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def checkout(folder: Path) -> Path:
    """Make a folder that has the code and `.venv`."""
    folder.mkdir()
    for name in CODE:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[Path, Path]:
    """The project folder with a small rendered dataset, and the second node's checkout."""
    first, second = checkout(tmp_path / "first"), checkout(tmp_path / "second")
    knobs = yaml.safe_load((ROOT / "params.yaml").read_text())
    knobs["walkers"] |= SMALL
    (first / "params.yaml").write_text(yaml.safe_dump(knobs))
    weights = Path("data/weights/walkers_pose")
    shutil.copytree(ROOT / weights, first / weights)
    for stage in ("walkers", "index --dataset walkers"):
        finish(first, f".venv/bin/python -m extract.{stage}")
    return first, second


def finish(folder: Path, line: str) -> None:
    with started(folder, line) as process:
        output = process.stdout.read()
        assert process.wait(PATIENCE_S) == 0, output


@contextmanager
def started(folder: Path, line: str) -> Iterator[subprocess.Popen]:
    """Type a line into a shell in `folder`; what still runs when the block ends is stopped."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        f"exec {line}", shell=True, cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def joints(project: Path) -> dict[str, str]:
    files = sorted((project / "work/try/trial/data/pose2d/walkers").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_two_nodes_started_by_hand_give_what_one_machine_gives(nodes):
    first, second = nodes
    page = (ROOT / "docs/cluster.md").read_text()
    page = page.replace("first-node", "127.0.0.1").replace("8786", str(free_port()))
    scheduler, worker, trial = re.findall(r"^    (\.venv/bin/python .*)$", page, re.MULTILINE)
    (knobs,) = re.findall(r"(?:^    .*:.*\n)+(?=\n    \.venv)", page, re.MULTILINE)

    finish(first, trial)
    alone = joints(first)
    assert len(alone) == 3
    shutil.rmtree(first / "work/try/trial")

    params = first / "params.yaml"
    text = yaml.safe_load(params.read_text())
    text["runtime"] |= yaml.safe_load(knobs)["runtime"]
    params.write_text(yaml.safe_dump(text))
    with (
        started(first, scheduler),
        started(first, worker) as one,
        started(second, worker) as other,
    ):
        finish(first, trial)
        for node in (one, other):
            node.terminate()
            log = node.stdout.read()
            assert "Starting Worker plugin pose2d-" in log, log
    assert joints(first) == alone
