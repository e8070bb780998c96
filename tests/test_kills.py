"""A command that is killed, wherever it is, ends with the same bytes when it is run again."""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.fake_kinect import MAKERS
from tests.kills import contents, every_step, rubbish
from tests.stages import make
from tests.train.tiny import rows, write_project

pytestmark = pytest.mark.slow

HEAVY = ("tests.kills_of",)
PEOPLE = {"train": [1, 2, 5, 8], "query": [3, 4], "gallery": [3, 4]}
SHORT = {
    "stage1": {"epochs": 2, "skeleton_epochs": 1},
    "stage2": {"epochs": 2, "held_out": 2, "refresh_epochs": 1, "milestones": [1]},
    "runtime": {"workers": 0},
}


def knobs(folder: Path, **sections: dict) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in ({"runtime": {"workers": 0}} | sections).items():
        params[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


def test_index(folder):
    line = {"format": "folder", "source": "x", "counts": "none"}
    line |= {"pose2d": "walkers_pose", "pose3d": "walkers_pose"}
    knobs(folder, datasets={"fake": line})
    for name in ("train/1/1/a", "query/2/1/a", "gallery/2/2/a"):
        file = folder / "data/raw/fake" / name / "0001.jpg"
        file.parent.mkdir(parents=True)
        cv2.imwrite(str(file), np.zeros((8, 4, 3), np.uint8))
    assert every_step(folder, "index", "fake", ["data/index/fake.parquet"]) >= 2


def test_kinect(folder):
    line = {"format": "biwi", "source": "x", "counts": "none"}
    run = {"train": "biwi", "test": "biwi", "model": "skeleton", "encoder": "none"}
    run |= {"start": "conf/encoder/none.yaml", "recipe": "params.yaml"}
    knobs(folder, kinect={"biwi": line}, runs={"biwi": run})
    MAKERS["biwi"](folder / "data/raw/biwi", frames=30)
    outputs = ["data/index/biwi.parquet", "data/shards/biwi"]
    assert every_step(folder, "kinect", "biwi", outputs) >= 4


def test_weights_that_are_downloaded_or_linked(folder):
    knobs(folder)
    source = folder.parent / "model.pth"
    source.write_bytes(bytes(range(256)) * 5000)
    (folder / "conf/weights").mkdir(parents=True)
    for kind in (f"url: {source.as_uri()}", f"path: {source}"):
        origin = "download" if kind.startswith("url") else "local"
        text = f"source: {origin}\nlicence: none\nfiles:\n  - name: model.pth\n    {kind}\n"
        (folder / "conf/weights/toy.yaml").write_text(text)
        what = "tests.kills_of.weights"
        killed = every_step(folder, "weights", "toy", ["data/weights/toy"], HEAVY, what)
        assert killed >= (3 if origin == "download" else 0)
        shutil.rmtree(folder.with_name("project-kills"))


def test_fit(folder):
    knobs(folder)
    shutil.copytree(ROOT / "conf/weights", folder / "conf/weights")
    file = folder / "conf/weights/walkers_pose.yaml"
    file.write_text(re.sub(r", sha256: \w+", "", file.read_text()))
    what, outputs = "tests.kills_of.fit", ["data/weights/walkers_pose"]
    assert every_step(folder, "weights", "walkers_pose", outputs, HEAVY, what) >= 8


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "project"
    folder.mkdir()
    return write_project(folder, rows(PEOPLE), **SHORT)


STAGES = {
    "stage1": ["models/tiny/stage1.safetensors", "reports/tiny/stage1", "reports/tiny/stage1.tsv"],
    "stage2": ["models/tiny/stage2.safetensors", "reports/tiny/stage2", "reports/tiny/stage2.tsv"],
    "embed": ["data/features/tiny.parquet", "data/features/tiny_baselines.parquet"],
    "score": [
        "reports/tiny/per_query.parquet",
        "reports/tiny/camera_pairs.json",
        *(f"reports/tiny/{name}.json" for name in ("scores", "metrics", "cmc", "roc")),
    ],
    "report": ["reports/tiny/report.html", "reports/tiny/cameras.json", "reports/tiny/ranked"],
}


@pytest.fixture(scope="module")
def before(tiny) -> dict[str, Path]:
    """A project for each stage, as the stages before it leave it."""
    places = {}
    for stage in STAGES:
        places[stage] = shutil.copytree(tiny, tiny.with_name(f"before-{stage}"))
        with contextlib.chdir(tiny):
            make(stage, "tiny")
    return places


LEAST = {"stage1": 30, "stage2": 30, "embed": 8, "score": 12, "report": 12}


@pytest.mark.parametrize("stage", STAGES)
def test_training_and_what_follows(before, monkeypatch, stage):
    monkeypatch.setenv("KILLED_RUN", "tiny")
    what = "tests.kills_of.report" if stage == "report" else ""
    killed = every_step(before[stage], stage, "tiny", STAGES[stage], HEAVY, what)
    print(stage, killed)
    assert killed >= LEAST[stage]


SMALL = {
    "walkers": {
        "identities_train": 4, "identities_test": 4, "cameras": 2, "tracklets": 1,
        "frames": [3, 4], "distractors": 1, "junk": 1,
    },
    "stage1": {"epochs": 2, "skeleton_epochs": 1, "identities": 2, "clips": 2},
    "stage2": {"epochs": 2, "identities": 2, "clips": 2, "refresh_epochs": 1, "milestones": [1]},
}  # fmt: skip
PUBLISHED = ["data/raw", "data/index", "data/pose2d/walkers", "data/pose3d", "data/shards"]
PUBLISHED += ["data/features", "models", "reports"]


def small_project(folder: Path) -> Path:
    knobs(folder, **SMALL)
    for name in ("conf/weights", "data/weights"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def run_pipeline(how: str, *arguments: object) -> list[str]:
    line = [sys.executable, "-m", "tests.kills_of", how, *map(str, arguments)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return re.findall(r"^(?:took|killed) (\S+)$", done.stdout, re.MULTILINE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, list[str]]:
    """The whole pipeline on one disk, and how long each stage took."""
    folder = small_project(tmp_path_factory.mktemp("undisturbed"))
    return folder, run_pipeline("pipeline", folder)


def test_25_kills_at_random_over_the_pipeline_change_no_byte(undisturbed, folder):
    whole, seconds = undisturbed
    (killed,) = run_pipeline("killed_pipeline", small_project(folder), 3, *seconds)
    expected = contents(whole, PUBLISHED)
    assert len(expected) > 50
    assert contents(folder, PUBLISHED) == expected
    assert not rubbish(folder)
    assert int(killed) >= 25


def test_the_pipeline_runs_with_its_folders_on_another_disk(undisturbed, folder):
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system here: /dev/shm is none")
    small_project(folder)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        links = [folder / name for name in ("data", "models", "reports", "work")]
        for link in links:
            there = Path(other) / link.name
            shutil.move(link, there) if link.exists() else there.mkdir()
            link.symlink_to(there)
        run_pipeline("pipeline", folder)
        assert all(link.is_symlink() for link in links)
        assert contents(folder, PUBLISHED) == contents(undisturbed[0], PUBLISHED)
        assert not rubbish(folder)


def test_the_pipeline_runs_with_single_folders_on_another_disk(undisturbed, folder):
    """Half of it: what is made there is published here, and the other way round."""
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system here: /dev/shm is none")
    small_project(folder)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        names = ("data/shards", "models", "reports", "data/pose2d/walkers")
        links = [folder / name for name in names]
        for link in links:
            there = Path(other) / link.name
            there.mkdir()
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(there)
        run_pipeline("pipeline", folder)
        assert all(link.is_symlink() for link in links)
        assert contents(folder, PUBLISHED) == contents(undisturbed[0], PUBLISHED)
