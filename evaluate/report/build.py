"""Put the page of a report together."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from evaluate.report.behind import made_before, name_of
from pipeline import console, paths
from pipeline.files import texts
from pipeline.files.reading import reading
from pipeline.stage import Stage

if TYPE_CHECKING:
    from shards.read import Shards


def build(stage: Stage, metrics: dict, shards: "Shards", folder: Path, pictures: Path) -> str:
    """Return the page, and write the ranked lists beside it as PNG.

    Args:
        stage: The command.
        metrics: What scores.json holds.
        shards: The dataset's shards.
        folder: Where scores and curves lie.
        pictures: Folder of the ranked lists, made anew.
    """
    from evaluate.report import page, scores, sections, space

    run, fix = stage.key, f"Run: {stage.rebuild('score')}"
    with reading(folder / "scores.json", "file of scores", fix):
        headline, verification = scores.headline(metrics), scores.verification(metrics)
    made = [
        ("Scores", headline),
        ("Verification", verification),
        ("Curves", scores.curves(folder, fix)),
        ("Camera pairs", sections.cameras(folder, fix)),
        ("How they were seen", sections.views(folder, fix)),
        ("Ranked lists", _ranked(folder, shards, pictures, fix)),
        ("Features", space.features(stage)),
        ("Training", sections.training(stage)),
        ("Skeletons", sections.poses(shards)),
        ("Time", _times(stage)),
        ("Settings", sections.settings(stage)),
        ("Revision", _revision(stage)),
    ]
    title = f"Video person re-identification: {run}"
    subtitle = (
        f"mAP {100 * metrics['mAP']:.1f} %, Rank-1 {100 * metrics['rank1']:.1f} % over "
        f"{metrics['queries_scored']:,} queries and {metrics['gallery']:,} gallery tracklets."
    )
    return page.page(title, subtitle, made)


class Report:
    """One run of the stage.

    Attributes:
        output: The page.
        then: What to do next.
    """

    then = "dvc plots show, or open the page in a browser"

    def __init__(self, stage: Stage) -> None:
        """Read the scores.

        Raises:
            PipelineError: If there are none.
        """
        self._stage, own = stage, paths.report_dir(stage.key)
        self._folder, self._out = stage.read(own), stage.out(own)
        self._metrics = _metrics(stage, self._folder)
        self.output = self._out / "report.html"

    def is_done(self) -> bool:
        """Return False: a page takes seconds."""
        return False

    def plan(self) -> None:
        """Print what would be written."""
        console.say(f"would write {self.output} and {self._out / 'ranked'}/")

    def make(self) -> str:
        """Write the page and the ranked lists."""
        from evaluate.report.sections import by_camera
        from shards.read import Shards

        shards = Shards(self._stage.read(paths.shards_dir(self._stage.dataset)))
        page = build(self._stage, self._metrics, shards, self._folder, self._out / "ranked")
        with paths.write_atomic(self._out / "cameras.json") as temporary:
            text = json.dumps(by_camera(self._folder, self._stage.rebuild("score")), indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
        with paths.write_atomic(self.output) as temporary:
            temporary.write_text(page, encoding="utf-8")
        pictures = len(list((self._out / "ranked").glob("*.png")))
        return f"{console.size(len(page.encode()))}, {pictures} ranked lists"


def _metrics(stage: Stage, folder: Path) -> dict:
    file = folder / "scores.json"
    return texts.read_scores(file, f"Run: {stage.rebuild('score')}")


def _ranked(folder: Path, shards: "Shards", pictures: Path, fix: str) -> str:
    import shutil

    from evaluate.report.sections import ranked_lists

    made = pictures.with_name(f".{pictures.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    content = ranked_lists(folder, shards, made, fix)
    paths.publish_dir(made, pictures)
    return content


def _times(stage: Stage) -> str:
    """Return how long the last run of each stage took, of those that ran on this machine."""
    from evaluate.report import charts
    from evaluate.report.page import grid, paragraph

    files = {
        name_of(made): paths.times_dir(made[1]) / made[0]
        for made in made_before(stage.params, stage.key)
    }
    read = {name: texts.read_number(file) for name, file in files.items() if file.is_file()}
    taken = {name: seconds for name, seconds in read.items() if seconds}
    if not taken:
        return ""
    said = f"{console.duration(sum(taken.values()))} in all, on the machine that made this page."
    return paragraph(said) + grid(charts.bars(taken, "seconds of the last run", " s"))


def _revision(stage: Stage) -> str:
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
    rows = _locked(stage)
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


def _locked(stage: Stage) -> list[tuple[str, str, str]]:
    """Return stage, output and hash of what DVC made for a run, before this page."""
    file, fix = Path("dvc.lock"), "Run: dvc repro"
    if not file.exists():
        return []
    found = texts.read_yaml(file, fix)
    with reading(file, "lock of DVC", fix):
        stages = (found or {}).get("stages") or {}
        return [
            (name, out["path"], out["md5"][:12])
            for name in map(name_of, made_before(stage.params, stage.key))
            for out in stages.get(name, {}).get("outs", [])
            if "md5" in out
        ]
