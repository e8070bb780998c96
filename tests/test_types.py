"""Types: what ty finds stands in types.txt, file by file, and may only become less.

Renew it where there is less:   make types
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT

BASELINE = Path(__file__).with_name("types.txt")
CLEAN = ("pipeline", "shards")
CHECKED = (*CLEAN, "extract", "train", "evaluate", "bench", "docs")


def findings() -> list[str]:
    """Return what ty finds, a line each, as `file:line:column: error[rule] words`."""
    command = [Path(sys.executable).with_name("ty"), "check", "--python", sys.prefix]
    options = ["--output-format", "concise", "--no-progress", "--color", "never", *CHECKED]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if ".py:" in line]


def counted(lines: list[str]) -> Counter[str]:
    return Counter(line.split(":")[0] for line in lines)


def baseline() -> Counter[str]:
    rows = (line.split() for line in BASELINE.read_text().splitlines())
    return Counter({file: int(number) for number, file in rows})


def test_there_are_no_more_findings_than_before():
    known, lines = baseline(), findings()
    found = counted(lines)
    more = [line for line in lines if found[line.split(":")[0]] > known[line.split(":")[0]]]
    assert not more, "\n".join(["in a file that had fewer:", *more])
    assert found == known, "there are fewer findings than in tests/types.txt. Run: make types"


def test_the_ground_floors_have_none():
    assert not [file for file in baseline() if file.startswith(CLEAN)]


def main() -> None:
    """Write the findings of each file, unless there are more in all than before."""
    found, known = counted(findings()), baseline()
    if found.total() > known.total():
        sys.exit(f"{found.total()} findings, {known.total()} before. Mend: {found - known}")
    rows = (f"{number} {file}\n" for file, number in sorted(found.items()))
    BASELINE.write_text("".join(rows))
    print(f"{found.total()} findings, {known.total()} before")


if __name__ == "__main__":
    main()
