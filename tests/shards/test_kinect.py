"""From Kinect text files to shards by the command, and what the shards hold."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from extract.index import find_parser, formats, holds_skeletons
from extract.rules import REVERSED
from pipeline import schema
from pipeline.errors import PipelineError
from pipeline.schema import INDEX, Status, check
from shards.quality import bone_stability
from shards.read import Shards
from tests.conftest import ROOT
from tests.fake_kinect import MAKERS, tracked, walk
from tests.stages import make
from train.data.clips import ClipDataset


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that makes a project with one generated dataset."""

    def made(name, counts="none", **options):
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["kinect"] = {name: {"format": name, "source": "x", "counts": counts}}
        line = {"train": name, "test": name, "model": "skeleton", "encoder": "none"}
        line |= {"start": "conf/encoder/none.yaml", "recipe": "params.yaml"}
        params["runs"][name] = line
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        MAKERS[name](tmp_path / "data/raw" / name, **options)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return made


@pytest.mark.parametrize(
    ("name", "joints", "splits"),
    [
        ("biwi", 20, {"train": 25 * 3, "query": 5 * 3, "gallery": 5 * 3}),
        ("ias_lab", 20, {"train": 35 * 3, "query": 5 * 3, "gallery": 5 * 3}),
        ("kgbd", 20, {"train": 2 * 5 * 3, "query": 5 * 3, "gallery": 2 * 5 * 3}),
        ("ks20", 25, {"train": 5 * 45 * 3, "query": 5 * 8 * 3, "gallery": 5 * 8 * 3}),
    ],
)
def test_every_sequence_is_a_tracklet_of_six_frames(project, capsys, name, joints, splits):
    folder = project(name, frames=50)
    make("kinect", name, quiet=False)
    assert f"dvc repro stage2@{name}" in capsys.readouterr().out
    shards = Shards(folder / "data/shards" / name)
    assert shards.tracklets.groupby("split").size().to_dict() == splits
    assert set(shards.tracklets["length"]) == {6}
    assert shards.xyz.shape == (6 * len(shards.tracklets), joints, 3)
    assert shards.layout.name == f"kinect{joints}"
    assert (np.asarray(shards.status) == Status.OK).all()
    assert not shards.has_frames
    assert shards.jpeg(range(3)) == [None] * 3
    check(folder / f"data/index/{name}.parquet", INDEX, "")
    index = pq.read_table(folder / f"data/index/{name}.parquet")
    assert index["tracklet"].to_pylist() == shards.tracklets["tracklet"].tolist()
    assert {len(frames) for frames in index["frames"].to_pylist()} == {6}


def test_joints_are_around_the_root_in_the_axes_of_the_project(project):
    folder = project("biwi", frames=50)
    make("kinect", "biwi")
    shards = Shards(folder / "data/shards/biwi")
    at = shards.find("train_0002_00003")
    there = walk(2, 50, occasion=0)[13:19]
    there = (there - there[:, :1]) * [-1, -1, 1]
    np.testing.assert_allclose(shards.xyz[shards.rows(at)], there, atol=3e-6)
    assert shards.frame_number[shards.rows(at)].tolist() == list(range(13, 19))


def test_the_same_files_give_the_same_bytes_wherever_they_lie(project, tmp_path, monkeypatch):
    folder = project("kgbd")
    out = folder / "data/shards/kgbd/train-00000.parquet"
    make("kinect", "kgbd")
    first = out.read_bytes()
    (tmp_path / "elsewhere").mkdir()
    (folder / "data/raw/kgbd").rename(tmp_path / "elsewhere/kgbd")
    monkeypatch.setenv("REID_DATA_ROOT", str(tmp_path / "elsewhere"))
    make("kinect", "kgbd")
    assert out.read_bytes() == first


