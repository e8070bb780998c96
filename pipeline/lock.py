"""One run at a time: a lock that the operating system takes back from the dead."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError


@contextmanager
def locked(folder: Path, output: Path) -> Iterator[None]:
    """Hold the right to work in `folder`; the operating system takes it back when we die.

    Raises:
        PipelineError: If another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            # Not flock: processes forked from here would hold on to it after we are killed.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PipelineError(
                f"{output} is being made by another run (lock: {lock.name}). Wait for it to end"
            ) from None
        yield
