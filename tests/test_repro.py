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
from tests.docs.pages import to_run

PATIENCE_S = 1200

TINY = {
    "walkers": {"identities_train": 6, "identities_test": 6, "frames": "[6, 8]"},
    "stage1": {"epochs": 1, "identities": 4},
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


def stages_run(project: Path) -> set[str]:
    return set(re.findall(r"Running stage '(\w+)", dvc(project, "repro")))


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
    with (folder / ".git/info/exclude").open("a") as excluded:
        excluded.write(".venv\n")
    # `-o`: .venv is there; nothing is to be downloaded.
    said = shell(folder, "make -o .venv/ready repro")
    assert "reports/walkers/report.html" in said
    return folder


@pytest.mark.slow
def test_everything_is_built_from_a_fresh_clone(project):
    metrics = json.loads((project / "reports/walkers/metrics.json").read_text())
    assert metrics["queries_scored"] > 0
    assert 0 < metrics["mAP"] <= 1
    assert set(metrics["baselines"]) == {"random", "untrained", "colour"}
    assert "<html" in (project / "reports/walkers/report.html").read_text()


@pytest.mark.slow
def test_the_committed_pose_weights_are_those_it_used(project):
    for file in (project / "data/weights/walkers_pose").iterdir():
        assert file.read_bytes() == (ROOT / "data/weights/walkers_pose" / file.name).read_bytes()


@pytest.mark.slow
def test_a_second_run_does_nothing(project):
    assert stages_run(project) == set()


@pytest.mark.slow
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
    assert stages_run(project) == expected


@pytest.mark.slow
def test_the_experiments_of_the_readme_run_and_are_compared(project):
    activate, one, three, show, trial = to_run("README.md")[-5:]
    done = shell(project, f"{activate} && {one}")
    ran = set(re.findall(r"Running stage '(\w+)", done))
    assert ran == {"stage2", "embed", "score", "report"}
    shell(project, three)
    deadline = time.monotonic() + PATIENCE_S
    while "Success" not in (status := dvc(project, "queue", "status")) or re.search(
        "Queued|Running", status
    ):
        assert time.monotonic() < deadline, status
        time.sleep(5)
    assert status.count("Success") == 3, status
    shown = shell(project, f"{show} --csv")
    seeds = {row["stage2.seed"] for row in csv.DictReader(shown.splitlines())}
    assert {"0", "1", "2"} <= seeds
    shell(project, trial)
    assert (project / "work/try/trial/models/walkers/stage2.safetensors").is_file()


@pytest.mark.slow
def test_scores_can_be_shown_and_plotted(project):
    shown = dvc(project, "metrics", "show")
    assert "mAP" in shown
    page = dvc(project, "plots", "show").strip()
    assert "dvc_plots" in page
