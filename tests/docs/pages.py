"""Commands that README.md and docs/ tell people to type."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

PAGES = sorted(
    file.relative_to(ROOT) for pages in ("*.md", "docs/*.md") for file in ROOT.glob(pages)
)
_PROGRAMS = (".venv/bin/", "dvc ", "git ", "make ", "pip ", "pytest ", "python ")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", flags=re.DOTALL | re.MULTILINE)
_NEEDS = re.compile(r"# needs (.+)")


class Command(NamedTuple):
    """A line to type, without its comment, and what it needs that is not here."""

    line: str
    needs: str


def commands(page: Path) -> list[Command]:
    """Return the commands of a page's fenced shell blocks and of its indented lines.

    `# needs ...` marks one that no test can run. On a line of its own, as the first of a block, it
    marks the block.
    """
    fenced = blocks(str(page), "bash")
    text = _FENCE.sub("", (ROOT / page).read_text())
    indented = re.findall(r"^ {4,}(\S.*)$", text, flags=re.MULTILINE)
    typed = [line for line in indented if line.startswith(_PROGRAMS)]
    return [command for block in fenced + typed for command in _of_block(block)]


def _of_block(block: str) -> list[Command]:
    lines = block.replace("\\\n", " ").splitlines()
    above = _NEEDS.match(lines[0])
    found = []
    for line in lines:
        typed, _, comment = line.partition("#")
        own = _NEEDS.match(f"#{comment}")
        if typed.strip():
            mark = own or above
            found.append(Command(" ".join(typed.split()), mark[1] if mark else ""))
    return found


def blocks(name: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language, without the indent of a list."""
    found = _FENCE.finditer((ROOT / name).read_text())
    return [textwrap.dedent(one[3]) for one in found if one[2] == language]


def to_run(name: str) -> list[str]:
    """Return the commands of a page that a test can run."""
    return [command.line for command in commands(Path(name)) if not command.needs]
