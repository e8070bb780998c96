"""Score tracklet features the way the dataset's protocol says (docs/protocol.md).

Run it:                     python -m evaluate.score --dataset mars
For any table of features:  python -m evaluate.score --features F.parquet --out DIR
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import console, paths
from pipeline.cli import DryRun, Limit, Overrides, Quiet, Verbose, run, start
from pipeline.errors import PipelineError

Dataset = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="A dataset of params.yaml: its features and rules."),
]
FeatureFiles = Annotated[
    list[Path] | None,
    typer.Option("--features", help="Score this table; repeat it for the tables of ten splits."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to.")]
DistanceFile = Annotated[
    Path | None,
    typer.Option(
        "--distances", help="Rank by this .npy (queries x gallery), in the order of the table."
    ),
]


def main(
    dataset: Dataset = None,
    overrides: Overrides = None,
    features: FeatureFiles = None,
    out: Out = None,
    distances: DistanceFile = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Score features: CMC, mAP, mINP, re-ranked too; output in reports/<dataset>/."""
    if dataset is None and not (features and out):
        raise PipelineError("Name a dataset with --dataset, or a table with --features and --out.")
    stage = start("score", dataset, overrides, limit, dry_run, verbose, quiet)
    from evaluate.score.run import score_tables, show

    tables = features or [paths.features_file(dataset)]
    folder = out or stage.out(paths.report_dir(dataset))
    if dry_run:
        console.say(f"would score {', '.join(map(str, tables))}, write {folder}")
        return
    baselines = None if features or distances else paths.baselines_file(dataset)
    metrics = score_tables(
        stage.params, dataset, tables, folder, distances, limit, baselines=baselines
    )
    show(metrics)
    has_report = dataset and stage.params.datasets[dataset].has_frames
    then = f"dvc repro report@{dataset}" if has_report else f"open {folder / 'metrics.json'}"
    console.summary(folder, f"{metrics['queries_scored']:,} queries scored", then)


if __name__ == "__main__":
    run(main)
