"""Errors that a user can cause, and how names are suggested for misspelt ones."""

from collections.abc import Iterable
from difflib import get_close_matches


class PipelineError(Exception):
    """A problem the user can solve: one line saying what happened, where, and what to do.

    Command lines print the message alone and exit with code 1; `-v` adds the traceback.
    """


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
