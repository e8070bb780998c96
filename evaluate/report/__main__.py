"""One page that shows what came out: scores, curves, ranked lists, skeletons, settings.

Run one dataset:   python -m evaluate.report --dataset walkers
"""

import json
from pathlib import Path

from pipeline import console, paths
from pipeline.cli import Dataset, DryRun, Limit, Overrides, Quiet, Stage, Verbose, run, start
from pipeline.errors import PipelineError


def main(
    dataset: Dataset,
    overrides: Overrides = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show what came out as one page and ranked-list pictures.

    Writes reports/DATASET/report.html, which opens offline, PNGs to reports/DATASET/ranked/, and
    cameras.json for a plot by camera.

    Example: python -m evaluate.report --dataset walkers
    """
    stage = start("report", dataset, overrides, limit, dry_run, verbose, quiet)
    folder, out = paths.report_dir(dataset), stage.out(paths.report_dir(dataset))
    metrics = _metrics(stage, folder)
    if dry_run:
        console.say(f"would write {out / 'report.html'} and {out / 'ranked'}/")
        return
    from evaluate.report.build import build
    from evaluate.report.sections import by_camera
    from shards.read import Shards

    shards = Shards(paths.shards_dir(dataset))
    page = build(stage, metrics, shards, folder, out / "ranked")
    with paths.write_atomic(out / "cameras.json") as temporary:
        temporary.write_text(json.dumps(by_camera(folder), indent=1) + "\n", encoding="utf-8")
    with paths.write_atomic(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    pictures = len(list((out / "ranked").glob("*.png")))
    amount = f"{console.size(len(page.encode()))}, {pictures} ranked lists"
    console.summary(out / "report.html", amount, "dvc plots show, or open the page in a browser")


def _metrics(stage: Stage, folder: Path) -> dict:
    file = folder / "metrics.json"
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise PipelineError(f"{file} is missing. Run: {stage.rebuild('score')}") from None
    except ValueError:
        raise PipelineError(f"{file} is no JSON. Run: {stage.rebuild('score')}") from None


if __name__ == "__main__":
    run(main)