def test_labels_follow_the_sorted_persons(project):
    project("biwi", people=(30, 4, 100))
    make("kinect", "biwi")
    data = ClipDataset("data/shards/biwi", 6, (128, 64), needs=["xyz"])
    assert data.pids == [4, 30, 100]
    assert sorted(set(zip(data.table["pid"], data.labels, strict=True))) == [
        (4, 0), (30, 1), (100, 2),
    ]  # fmt: skip
    clip = data[0]["inputs"]
    assert clip["xyz"].shape == (6, 20, 3)
    assert clip["mask"].all()


def test_a_recording_without_six_good_frames_is_counted(project, capsys):
    folder = project("biwi", frames=50)
    tracked(folder / "data/raw/biwi/Testing/Still/003", walk(3, 50, 1), untracked=range(25))
    make("kinect", "biwi", quiet=False)
    assert "short recordings" in capsys.readouterr().out
    tracklets = Shards(folder / "data/shards/biwi").tracklets
    assert set(tracklets["pid"][tracklets["split"] == "gallery"]) == {1, 2}


def test_missing_people_are_an_error_unless_allowed(project):
    folder = project("ias_lab", counts="published")
    with pytest.raises(PipelineError, match=r"3 train pids instead of 11 \(-8\)"):
        make("kinect", "ias_lab")
    assert not (folder / "data/shards").exists()
    assert not (folder / "data/index/ias_lab.parquet").exists()
    make("kinect", "ias_lab", "kinect.ias_lab.counts=partial", trial="part")
    assert (folder / "work/try/part/data/index/ias_lab.parquet").exists()


@pytest.mark.parametrize(
    ("lost", "arguments", "message"),
    [
        ("", ["shards.kinect", "-d", "biwi"], "data/raw/biwi is not there"),
        ("Testing/Still", ["shards.kinect", "-d", "biwi"], "Testing/Still is missing"),
        (None, ["extract.index", "-d", "biwi"], "Run: dvc repro kinect@biwi"),
    ],
)
def test_a_wrong_command_is_one_line(project, command, lost, arguments, message):
    folder = project("biwi")
    if lost is not None:
        shutil.rmtree(folder / "data/raw/biwi" / lost)
    done = command(*arguments, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_visual_model_of_skeletons_is_refused_by_name(project):
    project("biwi")
    with pytest.raises(PipelineError, match=r"holds no shards.*dvc repro kinect@biwi$"):
        make("stage2", "biwi")
    with pytest.raises(PipelineError, match=r"dvc repro shards@biwi, .* dvc repro kinect@biwi$"):
        Shards(Path("data/shards/biwi"))
    make("kinect", "biwi")
    line = "{train:biwi,encoder:conv_stem,start:conf/encoder/conv_stem.yaml,recipe:params.yaml}"
    with pytest.raises(PipelineError, match="holds none: skeletons without frames"):
        make("stage1", "biwi", f"pretraining.biwi={line}")


def test_shards_of_two_layouts_in_one_folder_are_refused(project):
    folder = project("biwi")
    make("kinect", "biwi")
    other = schema.with_metadata(schema.SHARD, layout3d="h36m17")
    pq.write_table(pa.Table.from_pylist([], other), folder / "data/shards/biwi/val-00000.parquet")
    with pytest.raises(PipelineError, match="mixes shards of joint layouts h36m17 and kinect20"):
        Shards(folder / "data/shards/biwi")


def test_skeletons_can_be_looked_at(project, command):
    folder = project("ks20")
    make("kinect", "ks20")
    shards = Shards(folder / "data/shards/ks20")
    name = shards.tracklets["tracklet"][0]
    done = command("shards.inspect", "ks20", "--tracklet", name, "--out", "seen", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / f"seen/{name}.png").exists()
    bones = bone_stability(shards)
    assert len(bones) == 24
    assert "right_hand - right_hand_tip" in bones


def test_no_camera_is_left_out_and_two_datasets_are_scored_both_ways():
    both = {}
    for name in formats():
        parser = find_parser(name)
        if holds_skeletons(parser):
            assert parser.FACTS.same_camera_counts
            assert not parser.FACTS.gallery_includes_queries
            both[name] = REVERSED in parser.FACTS.searches
    assert both == {"biwi": True, "ias_lab": True, "kgbd": False, "ks20": False}
