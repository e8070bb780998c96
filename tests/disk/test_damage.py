"""No damage of any file makes any command fail in another way than by one line that names it."""

import contextlib
import os
import random
import resource
import shutil
import signal
import stat
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.damage import spoil
from tests.disk.project import COMMANDS, Command, Done, call

QUICK, MANY = 3, 40
PATIENCE_S = 20
ROOM_BYTES = 4 << 30


def files_of(command: Command) -> list[Path]:
    """Return what a command reads, each pattern as likely as another."""
    return [sorted(one for one in Path().glob(reads) if one.is_file()) for reads in command.reads]


def fault(done: Done, file: Path) -> str:
    """Return what is wrong with how a command ended, or nothing."""
    if done.raised is not None:
        return "".join(traceback.format_exception(done.raised))[-1500:]
    if "Traceback" in done.err + done.out:
        return f"prints a traceback: {done.err[-1500:]}"
    if not done.code:
        return ""
    errors = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
    if done.code != 1 or len(errors) != 1 or not errors[0].startswith("error: "):
        return f"exit {done.code}, and not one line: {done.err[-1500:]}"
    if "is no fault that this program knows" in errors[0]:
        return f"unforeseen: {errors[0]}"
    # What is wrong between several files of a folder names the folder.
    if file.name not in errors[0] and f"{file.parent}" not in errors[0] and not _root(file, errors):
        return f"{file.name} is not named: {errors[0]}"
    return ""


@contextlib.contextmanager
def bounded(file: Path) -> Iterator[None]:
    """Let a command neither wait for a pipe nor read a device without end."""

    def wake(number: int, frame: object) -> None:
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(file.stat().st_mode):
                os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        raise TimeoutError(f"not done after {PATIENCE_S} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, wake)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, hard))
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _root(file: Path, errors: list[str]) -> bool:
    """Return whether a message names the dataset that the file is one of."""
    return file.parts[:2] == ("data", "raw") and "/".join(file.parts[:3]) in errors[0]


def attempt(built: Path, folder: Path, name: str, seed: int) -> tuple[str, str]:
    """Damage one file that a command reads and run it; return what was done and what went wrong."""
    command, rng = COMMANDS[name], random.Random(f"{name} {seed}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built, folder)
    with contextlib.chdir(folder):
        for one in command.without:
            shutil.rmtree(one)
        file = rng.choice(rng.choice(files_of(command)))
        said = f"{name} {seed}: {file}: {spoil(file, rng)}"
        module, *argv = command.argv.split()
        with bounded(file.absolute()):
            done = call(module, argv)
        return said, fault(done, file)


def run(built: Path, folder: Path, name: str, seeds: range) -> list[str]:
    """Return all that went wrong."""
    tried = [attempt(built, folder, name, seed) for seed in seeds]
    return [f"{said}\n{wrong}" for said, wrong in tried if wrong]


@pytest.mark.parametrize("name", COMMANDS)
def test_sound_files_are_taken(built, tmp_path, name):
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    with contextlib.chdir(tmp_path):
        assert all(files_of(COMMANDS[name])), "a pattern finds nothing"
        for one in COMMANDS[name].without:
            shutil.rmtree(one)
        module, *argv = COMMANDS[name].argv.split()
        done = call(module, argv)
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_damaged_files_are_one_line_that_names_them(built, tmp_path, name):
    wrong = run(built, tmp_path / "copy", name, range(QUICK))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_much_more_damage_is_one_line_too(built, tmp_path, name):
    wrong = run(built, tmp_path / "copy", name, range(QUICK, MANY))
    print(f"{name}: {MANY - QUICK} inputs, {len(wrong)} wrong")
    assert not wrong, "\n\n".join(wrong)
