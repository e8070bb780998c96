"""What all tests share: the project's folder, golden numbers, real files, commands."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import console

ROOT = Path(__file__).parent.parent

# Fixtures `project` and `extracted`: a small dataset as extraction leaves it.
pytest_plugins = ["tests.fake_extraction"]

# One thread per process: the suite is many small computations, and numbers stay the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    return Path(os.environ.get("GOLDEN_DIR", ROOT / "tests" / "golden"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("CSIP_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip("real split files are not here; set CSIP_REAL_DATA to their folder")
    return folder


@pytest.fixture
def command() -> Command:
    """Run a module of the project as a command, as `command("extract.index", "--help")`."""

    def call(module: str, *arguments: object, cwd: Path = ROOT, **environment: str):
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Forget MMEngine's default scope and `-q`: stages have a process each, tests share one."""
    yield
    console.set_quiet(False)
    if "mmengine.registry" in sys.modules:
        from mmengine.registry import DefaultScope

        DefaultScope._instance_dict.clear()
