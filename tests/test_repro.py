"""The whole pipeline, as DVC runs it, on a tiny set in a clone of its own."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import blocks, to_run

PATIENCE_S = 1200

TINY = {
    "walkers": {"identities_train": 6, "identities_test": 6, "frames": "[6, 8]"},
    "stage1": {"skeleton_epochs": 2, "epochs": 1, "identities": 4},
    "stage2": {"epochs": 1, "identities": 4},
}


def shell(project: Path, line: str) -> str:
    """Type a line in the project's folder, as its documentation shows it."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=project,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def dvc(project: Path, *arguments: str) -> str:
    return shell(project, shlex.join(["dvc", *arguments]))


def stages_run(said: str) -> set[str]:
    """Return the stages that ran, without `@walkers`, and without `code`, which takes a second."""
    ran = set(re.findall(r"Running stage '(.+)'", said)) - {"code"}
    return {name.removesuffix("@walkers") for name in ran}


def set_knob(project: Path, section: str, knob: str, value: object) -> None:
    file = project / "params.yaml"
    pattern = rf"(?m)(^{section}:\n(?:  .*\n)*?  {knob}: )(?:\[.*?\]|\S+)"
    text, found = re.subn(pattern, rf"\g<1>{value}", file.read_text(), count=1)
    assert found, f"{section}.{knob}"
    file.write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone of the working tree as git would commit it, with a tiny params.yaml."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "clone"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    for section, knobs in TINY.items():
        for knob, value in knobs.items():
            set_knob(folder, section, knob, value)
    (folder / ".venv").symlink_to(sys.prefix)
    # `-o`: .venv is there; nothing is to be downloaded.
    said = shell(folder, "make -o .venv/ready repro")
    assert "reports/walkers/report.html" in said
    return folder


@pytest.fixture
def knobs(project):
    """params.yaml as it is; what an experiment changes in it is turned back."""
    file = project / "params.yaml"
    text = file.read_text()
    yield file
    file.write_text(text)


def test_everything_is_built_from_a_fresh_clone(project):
    metrics = json.loads((project / "reports/walkers/scores.json").read_text())
    assert metrics["queries_scored"] > 0
    assert 0 < metrics["mAP"] <= 1
    assert set(metrics["baselines"]) == {"random", "untrained", "colour"}
    assert "<html" in (project / "reports/walkers/report.html").read_text()


def test_the_committed_pose_weights_are_those_it_used(project):
    for file in (project / "data/weights/walkers_pose").iterdir():
        assert file.read_bytes() == (ROOT / "data/weights/walkers_pose" / file.name).read_bytes()


def test_a_second_run_does_nothing(project):
    assert stages_run(dvc(project, "repro")) == set()


@pytest.mark.parametrize(
    ("section", "knob", "value", "expected"),
    [
        ("runtime", "workers", 1, set()),
        ("score", "max_rank", 20, {"score", "report"}),
    ],
)
def test_a_changed_knob_runs_what_depends_on_it_and_nothing_else(
    project, section, knob, value, expected
):
    set_knob(project, section, knob, value)
    assert stages_run(dvc(project, "repro")) == expected


@pytest.mark.slow
def test_the_experiments_of_the_readme_run_and_are_compared(project, knobs):
    activate, one, three, both, show, trial = to_run("README.md")[-6:]
    done = shell(project, f"{activate} && {one}")
    assert stages_run(done) == {"stage2", "embed", "score", "report"}
    assert stages_run(shell(project, both)) == {"embed", "score", "report"}
    shell(project, three)
    deadline = time.monotonic() + PATIENCE_S
    while "Success" not in (status := dvc(project, "queue", "status")) or re.search(
        "Queued|Running", status
    ):
        assert time.monotonic() < deadline, status
        time.sleep(5)
    assert status.count("Success") == 3, status
    shown = shell(project, f"{show} --csv")
    rows = list(csv.DictReader(shown.splitlines()))
    # A screen's width: no files, few scores; beside them stand the knobs that differ.
    assert not any("/" in column for column in rows[0])
    assert len([column for column in rows[0] if "." not in column]) <= 16, list(rows[0])
    assert {"0", "1", "2"} <= {row["stage2.seed"] for row in rows}
    shell(project, trial)
    assert (project / "work/try/trial/models/walkers/stage2.safetensors").is_file()


@pytest.mark.slow
def test_scores_can_be_shown_and_plotted(project):
    shown = dvc(project, "metrics", "show")
    assert "mAP" in shown
    page = dvc(project, "plots", "show").strip()
    assert "dvc_plots" in page
    assert "failed" not in page


@pytest.mark.slow
def test_the_commands_of_the_page_about_runs_work(project, knobs):
    """Two more runs on one dataset, one with a recipe of its own; experiments; a named trial."""
    recipe = project / "conf/recipe/plain.yaml"
    _, lines, _ = blocks("docs/runs.md", "yaml")
    knobs.write_text(knobs.read_text().replace("\nruns:\n", "\n" + lines, 1))
    (system,) = re.findall(r"`(settings: \{.+?\})`", (ROOT / "docs/runs.md").read_text(), re.DOTALL)
    said = {}
    for line in to_run("docs/runs.md"):
        said[line] = shell(project, line)
        if line.startswith("sed"):
            text = recipe.read_text()
            assert "  settings: {} " in text
            recipe.write_text(text.replace("settings: {}", system))
        if line.startswith("python -m evaluate.score"):
            assert (project / "work/try/short/reports/walkers/scores.json").is_file()
    stages = ("stage2", "embed", "score", "report")
    repro, recipe_changed, system_changed = (
        stages_run(text) for line, text in said.items() if line.startswith(("dvc repro", "dvc exp"))
    )
    assert repro == {f"{stage}@{run}" for run in ("bones", "plain") for stage in stages}
    assert recipe_changed == {"stage2@plain", "embed@plain", "score@plain"}
    assert system_changed == {"stage2", "embed", "score"}
    assert "bones" in said["dvc metrics show"]


@pytest.mark.slow
def test_the_page_about_own_videos_leads_to_a_ranking(project, knobs):
    """Word by word, on the rendered scene; whoever is searched for was not trained on."""
    said = {line: shell(project, line) for line in to_run("docs/own_videos.md")}
    dry, cut = (text for line, text in said.items() if " extract.tracks" in line)
    assert "crops of" in dry
    assert "2 cameras" in cut
    ran = next(text for line, text in said.items() if line.startswith("dvc repro"))
    made = {f"{stage}@mine" for stage in ("index", "pose2d", "silhouettes", "pose3d", "shards")}
    assert made <= stages_run(ran) <= made | {"weights@movenet_lightning"}
    sheets = project / "work/inspect/mine"
    assert {"street_1.png", "street_1.gif"} <= {file.name for file in sheets.iterdir()}
    ranked, _, grown = (text for line, text in said.items() if " evaluate.search" in line)
    assert re.search(r"^ +1 +(street|yard)_[1-4] ", ranked, re.MULTILINE), ranked
    assert "anna" in grown
    assert (project / "work/search/yard_1.png").is_file()
    assert (project / "work/attention/street_1.png").is_file()
    scores = json.loads((project / "work/try/mine/reports/walkers/scores.json").read_text())
    assert scores["queries_scored"] == 4
