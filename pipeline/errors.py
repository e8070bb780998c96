"""Errors that a user can cause, and how names are suggested for misspelt ones."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches


class PipelineError(Exception):
    """A problem the user can solve: one line saying what happened, where, and what to do.

    Command lines print the message alone and exit with code 1; `-v` adds the traceback.
    """


# What nobody but the user can change, and how.
_CURES = {
    errno.ENOSPC: "Free some space and run the same command again: finished work is kept",
    errno.EDQUOT: "Free some space of your quota and run the same command again",
    errno.EFBIG: "The limit on the size of files is reached (ulimit -f). Raise it",
    errno.EROFS: "The disk is read-only. Work in a folder on another, or mount it to be written",
    errno.EACCES: "Change the permissions, or work in a folder of your own",
    errno.EPERM: "Change the permissions, or work in a folder of your own",
    errno.EMFILE: "Too many files are open. Raise the limit (ulimit -n 4096)",
    errno.ENFILE: "Too many files are open on this machine. End other programs",
    errno.ENOMEM: "Lower runtime.workers or runtime.batch_frames, or end other programs",
    errno.EIO: "The disk is failing, or its network: look at its messages (dmesg)",
    errno.ESTALE: "The network's disk is gone and back. Run the same command again",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOENT: "Put it there, or run the command in the project's folder",
    errno.ENOTDIR: "A file lies where a folder should be. Move it away",
    errno.EISDIR: "A folder lies where a file should be. Move it away",
    errno.ELOOP: "A link leads to itself. Remove it",
}
# What libraries say of a full disk where they raise no OSError.
_FULL = re.compile(
    r"No space left on device|os error 28\b|File too large|os error 27\b|failed writing file"
    r"|[0-9]+ requested and [0-9]+ written|Read-only file system|os error 30\b",
    re.IGNORECASE,
)
_FROM_A_WORKER = re.compile(r"^Caught \w+ in .*\bOriginal Traceback\b", re.DOTALL)


def told(error: BaseException) -> str:
    """Return the line that a command ends with after any error.

    >>> told(OSError(errno.ENOSPC, "No space left on device", "data/x"))[:42]
    'data/x: No space left on device. Free some'
    """
    text = str(error).strip()
    if _FROM_A_WORKER.match(text):
        # Workers of PyTorch send the page, whose last line is what was raised.
        name, _, rest = text.splitlines()[-1].partition(": ")
        text = rest if name.rpartition(".")[2] == PipelineError.__name__ else f"{name}: {rest}"
    if isinstance(error, PipelineError):
        return " ".join(text.split())
    if isinstance(error, OSError) and error.errno in _CURES:
        names = [str(one) for one in (error.filename, error.filename2) if one is not None]
        where = f"{' -> '.join(names)}: " if names else ""
        return f"{where}{error.strerror}. {_CURES[error.errno]}"
    if isinstance(error, MemoryError):
        return f"memory ran out ({text or 'of this process'}). {_CURES[errno.ENOMEM]}"
    line = " ".join(text.split())[:300]
    if is_full(error):
        return f"{line}. {_CURES[errno.ENOSPC]}"
    return (
        f"{type(error).__name__}: {line}. This is no fault that this program knows: "
        "work/error.txt says where it happened. Was a file damaged? Make it again: dvc repro"
    )


def is_full(error: BaseException) -> bool:
    """Return whether a disk took no more, whatever a library makes of that."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    return bool(_FULL.search(str(error)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the known word nearest to `name`, or all of them.

    >>> did_you_mean("encodr", ["encoder", "epochs"])
    'Did you mean encoder?'
    >>> did_you_mean("zzz", ["encoder", "epochs"])
    'Known: encoder, epochs.'
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
