"""Say where the results lie once everything is built.

Run after `dvc repro`:   python -m pipeline.finish
"""

import json

from pipeline import console, paths
from pipeline.cli import run
from pipeline.params.config import load


def main() -> None:
    """Print the scores of every dataset and name its report."""
    rows = []
    datasets = load().datasets
    for dataset in datasets:
        file = paths.report_dir(dataset) / "metrics.json"
        if not file.exists():
            console.warn(f"{file} is missing. Run: dvc repro score@{dataset}")
            continue
        metrics = json.loads(file.read_text())
        scores = [f"{100 * metrics[key]:.1f}" for key in ("mAP", "rank1", "rank5", "mINP")]
        rows.append((dataset, *scores, metrics["queries_scored"]))
    console.table("Scores in %", ("dataset", "mAP", "Rank-1", "Rank-5", "mINP", "queries"), rows)
    for dataset in datasets:
        console.say(f"report   {paths.report_dir(dataset) / 'report.html'}")
    console.say("compare  dvc metrics diff; dvc plots show")


if __name__ == "__main__":
    run(main)
