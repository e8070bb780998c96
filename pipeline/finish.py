"""Say where the results lie once everything is built.

Run after `dvc repro`:   python -m pipeline.finish
"""

from pipeline import console, paths
from pipeline.cli import run
from pipeline.files.texts import read_scores
from pipeline.params.config import load


def main() -> None:
    """Print the scores of every run and name its report."""
    rows = []
    runs = load().runs
    for name in runs:
        file = paths.report_dir(name) / "scores.json"
        if not file.exists():
            console.warn(f"{file} is missing. Run: dvc repro score@{name}")
            continue
        metrics = read_scores(file, f"Run: dvc repro score@{name}")
        scores = [f"{100 * metrics[key]:.1f}" for key in ("mAP", "rank1", "rank5", "mINP")]
        rows.append((name, *scores, metrics["queries_scored"]))
    console.table("Scores in %", ("run", "mAP", "Rank-1", "Rank-5", "mINP", "queries"), rows)
    for name in runs:
        console.say(f"report   {paths.report_dir(name) / 'report.html'}")
    console.say("compare  dvc metrics diff; dvc plots show")


if __name__ == "__main__":
    run(main)
