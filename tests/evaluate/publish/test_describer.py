"""A model that was taken away describes people as the project does, without the project."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from evaluate.describe import Describer
from evaluate.publish.folder import CONFIG, WEIGHTS
from pipeline.errors import PipelineError
from pipeline.schema import Status
from tests.conftest import ROOT
from tests.evaluate.publish.taken import (
    NOTED,
    PEOPLE,
    features,
    joints,
    make_project,
    pictures,
    take,
    tracklets,
)
from tests.models import publish
from tests.stages import make
from tests.train.tiny import rows, spoil
from train.models.skeleton import SkeletonModel


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Return a project with a scored model, and bad frames among the good."""
    folder = tmp_path_factory.mktemp("scored")
    made = rows(PEOPLE)
    for row, status in ((-1, Status.UNREADABLE), (-8, Status.LOW_SCORE), (-9, Status.MISSING)):
        spoil(made[row], status)
    with contextlib.chdir(folder):
        make_project(folder, made)
        take(folder / "taken")
    return folder


@pytest.fixture
def project(scored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(scored, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def taken(scored, tmp_path, monkeypatch):
    """Return a folder that was taken away, in a folder with nothing else in it."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(scored / "taken", tmp_path / "taken")


def assert_same(describer, overrides=(), **columns):
    made = features(trial=bool(overrides))
    assert len(made) == 6
    for name, own in tracklets().items():
        given = {key: pick(own) for key, pick in columns.items()}
        found = describer.describe(given.pop("frames", ()), camid=own[0]["camid"], **given)
        np.testing.assert_allclose(found, made[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "overrides", [[], ["embed.frames=dense"], ["embed.neck=before"]], ids=" ".join
)
def test_features_are_those_of_embed(project, overrides):
    if overrides:
        make("embed", "tiny", *overrides)
        make("score", "tiny", *overrides)
        take(project / "taken", *overrides)
    assert_same(Describer.load(project / "taken"), overrides, frames=pictures)


def test_skeletons_describe_beside_frames_where_they_do_in_embed(project):
    overrides = ["embed.descriptor=both", "embed.skeleton_weight=0.4"]
    make("embed", "tiny", *overrides)
    make("score", "tiny", *overrides)
    take(project / "taken", *overrides)
    describer = Describer.load("taken")
    assert describer.needs == {"frames", "xyz"}
    assert_same(describer, overrides, frames=pictures, xyz=joints)
    with pytest.raises(PipelineError, match=r"looks at xyz, and none came"):
        describer.describe(pictures(tracklets()["0003C1T0001"]))
    # What was noted of frames alone says nothing of both.
    assert describer.compare(*[np.ones(3)] * 2).strangers is None


def test_a_system_of_skeletons_alone_is_given_skeletons(project):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["runs"]["tiny"] |= {"model": "skeleton", "encoder": "none"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    assert isinstance(publish("tiny"), SkeletonModel)
    make("embed", "tiny")
    make("score", "tiny")
    take(project / "bones")
    assert_same(Describer.load("bones"), xyz=joints)


def test_large_files_are_decoded_as_those_in_shards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = rows(PEOPLE)
    rng = np.random.default_rng(0)
    for row in made:
        picture = cv2.resize(rng.integers(0, 255, (20, 10, 3), np.uint8), (190, 300))
        row["jpeg"] = cv2.imencode(".jpg", picture)[1].tobytes()
        row |= {"height": 300, "width": 190}
    make_project(tmp_path, made)
    take(tmp_path / "taken")
    describer, whole = Describer.load("taken"), features()
    for name, own in tracklets().items():
        files = [tmp_path / f"{name}{i}.jpg" for i in range(len(own))]
        for file, row in zip(files, own, strict=True):
            file.write_bytes(row["jpeg"])
        np.testing.assert_allclose(describer.describe(files), whole[name], atol=1e-6)
        # Decoded whole they are nearly so.
        assert describer.compare(describer.describe(pictures(own)), whole[name]).distance < 1e-3


def test_what_a_distance_means_comes_along(taken):
    describer = Describer.load(taken)
    one = np.zeros(describer.describe([np.zeros((9, 4, 3), np.uint8)]).size)
    one[0] = 1
    for distance, share, is_same in ((0.1, 0.01, True), (0.3, 0.02, False), (0.9, 0.5, False)):
        other = np.zeros_like(one)
        other[:2] = 1 - distance, np.sqrt(1 - (1 - distance) ** 2)
        found = describer.compare(one, other)
        assert found.distance == pytest.approx(distance, abs=1e-5)
        assert found.strangers == pytest.approx(share, rel=1e-3)
        assert found.is_same is is_same
    assert describer.threshold == NOTED["distances"][-1]


def test_a_model_that_held_nobody_out_has_no_threshold(project):
    publish("tiny")
    make("embed", "tiny")
    make("score", "tiny")
    assert take(project / "new").threshold is None
    describer = Describer.load("new")
    one = np.eye(3)[0]
    assert describer.compare(one, one) == (0.0, None, None)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "looks at frames, and none came"),
        ([np.zeros((9, 4), np.uint8)], r"\(9, 4\) of uint8"),
        ([np.zeros((9, 4, 3))], r"\(9, 4, 3\) of float64"),
        (["nowhere.jpg"], "nowhere.jpg does not decode as an image"),
    ],
)
def test_what_is_no_frame_is_said(taken, frames, message):
    with pytest.raises(PipelineError, match=message):
        Describer.load(taken).describe(frames)


def test_what_is_misspelt_or_of_another_length_is_said(taken):
    describer, frame = Describer.load(taken), np.zeros((9, 4, 3), np.uint8)
    with pytest.raises(PipelineError, match="Did you mean xyz"):
        describer.describe([frame], xyzz=[1])
    with pytest.raises(PipelineError, match="a tracklet of 1 frames, 2 xyz came"):
        describer.describe([frame], xyz=np.zeros((2, 17, 3)))
    with pytest.raises(PipelineError, match="Did you mean platform"):
        describer.describe([frame], view={"plattform": "aerial"})
    with pytest.raises(PipelineError, match="are not compared"):
        describer.compare(np.ones(3), np.ones(4))


HARM = {"type": "subprocess.call", "args": "touch harm"}


@pytest.mark.parametrize(
    ("place", "hostile"),
    [
        ("model", HARM),
        ("model.visual", HARM),
        ("model.visual.deep", [[{"type": ["os.system"]}]]),
        ("model.type", "os.system"),
        # Of this project, but no part of a model: it makes a folder.
        ("model.visual", {"type": "train.run.curves.StageLiveBackend", "save_dir": "harm"}),
        ("model.visual.checkpoint_path", "/etc/passwd"),
        ("model._scope_", "mmpose"),
        ("model.init_cfg", {"checkpoint": "https://example.org/harm.pth"}),
        ("comparison", HARM),
    ],
)
def test_a_hostile_config_is_refused_in_one_line(taken, place, hostile):
    file = taken / CONFIG
    config = inner = json.loads(file.read_text())
    *folders, last = place.split(".")
    for name in folders:
        inner = inner[name]
    inner[last] = hostile
    file.write_text(json.dumps(config))
    with pytest.raises(PipelineError, match=r"config.json asks for .* no part of this project"):
        Describer.load(taken)
    assert not Path("harm").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("format", 2),
        ("preprocessing.height", 10**9),
        ("preprocessing.clip_frames", 0),
        ("preprocessing.std", [1, 2]),
        ("preprocessing.mean", [0, 0, float("nan")]),
        ("describe.descriptor", "smell"),
        ("describe.descriptor", "skeletons"),
        ("weights", "0" * 64),
        ("model.type", None),
        ("model.visual.name", "no_such_network"),
        ("model.visual.channels", "wide"),
        ("model.nothing", 1),
        ("extra", 1),
        ("comparison.kind", "smell"),
        ("comparison.parts", 3),
    ],
)
def test_a_damaged_config_is_one_line(taken, place, value):
    file = taken / CONFIG
    config = inner = json.loads(file.read_text())
    *folders, last = place.split(".")
    for name in folders:
        inner = inner[name]
    inner[last] = value
    file.write_text(json.dumps(config))
    with pytest.raises(PipelineError, match=r"config\.json") as error:
        Describer.load(taken)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_file_that_is_missing_or_damaged_is_one_line(taken, name):
    file = taken / name
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    for _ in range(2):
        with pytest.raises(PipelineError, match=rf"{name}.*Give a folder"):
            Describer.load(taken)
        file.unlink(missing_ok=True)


THREE_LINES = """
import sys, numpy as np
from evaluate.describe import Describer
d = Describer.load("taken")
frames = np.load("frames.npy")
found = d.describe(frames)
print(*found.tolist(), d.compare(found, found).distance)
assert "dvc" not in sys.modules
"""


@pytest.mark.slow
def test_three_lines_do_in_an_empty_folder_where_the_project_is_installed(project, tmp_path):
    """With nothing of this repository on the path: not params.yaml, conf or DVC's files."""
    name, own = next(iter(tracklets().items()))
    source, site, empty = (tmp_path / name for name in ("source", "site", "empty"))
    source.mkdir()
    for one in ("pipeline", "extract", "shards", "train", "evaluate"):
        shutil.copytree(ROOT / one, source / one, ignore=shutil.ignore_patterns("__pycache__"))
    for one in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / one, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation",
         "--target", site, source], check=True, capture_output=True,
    )  # fmt: skip
    expected = features()[name]
    shutil.copytree(project / "taken", empty / "taken")
    np.save(empty / "frames.npy", np.stack(pictures(own)))
    done = subprocess.run(
        [sys.executable, "-c", THREE_LINES],
        cwd=empty, env={"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *found, distance = map(float, done.stdout.split())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert distance == 0
    assert {file.name for file in empty.iterdir()} == {"taken", "frames.npy"}
