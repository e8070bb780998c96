"""What a machine lacks is said before the work, with what to do."""

import resource
from pathlib import Path

import numpy as np
import pytest

from pipeline import machine
from pipeline.errors import PipelineError
from tests.stages import make
from tests.train.tiny import rows, write_project

GB = 2**30


def disk_of(free):
    def usage(folder):
        assert Path(folder).exists()
        return type("Usage", (), {"free": free})

    return usage


def test_too_little_room_is_said_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", disk_of(3 * GB))
    machine.check_space(tmp_path / "not/there/yet", 2 * GB, "it")
    with pytest.raises(PipelineError, match=r"it takes about 4\.0 GB, and .* has room for 3\.0 GB"):
        machine.check_space(tmp_path / "not/there/yet", 4 * GB, "it")


def test_room_is_looked_for_on_the_disk_that_a_link_leads_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert machine.standing(tmp_path / "data/a/b") == tmp_path / "disk"


def test_batches_that_do_not_fit_into_shared_memory_are_refused(monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", disk_of(64 * 2**20))
    clip = {"frames": np.zeros((8, 3, 256, 128), np.uint8), "pids": 3}
    machine.check_readers(0, 64, clip)
    machine.check_readers(2, 8, clip)
    with pytest.raises(PipelineError, match=r"/dev/shm has 64\.0 MB free, and 2 .* need 192\.0 MB"):
        machine.check_readers(2, 64, clip)


def test_the_limit_of_open_files_is_raised_where_it_may_be(monkeypatch):
    told = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *limits: told.append(limits))
    machine.allow_files()
    assert told == [(resource.RLIMIT_NOFILE, (machine.FILES, 4096))]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 128))
    with pytest.raises(PipelineError, match=r"may open 128 files here, and needs 512"):
        machine.allow_files()


@pytest.fixture
def trained(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    people = {"train": [1, 2, 5, 8], "query": [3], "gallery": [3]}
    short = {"stage1": {"epochs": 1}, "stage2": {"epochs": 1, "milestones": [1]}}
    write_project(folder, rows(people), runtime={"workers": 0}, **short)
    monkeypatch.chdir(folder)
    return folder


def test_training_and_describing_do_without_processes(trained, monkeypatch):
    monkeypatch.setattr(machine, "free_shared_memory", lambda: 0)
    for stage in ("stage1", "stage2", "embed"):
        make(stage, "tiny")
    with pytest.raises(PipelineError, match=r"runtime\.workers to fewer, or 0"):
        make("embed", "tiny", "runtime.workers=1", "embed.frames=dense")
    with pytest.raises(PipelineError, match=r"runtime\.workers to fewer, or 0"):
        make("stage1", "tiny", "runtime.workers=1", "stage1.seed=3")


def test_training_asks_for_room_for_its_checkpoints(trained, monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", disk_of(1000))
    with pytest.raises(PipelineError, match=r"the checkpoints of models/tiny/stage1.* 1000 B"):
        make("stage1", "tiny")


def test_shards_ask_for_room_for_their_frames(extracted, monkeypatch):
    extracted([("0001C1T0001", 1, 0, "train", 9)])
    size = sum(file.stat().st_size for file in Path("raw/fake").rglob("*.jpg"))
    monkeypatch.setattr(machine.shutil, "disk_usage", disk_of(size // 2))
    with pytest.raises(PipelineError, match=r"what is left of data/shards/fake takes about"):
        make("shards", "fake")
