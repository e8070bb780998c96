"""Put the page of a report together."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console, paths
from pipeline.cli import Stage

if TYPE_CHECKING:
    from shards.read import Shards

STAGES = (
    "walkers", "weights", "index", "pose2d", "pose3d", "shards", "stage1", "stage2", "embed",
    "score",
)  # fmt: skip


def build(stage: Stage, metrics: dict, shards: "Shards", folder: Path, pictures: Path) -> str:
    """Return the page, and write the ranked lists beside it as PNG.

    Args:
        stage: The command.
        metrics: What metrics.json holds.
        shards: The dataset's shards.
        folder: Where scores and curves lie.
        pictures: Folder of the ranked lists, made anew.
    """
    from evaluate.report import page, scores, sections, space

    params, dataset = stage.params, stage.dataset
    made = [
        ("Scores", scores.headline(metrics)),
        ("Verification", scores.verification(metrics)),
        ("Curves", scores.curves(folder)),
        ("Camera pairs", sections.cameras(folder)),
        ("Ranked lists", _ranked(folder, shards, pictures)),
        ("Features", space.features(stage)),
        ("Training", sections.training(folder)),
        ("Skeletons", sections.poses(shards, params, dataset)),
        ("Time", _times(dataset)),
        ("Settings", sections.settings(params, folder, dataset)),
        ("Revision", _revision(dataset)),
    ]
    title = f"Video person re-identification: {dataset}"
    subtitle = (
        f"mAP {100 * metrics['mAP']:.1f} %, Rank-1 {100 * metrics['rank1']:.1f} % over "
        f"{metrics['queries_scored']:,} queries and {metrics['gallery']:,} gallery tracklets."
    )
    return page.page(title, subtitle, made)


def _ranked(folder: Path, shards: "Shards", pictures: Path) -> str:
    import shutil

    from evaluate.report.sections import ranked_lists

    made = pictures.with_name(f".{pictures.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    content = ranked_lists(folder, shards, made)
    paths.publish_dir(made, pictures)
    return content


def _times(dataset: str) -> str:
    """Return how long the last run of each stage took, of those that ran on this machine."""
    from evaluate.report import charts
    from evaluate.report.page import grid, paragraph

    files = {stage: paths.times_dir(dataset) / stage for stage in STAGES}
    taken = {stage: float(file.read_text()) for stage, file in files.items() if file.is_file()}
    if not taken:
        return ""
    said = f"{console.duration(sum(taken.values()))} in all, on the machine that made this page."
    return paragraph(said) + grid(charts.bars(taken, "seconds of the last run", " s"))


def _revision(dataset: str) -> str:
    """Return which code and which data made this: the git commit, and DVC's hashes."""
    from evaluate.report.page import paragraph, table

    commit = _git("rev-parse", "HEAD")
    if not commit:
        said = "Not made inside a git repository."
    else:
        # What `dvc repro` itself changes says nothing about the code.
        made = [":!dvc.lock", ":!reports"]
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *made)
        said = f"git {commit}" + (", with uncommitted changes" if changed else "")
    rows = [(stage, out, md5) for stage, out, md5 in _locked(dataset)]
    hashes = table(("stage", "output", "DVC hash"), rows) if rows else ""
    return paragraph(said) + hashes


def _git(*arguments: str) -> str:
    import subprocess

    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _locked(dataset: str) -> list[tuple[str, str, str]]:
    """Return stage, output and hash of what DVC made for a dataset, before this page."""
    import yaml

    file = Path("dvc.lock")
    stages = (yaml.safe_load(file.read_text()) or {}).get("stages", {}) if file.exists() else {}
    return [
        (name, out["path"], out["md5"][:12])
        for name, locked in stages.items()
        if name.endswith(f"@{dataset}") and not name.startswith("report@")
        for out in locked.get("outs", [])
        if "md5" in out
    ]
