"""One run at a time: a lock that the operating system takes back from the dead."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline import paths
from pipeline.errors import PipelineError


@contextmanager
def locked(output: Path, lock: Path | None = None) -> Generator[None]:
    """Hold the right to make `output`; the operating system takes it back when we die.

    Args:
        output: What is being made.
        lock: The file to lock; by default one in `work/locks/` with the output's name.

    Raises:
        PipelineError: If another run holds it.
    """
    lock = lock or paths.WORK / "locks" / str(output).strip("/").replace("/", "-")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as opened:
        try:
            # Not flock: processes forked from here would hold on to it after we are killed.
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PipelineError(
                f"{output} is being made by another run (lock: {lock}). Wait for it to end"
            ) from None
        yield
