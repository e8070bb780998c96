"""One run at a time: a lock that the operating system takes back from the dead."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.paths import regular

_PAUSE_S = 0.05


@contextmanager
def locked(output: Path, lock: Path | None = None, patience_s: float = 0) -> Generator[None]:
    """Hold the right to make `output`; the operating system takes it back when we die.

    Args:
        output: What is being made.
        lock: The file to lock; by default one in `work/locks/` with the output's name.
        patience_s: How long to wait for another run that holds it.

    Raises:
        PipelineError: If another run holds it.
    """
    lock = lock or paths.WORK / "locks" / str(output).strip("/").replace("/", "-")
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    with regular(lock).open("a") as opened:
        while not _taken(opened):
            if time.monotonic() >= deadline:
                raise PipelineError(
                    f"{output} is being made by another run (lock: {lock}). Wait for it to end"
                )
            time.sleep(_PAUSE_S)
        yield


def _taken(opened: IO[str]) -> bool:
    try:
        # Not flock: processes forked from here would hold on to it after we are killed.
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
