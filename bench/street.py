"""What helps a model of rendered people on a real street: candidates, each tried once.

Run it:   python -m bench.street
Needs:    the dataset `street` (docs/datasets.md), up to its shards

The candidates were listed before any of them was scored. Each is trained on other walkers than the
default run's (`walkers.seed: 1`) and judged by their test people alone: as they are, and with
galleries that look otherwise (`bench.shifts`). The street is scored once per candidate and decides
nothing; all of it is reported, with intervals over its persons.
"""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.clones import Clone
from bench.measure import DEFAULT, machine, rewrite
from pipeline import console, paths
from pipeline.cli import run
from pipeline.errors import PipelineError

PAGE, FOUND = Path("docs/datasets.md"), Path("docs/street.json")
STREET, TARGET = "street", f"score@{DEFAULT}"
BASE = ["walkers.seed=1"]
JITTER = ["stage1.jitter=1.0", "stage2.jitter=1.0"]
_TRANSFORMS = ",".join(
    [
        "{type:train.data.transforms.ClipFlip,prob:0.5}",
        "{type:train.data.transforms.ClipJitter,strength:1.0}",
        "{type:train.data.transforms.LowResolution,prob:0.33,heights:[24,96]}",
        "{type:train.data.transforms.ClipErase,prob:0.3,value:[124,116,104]}",
    ]
)
SMALL_FRAMES = [f"+overrides.stage2.train_dataloader.dataset.transforms=[{_TRANSFORMS}]"]
PEOPLE = ["walkers.identities_train=240", "stage1.epochs=10", "stage2.epochs=15"]
PEOPLE += ["stage2.milestones=[10,13]", "stage1.skeleton_epochs=20"]
CANDIDATES = {
    "default": [],
    "jitter of 1": JITTER,
    "jitter of 1, small frames": [*JITTER, *SMALL_FRAMES],
    "240 people": PEOPLE,
    "240 people, jitter of 1, small frames": [*PEOPLE, *JITTER, *SMALL_FRAMES],
}
# At test alone, with the default model; the weight is fixed beforehand.
AT_TEST = {
    "default, skeletons at test too": ["embed.descriptor=both", "embed.skeleton_weight=0.3"],
    "default, skeletons alone": ["embed.descriptor=skeleton"],
}


def try_candidate(clone: Clone, name: str) -> dict[str, Any]:
    """Train a candidate, and score it on walkers, on shifted walkers, and on the street.

    Returns:
        `walkers` and `shifted` (mAP, the mean over shifts), and `street` by what describes it.
    """
    slug = "street-" + "".join(c if c.isalnum() else "-" for c in name)
    walkers = clone.experiment(slug, [*BASE, *CANDIDATES[name]], TARGET)
    shifted = paths.WORK / "shifts.json"
    clone.call(*_python("bench.shifts", "--json", str(shifted)))
    scores = json.loads((clone.folder / shifted).read_text())
    others = [one["mAP"] for shift, one in scores.items() if shift != "as it is"]
    found = {name: on_street(clone, [])}
    if name == "default":
        found |= {at_test: on_street(clone, knobs) for at_test, knobs in AT_TEST.items()}
    return {
        "walkers": 100 * walkers["mAP"],
        "shifted": sum(others) / len(others),
        "street": found,
    }


def on_street(clone: Clone, changes: list[str]) -> dict[str, Any]:
    """Describe and rank the street by the model that lies in the clone; return its scores."""
    clone.call(*_python("pipeline.params", "--enable", STREET))
    trial = ["--run", DEFAULT, "--try", STREET, f"runs.{DEFAULT}.test={STREET}", *changes]
    for module in ("evaluate.embed", "evaluate.score"):
        clone.call(*_python(module, *trial))
    home = clone.folder / paths.trial_dir(STREET)
    return json.loads((home / paths.report_dir(DEFAULT) / "scores.json").read_text())


def _python(module: str, *arguments: str) -> list[str]:
    return ["python", "-m", module, *arguments]


def lay_out(clone: Clone) -> None:
    """Copy index and shards of the street into the clone.

    Raises:
        PipelineError: If they are not made yet.
    """
    for path in (paths.index_file(STREET), paths.shards_dir(STREET)):
        if not path.exists():
            raise PipelineError(f"{path} is missing. docs/datasets.md says how the street is made")
        target = clone.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copy(path, target)


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown table: what candidates were judged by, and what the street says."""
    lines = [
        f"Trained on `walkers.seed: 1`, one seed, on {machine()}.",
        "",
        "| candidate | walkers, mAP | shifted galleries, mean mAP | street, mAP | street, Rank-1 |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, one in found.items():
        for at_test, scores in one["street"].items():
            judged = f"{one['walkers']:.1f} | {one['shifted']:.1f}" if at_test == name else " | "
            cells = [at_test, judged, *(_interval(scores, key) for key in ("mAP", "rank1"))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _interval(scores: dict[str, Any], name: str) -> str:
    low, high = (100 * scores["interval95"][name][end] for end in ("low", "high"))
    return f"{100 * scores[name]:.1f} [{low:.0f}, {high:.0f}]"


def main(
    only: Annotated[str, typer.Option(help="Only candidates whose name contains this.")] = "",
) -> None:
    """Try every candidate that docs/street.json lacks, and write the table of docs/datasets.md."""
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    clone = Clone(STREET, 0)
    missing = [name for name in CANDIDATES if only in name and name not in found]
    with console.progress(len(missing), "candidates", STREET) as meter:
        for name in missing:
            lay_out(clone)
            found[name] = try_candidate(clone, name)
            with paths.write_atomic(FOUND) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n")
            rewrite("street", table(found), PAGE)
            meter.advance()
    console.summary(PAGE, f"{len(missing)} candidates", "git diff docs/datasets.md")


if __name__ == "__main__":
    run(main)
