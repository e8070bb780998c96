"""Run every benchmark and rewrite the table of docs/performance.md.

Run:   python -m bench
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import PAGE, Case, machine, rewrite
from pipeline import console
from pipeline.cli import run
from pipeline.errors import PipelineError

# Not run with the others: they take half an hour and hours, and have pages or tables of their own.
OTHERS = (
    "__init__",
    "__main__",
    "cells",
    "day_one",
    "measure",
    "probe",
    "results",
    "scale",
    "shifts",
    "skeletons",
    "strangers",
    "syncs",
    "systems",
    "train",
)


def table(found: dict[str, dict[str, Case]]) -> str:
    """Return the Markdown table of all benchmarks."""
    lines = [
        f"Measured on {machine()}, Python {platform.python_version()}. A ratio above 1 means that "
        "this project does better; spread is the range of its runs relative to their median.",
        "",
        "| benchmark | case | this project | instead of it | ratio | runs | spread |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for bench, cases in found.items():
        for name, case in cases.items():
            lines.append(
                f"| {bench} | {name} | {case['ours']:.4g} {case['unit']} "
                f"| {case['opponent']:.4g} {case['unit']} | {case['ratio']:.3g} "
                f"| {case['runs']} | {case['spread']:.0%} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure everything against what a user would run instead."""
    names = sorted(
        file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in OTHERS
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            out = Path(folder) / f"{name}.json"
            # A process each: what one leaves in memory or in thread pools must not slow the next.
            done = subprocess.run([sys.executable, "-m", f"bench.{name}", "--json", out])
            if done.returncode:
                raise PipelineError(f"bench.{name} failed. Run it alone: python -m bench.{name}")
            found[name] = json.loads(out.read_text())
    rewrite("bench", table(found))
    console.summary(PAGE, f"{len(names)} benchmarks", "git diff docs/performance.md")


if __name__ == "__main__":
    run(main)
