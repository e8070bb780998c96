"""What the doctor looks at on the machine: git and DVC, disks, limits of the system."""

import shutil
import subprocess
import sys
from collections.abc import Iterator

from pipeline import console, machine, paths
from pipeline.doctor.check import INSTALL, Check

LOW_DISK_GB = 20
LOW_SHARED_GB = 1
# What grows, and may lie on another disk.
GROWING = ("data", "work", "models", "reports", ".dvc/cache")


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def git_and_dvc() -> Iterator[Check]:
    """Look whether experiments can be run, and files are linked."""
    yield from _repository()
    name = _ask("git", "config", "user.email") and _ask("git", "config", "user.name")
    fix = "git config user.name NAME; git config user.email ADDRESS"
    yield Check("git identity", bool(name), name or "none; dvc exp run needs one", fix)
    version = _ask(sys.executable, "-m", "dvc", "--version")
    yield Check("dvc", bool(version), version or "does not start", INSTALL)
    for line in _ask(sys.executable, "-m", "dvc", "doctor").splitlines():
        if line.startswith("Cache types:"):
            kinds = line.partition(":")[2].strip().replace("https://error.dvc.org/", "")
            yield Check("dvc cache links", True, kinds)


def _repository() -> Iterator[Check]:
    """DVC refuses to work outside of git unless it is told that there is none."""
    if _ask("git", "rev-parse", "--show-toplevel"):
        yield Check("git repository", True, "yes")
        return
    is_told = _ask(sys.executable, "-m", "dvc", "config", "core.no_scm").lower() == "true"
    seen = "none, and DVC knows" if is_told else "none: DVC will not start"
    yield Check("git repository", is_told, seen, "git init, or: dvc config core.no_scm true")


def disk() -> Iterator[Check]:
    """Look at the free space of every disk that is written to."""
    seen = set()
    for name in ("", *GROWING):
        folder = machine.standing(paths.ROOT / name)
        if (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        free_gb = shutil.disk_usage(folder).free / 2**30
        # Not data/: DVC refuses outputs that a link puts outside of the repository.
        fix = "free some space, or move work/ (a link) and DVC's cache (dvc cache dir) elsewhere"
        what = "free disk" if not name else f"free disk of {name}/"
        yield Check(what, free_gb > LOW_DISK_GB, f"{free_gb:.0f} GB", fix)


def limits() -> Iterator[Check]:
    """Look at what containers and shells keep small."""
    if (free := machine.free_shared_memory()) is not None:
        fix = "give it more (docker run --shm-size=2g), or set runtime.workers to 0"
        is_enough = free > LOW_SHARED_GB * 2**30
        yield Check("shared memory", is_enough, f"{console.size(free)} in /dev/shm", fix)
    files = machine.most_files()
    enough = files >= machine.FILES
    yield Check("open files", enough, f"{files:,}", f"ulimit -n {machine.FILES}")
