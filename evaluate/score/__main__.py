"""Score tracklet features the way the dataset's protocol says (docs/protocol.md).

Run it:                     python -m evaluate.score --run walkers
For any table of features:  python -m evaluate.score --features F.parquet --out DIR
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import cli
from pipeline.errors import PipelineError
from pipeline.stage import Stage, carry_out, start

if TYPE_CHECKING:
    from evaluate.score.run import Scoring

FeatureFiles = Annotated[
    list[Path] | None,
    typer.Option("--features", help="Score this table; repeat it for the tables of ten splits."),
]
Run = Annotated[
    str | None, typer.Option("--run", "-r", help="A run of params.yaml: its features and rules.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to.")]
DistanceFile = Annotated[
    Path | None,
    typer.Option(
        "--distances", help="Rank by this .npy (queries x gallery), in the order of the table."
    ),
]


def main(
    run: Run = None,
    overrides: cli.Overrides = None,
    features: FeatureFiles = None,
    out: Out = None,
    distances: DistanceFile = None,
    limit: cli.Limit = 0,
    dry_run: cli.DryRun = False,
    trial: cli.Try = "",
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Score features: CMC, mAP, mINP, ROC, re-ranked too; output in reports/RUN/."""
    cli.set_output(verbose, quiet)
    if run is None and not (features and out):
        raise PipelineError("Name a run with --run, or a table with --features and --out.")
    if run is None:
        from evaluate.score.run import score_any

        score_any(features, out, distances, overrides or [], limit, dry_run)
        return
    stage = start("score", run, overrides, limit, dry_run, trial)
    carry_out(stage, score(stage, features, out, distances))


def score(
    stage: Stage,
    features: list[Path] | None = None,
    out: Path | None = None,
    distances: Path | None = None,
) -> "Scoring":
    """Describe the scoring of a run's features, or of others by the same rules."""
    from evaluate.score.run import Scoring

    return Scoring(stage, features, out, distances)


if __name__ == "__main__":
    cli.run(main)
