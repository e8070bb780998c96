"""Check that everything this project needs is there, and say how to get what is not.

Run:   python -m pipeline.doctor [--dataset mars] [--json]
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline import console
from pipeline.cli import run


def main(
    dataset: Annotated[str | None, typer.Option(help="Look at this dataset only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check versions, GPU, DVC, disk, datasets and weights.

    Every line that fails carries the command that fixes it. The exit code is 1 if any does.
    """
    from pipeline.doctor.checks import checks

    found = list(checks(dataset))
    if as_json:
        print(json.dumps([asdict(check) for check in found], indent=2))
    else:
        for check in found:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name:<26} {check.seen}")
            if not check.ok:
                print(f"     fix: {check.fix}")
    bad = sum(not check.ok for check in found)
    if not as_json:
        console.say(f"{len(found) - bad} of {len(found)} checks passed")
    raise typer.Exit(bool(bad))


if __name__ == "__main__":
    run(main)
