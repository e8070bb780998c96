from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.doctor import checks as doctor
from pipeline.doctor import machine
from pipeline.errors import PipelineError
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    text = (ROOT / "params.yaml").read_text()
    kinect = "kinect: {biwi: {format: biwi, source: data/raw/biwi, counts: none}}"
    (tmp_path / "params.yaml").write_text(text.replace("kinect: {}", kinect))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REID_DATA_ROOT", raising=False)


def data(dataset=None):
    return {check.name: check for check in doctor._data(dataset)}


def test_what_is_not_on_disk_comes_with_the_command_that_mends_it():
    found = data()
    assert not any(check.ok for check in found.values())
    assert found["dataset walkers"].fix == "dvc repro walkers"
    assert found["dataset biwi"].fix == "put it into data/raw/biwi: docs/datasets.md"
    assert found["weights walkers_pose"].fix == "dvc repro weights@walkers_pose"


def test_frames_of_a_dataset_of_pictures_are_decoded():
    frame = Path("data/raw/walkers/a/0001.jpg")
    frame.parent.mkdir(parents=True)
    Path("data/raw/biwi").mkdir()
    cv2.imwrite(str(frame), np.zeros((8, 4, 3), np.uint8))
    found = data()
    assert found["frames of walkers"].ok
    assert found["dataset biwi"].ok
    assert "frames of biwi" not in found
    frame.write_bytes(b"no picture")
    assert data("walkers")["frames of walkers"].seen == f"{frame} does not decode"


def test_a_check_that_breaks_is_named_and_the_others_go_on(monkeypatch):
    def broken(dataset):
        raise PipelineError("no knobs")
        yield

    def none():
        yield from ()

    monkeypatch.setattr(doctor, "_data", broken)
    for name in ("_packages", "_opencv", "_openmmlab", "_device", "git_and_dvc", "disk", "limits"):
        monkeypatch.setattr(doctor, name, none)
    assert [(check.name, check.seen) for check in doctor.checks()][-1] == ("data", "no knobs")


def test_weights_that_a_line_names_are_asked_for_whether_listed_or_not():
    text = Path("params.yaml").read_text()
    text = text.replace("pose2d: walkers_pose, pose3d", "pose2d: rtmpose_t, pose3d", 1)
    text = text.replace("start: conf/encoder/conv_stem.yaml", "start: data/weights/clip_vit_b16")
    Path("params.yaml").write_text(text)
    found = data()
    assert found["weights rtmpose_t"].fix.startswith("add rtmpose_t under weights in params.yaml")
    assert found["weights clip_vit_b16"].seen == "data/weights/clip_vit_b16, for run walkers"


def test_a_dataset_elsewhere_is_linked_where_dvc_looks(monkeypatch, tmp_path):
    (tmp_path / "disk/biwi").mkdir(parents=True)
    monkeypatch.setenv("REID_DATA_ROOT", str(tmp_path / "disk"))
    found = data()
    assert found["dataset biwi"].ok
    assert found["source of biwi"].fix == f"ln -s {tmp_path}/disk/biwi data/raw/biwi"
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/biwi").symlink_to(tmp_path / "disk/biwi")
    assert "source of biwi" not in data()


def test_no_git_repository_is_said_unless_dvc_knows(monkeypatch):
    said = {"rev-parse": "", "core.no_scm": ""}
    monkeypatch.setattr(machine, "_ask", lambda *command: next(
        (said[word] for word in said if word in command), "x"))  # fmt: skip
    found = {check.name: check for check in machine.git_and_dvc()}["git repository"]
    assert not found.ok
    assert found.fix == "git init, or: dvc config core.no_scm true"
    said["core.no_scm"] = "true"
    assert {check.name: check.ok for check in machine.git_and_dvc()}["git repository"]
    said.update({"rev-parse": "/project", "core.no_scm": ""})
    assert {check.name: check.ok for check in machine.git_and_dvc()}["git repository"]


def test_a_small_shared_memory_and_few_files_are_found(monkeypatch):
    monkeypatch.setattr(machine.machine, "free_shared_memory", lambda: 64 * 2**20)
    monkeypatch.setattr(machine.machine, "most_files", lambda: 256)
    found = {check.name: check for check in machine.limits()}
    assert [found[name].ok for name in ("shared memory", "open files")] == [False, False]
    assert found["shared memory"].seen == "64.0 MB in /dev/shm"
    assert found["open files"].fix == "ulimit -n 512"


def test_every_disk_that_is_written_to_is_looked_at(monkeypatch, tmp_path):
    (tmp_path / "data").symlink_to("/dev/shm")
    monkeypatch.setattr(machine.paths, "ROOT", tmp_path)
    names = [check.name for check in machine.disk()]
    same = Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev
    assert names == ["free disk"] if same else ["free disk", "free disk of data/"]
