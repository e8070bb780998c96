"""A disk that takes no more is one line, loses nothing, and can be tried again."""

import contextlib
import hashlib
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.project import COMMANDS, call

# These print, or draw into work/ what they print.
PRINT = ("params", "weights", "finish", "search", "search a video", "attention")
TRAINING = ("stage1", "stage2", "stage2 with words")
PUBLISH = [
    pytest.param(name, marks=pytest.mark.slow if name in TRAINING else ())
    for name in COMMANDS
    if name not in PRINT and not name.startswith("inspect")
]


@pytest.fixture(scope="module")
def undisturbed(built, tmp_path_factory):
    """What each command leaves where nothing happens, and the size of the largest it made."""
    found: dict[str, tuple[dict[str, str], int]] = {}

    def leaves(name: str) -> tuple[dict[str, str], int]:
        if name not in found:
            folder = _copy(built, tmp_path_factory.mktemp("undisturbed") / "copy", name)
            before = {file.stat().st_ino for file in folder.rglob("*")}
            whole = _run(name, folder, 0)
            made = [
                file for file in map(folder.joinpath, whole) if file.stat().st_ino not in before
            ]
            assert made, "it publishes nothing"
            found[name] = whole, max(file.stat().st_size for file in made)
        return found[name]

    return leaves


def _copy(built: Path, folder: Path, name: str) -> Path:
    """Copy the project, without what the command is to make."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built, folder)
    for one in COMMANDS[name].without:
        shutil.rmtree(folder / one)
    return folder


def _run(name: str, folder: Path, code: int) -> dict[str, str]:
    """Run a command, see it end with a code, and return the files outside work/."""
    module, *argv = COMMANDS[name].argv.split()
    with contextlib.chdir(folder):
        done = call(module, argv)
    assert done.raised is None
    assert done.code == code, done.err
    if code:
        errors = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
        assert len(errors) == 1
        assert errors[0].startswith("error: ")
        assert "(ulimit -f)" in errors[0] or "Free some" in errors[0]
    return _files(folder)


def _files(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] not in ("work", ".dask")
    }


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process become larger: Python's, Arrow's, safetensors'."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", PUBLISH)
def test_a_full_disk_is_one_line_and_loses_nothing(built, undisturbed, tmp_path, name):
    whole, largest = undisturbed(name)
    copy = _copy(built, tmp_path / "copy", name)
    before = _files(copy)
    with room_for(largest // 2):
        after = _run(name, copy, 1)
    if name == "export":  # a file a frame: those that are there are whole
        after = {file: digest for file, digest in after.items() if whole[file] != digest}
        before = {}
    assert after == before
    assert _run(name, copy, 0) == whole
