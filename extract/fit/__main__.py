"""Fit the two small pose models of the walkers to rendered people, and measure them.

Run:       python -m extract.weights --model walkers_pose
Measure:   python -m extract.fit --check
"""

from typing import Annotated

import typer

from pipeline import cli, paths
from pipeline.errors import PipelineError

Check = Annotated[bool, typer.Option("--check", help="Measure the stored weights again.")]


def main(check: Check = False, verbose: cli.Verbose = False, quiet: cli.Quiet = False) -> None:
    """Measure the pose models of the walkers on people they were not fitted to."""
    cli.set_output(verbose, quiet)
    from extract.fit.fit import LIFTER, MODEL, measure, show
    from pipeline.params.config import load

    folder = paths.weights_dir(MODEL)
    if not check:
        raise PipelineError(f"to fit the models run: python -m extract.weights --model {MODEL}")
    if not (folder / LIFTER).exists():
        raise PipelineError(f"{folder} holds no weights yet. Run: dvc repro weights@{MODEL}")
    show(measure(folder, load()))


if __name__ == "__main__":
    cli.run(main)
