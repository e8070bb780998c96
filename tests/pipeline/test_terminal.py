"""What commands print on a terminal: 80 columns, no colours where they are not wanted."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# "Select graphic rendition" with a colour: 30 to 37, 90 to 97, 38;5;n and their backgrounds.
COLOUR = re.compile(r"\x1b\[(?:[\d;]*;)?(?:3\d|4\d|9\d|10\d)[\d;]*m")
ESCAPE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
SCRIPT = """
from pipeline import console
with console.progress(3, "frames", "pose2d") as meter:
    meter.advance(2, failures=1)
console.table("Counts", ("name", "value"), [("a" * 100, 1.5), ("b", 2)])
console.warn("one frame is missing")
"""


def on_a_terminal(columns: int, **environment: str) -> str:
    """Return what the script shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    colourful = {"TERM": "xterm-256color", "COLUMNS": str(columns), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={k: v for k, v in os.environ.items() if k != "NO_COLOR"} | colourful | environment,
    ):  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                # Linux says so when the last one who wrote has gone.
                break
            if not part:
                break
            shown += part
    os.close(ours)
    return shown.decode()


def test_a_terminal_shows_colours_unless_no_color_is_set():
    assert COLOUR.search(on_a_terminal(80))
    shown = on_a_terminal(80, NO_COLOR="1")
    assert not COLOUR.search(shown)
    assert "pose2d" in shown


@pytest.mark.parametrize("columns", [80, 200])
def test_a_table_on_a_terminal_is_at_most_80_columns_wide(columns):
    shown = ESCAPE.sub("", on_a_terminal(columns)).replace("\r", "\n")
    table = shown[shown.index("Counts") :].splitlines()
    assert max(map(len, table)) == 80


def test_no_file_of_the_project_holds_emoji():
    folders = ("bench", "conf", "docs", "evaluate", "extract", "pipeline", "shards", "train")
    files = [file for name in folders for file in (ROOT / name).rglob("*.*")]
    texts = [file for file in files if file.suffix in (".py", ".md", ".yaml")]
    assert len(texts) > 50
    for file in [*texts, ROOT / "README.md", ROOT / "Makefile", ROOT / "params.yaml"]:
        found = re.search("[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]", file.read_text())
        assert not found, f"{file}: {found[0]!r}"
