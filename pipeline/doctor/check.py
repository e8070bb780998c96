"""One finding of the doctor."""

from dataclasses import dataclass

INSTALL = "python -m pip install -r requirements.txt"


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, what was seen, and the command that fixes it."""

    name: str
    ok: bool
    seen: str
    fix: str = ""
