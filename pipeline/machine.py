"""What a machine may lack, said before the work: room on a disk, shared memory, open files."""

import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError

SHARED = Path("/dev/shm")
# Files that one process may hold open at once: of shards, of other processes, of libraries.
FILES = 512
# Batches that every reading process prepares ahead, as PyTorch has it.
AHEAD = 2


def standing(folder: Path) -> Path:
    """Return a folder, or the nearest above it that is there; links are followed."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return folder


def check_space(folder: Path, nbytes: float, what: str) -> None:
    """Check that a disk holds what is about to be written.

    Args:
        folder: Where it is going to be; it need not be there yet.
        nbytes: How much it takes at least.
        what: What it is, for the error.

    Raises:
        PipelineError: If there is too little room.
    """
    free = shutil.disk_usage(standing(folder)).free
    if free < nbytes:
        raise PipelineError(
            f"{what} takes about {console.size(nbytes)}, and {folder} has room for "
            f"{console.size(free)}. Free some space there"
        )


def free_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None where the system has none of that kind."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else None


def check_readers(workers: int, batch: int, example: Any) -> None:
    """Check that batches of processes that read shards fit into shared memory.

    Args:
        workers: Processes; none needs shared memory.
        batch: Items of a batch.
        example: One of them: arrays or tensors, in mappings.

    Raises:
        PipelineError: If they do not: the processes would be killed in the middle of the work.
    """
    needed, free = workers * AHEAD * batch * _nbytes(example), free_shared_memory()
    if free is not None and needed > free:
        raise PipelineError(
            f"/dev/shm has {console.size(free)} free, and {workers} processes that read shards "
            f"need {console.size(needed)}. Set runtime.workers to fewer, or 0 for none, or give "
            "the container more: docker run --shm-size=2g"
        )


def _nbytes(item: Any) -> int:
    if isinstance(item, Mapping):
        return sum(map(_nbytes, item.values()))
    return getattr(item, "nbytes", 0)


def most_files() -> int:
    """Return how many files a process may open at most, having asked for more."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 2**31 - 1 if hard == resource.RLIM_INFINITY else hard


def allow_files() -> None:
    """Let this process, and those it starts, open as many files as it takes.

    Raises:
        PipelineError: If the system does not allow that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES:
        return
    if most_files() < FILES:
        raise PipelineError(
            f"a process may open {most_files()} files here, and needs {FILES}. "
            f"Run: ulimit -n {FILES} (as root, or ask who runs the machine)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
