"""How every reader of files fails: in one line that names the file and says what to do."""

import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError

_LONGEST = 160


@contextmanager
def reading(path: Path, kind: str, fix: str) -> Generator[None]:
    """Turn whatever a library raises while it reads a file into one line.

    Damaged files fail anywhere in their readers and in many ways, so the block holds calls of a
    library alone: nothing of this project can fail in it.

    Args:
        path: The file.
        kind: What it should be, as "Parquet file".
        fix: A sentence that says what to do.

    Raises:
        PipelineError: If it is missing, no plain file, or not readable as what it should be.
    """
    check_plain(path, fix)
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        message = f"{path} is not a readable {kind} ({reason(error)}). {fix}"
        raise PipelineError(message) from error


def check_plain(path: Path, fix: str) -> None:
    """Check that a path names a plain file: a pipe would be waited for, a device read for ever.

    Raises:
        PipelineError: If it is missing or something else.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        where = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        raise PipelineError(f"{path} is missing{where}. {fix}") from None
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} cannot be read ({reason(error)}). {fix}") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise PipelineError(f"{path} is {what} and no file. {fix}")


def is_plain(path: Path) -> bool:
    """Return whether a path names a plain file."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def reason(error: BaseException) -> str:
    """Return what an error says, in one short line.

    >>> reason(KeyError("feature")), reason(OSError(28, "No space left on device"))
    ("KeyError: 'feature'", 'No space left on device')
    """
    if isinstance(error, OSError) and error.strerror and not isinstance(error.strerror, bytes):
        text = error.strerror
    elif isinstance(error, KeyError | RecursionError | MemoryError) or not str(error).strip():
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    else:
        text = str(error)
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
