"""Every knob, asked of DVC: what is made again when it changes, in a clone that is up to date.

Nothing is run: DVC compares what each stage lists with dvc.lock, after `code` has had its turn.
`docs/what_runs_again.md` holds the table that is found here.
"""

import copy
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.code import hashes
from pipeline.code.__main__ import FILE
from pipeline.params import config
from tests.conftest import ROOT

PAGE = ROOT / "docs/what_runs_again.md"
# Knobs that stand under another name in the table: those of a whole section that act alike.
ALIKE = {
    "walkers", "index", "pose2d", "silhouettes", "pose3d", "shards", "embed", "score", "runtime",
    "stage1.skeleton", "stage1", "stage2", "overrides.stage1", "overrides.stage2",
}  # fmt: skip


def knobs(
    tree: dict[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every knob with its value; a mapping without keys and a list are one."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from knobs(value, (*above, key))
        else:
            yield (*above, key), value


def other(value: Any) -> Any:
    """Return another value of the same kind: DVC asks only whether it is the same."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return [*value, value[-1]] if isinstance(value, list) and value else {"a": 1}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", str(FILE)):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    return folder


def listed_as_changed(clone: Path) -> set[str]:
    """Return the stages that have other parameters than in dvc.lock, or read other files."""
    from dvc.dependency.param import ParamsDependency
    from dvc.repo import Repo

    locked = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    found = set()
    for stage in Repo(str(clone)).index.stages:
        name = stage.addressing.rpartition(":")[2]
        files = {dep["path"] for dep in locked.get(name, {}).get("deps", [])}
        for dep in stage.deps:
            is_knob = isinstance(dep, ParamsDependency)
            if dep.status() if is_knob else dep.def_path not in files:
                found.add(name)
    return found


def changed_by(clone: Path, params: dict[str, Any]) -> set[str]:
    """Return what has to be made again with other knobs, `code` left out."""
    files = {clone / "params.yaml": yaml.safe_dump(params, sort_keys=False)}
    try:
        # What cannot be, as a dataset of an unknown format, is refused before anything runs.
        table = hashes.table(config.Params.model_validate(params))
        files[clone / FILE] = yaml.safe_dump(table)
    except ValueError:
        pass
    before = {file: file.read_text() for file in files}
    try:
        for file, text in files.items():
            file.write_text(text)
        return listed_as_changed(clone) - {"code"}
    finally:
        for file, text in before.items():
            file.write_text(text)


@pytest.fixture(scope="module")
def found(clone) -> dict[str, set[str]]:
    """Return the stages that each knob of params.yaml changes."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert not changed_by(clone, params), "not up to date: run dvc repro"
    made = {}
    for path, value in knobs(params):
        if path == ("kinect",):  # no line yet; a new one is a stage of its own
            continue
        changed = copy.deepcopy(params)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = other(value)
        made[".".join(path)] = changed_by(clone, changed)
    return made


READ_FILES = ("index", "captions", "pose2d", "silhouettes", "shards")


def expected(knob: str) -> set[str]:
    section, _, rest = knob.partition(".")
    key = knob.rpartition(".")[2]
    own = {
        "walkers": {"walkers"},
        "index": {"index@walkers"},
        "pose2d": {"pose2d@walkers"},
        "silhouettes": {"silhouettes@walkers"},
        "pose3d": {"pose3d@walkers"},
        "shards": {"shards@walkers"},
        "embed": {"embed@walkers"},
        "score": {"score@walkers"},
        # A line for a new dataset or new weights runs their own stages.
        "runtime": set(), "kinect": set(), "weights": set(),
    }  # fmt: skip
    if section in own:
        return own[section]
    if section == "datasets":
        return {
            "source": {f"{stage}@walkers" for stage in READ_FILES},
            "format": {"index@walkers"}, "counts": {"index@walkers"},
            "pose2d": {"pose2d@walkers"}, "pose3d": {"pose3d@walkers"},
        }[key]  # fmt: skip
    if section == "pretraining":
        return {"stage1@walkers"}
    if section == "runs":
        after = ("embed", "score", "report") if key == "test" else ("stage2",)
        return {f"{stage}@walkers" for stage in after}
    if section == "overrides":
        return {f"{rest}@walkers"}
    if knob.startswith("stage1.skeleton.") or knob == "stage2.held_out":
        return {"stage1@walkers", "stage2@walkers"}
    return {f"{section}@walkers"}


def test_each_knob_changes_exactly_what_depends_on_it(found):
    wrong = {
        knob: (stages, expected(knob))
        for knob, stages in found.items()
        if not expected(knob) <= stages or stages - expected(knob) - by_code(knob)
    }
    assert not wrong


def by_code(knob: str) -> set[str]:
    """Return what a choice of a file or of a class changes beside: who runs that code."""
    if knob == "datasets.walkers.format":
        return {"score@walkers"}
    if knob.startswith(("runs.", "pretraining.")):
        every = ("stage1", "stage2", "embed", "score", "report")
        return {f"{stage}@walkers" for stage in every}
    return set()


def test_the_page_holds_what_was_found(found):
    rows = defaultdict(set)
    for knob, stages in found.items():
        name = next(
            (one for one in sorted(ALIKE, key=len, reverse=True) if knob.startswith(f"{one}.")),
            knob,
        )
        same = name in ALIKE and stages == expected(f"{name}.x")
        rows[f"{name}.*" if same else knob] |= stages
    lines = [
        f"| `{knob}` | {', '.join(sorted(stages)) or 'nothing'} |" for knob, stages in rows.items()
    ]
    written = re.findall(r"(?m)^\| `.*$", PAGE.read_text())
    assert written == lines, "\n".join(lines)
