import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.train.tiny import rows, write_project

KNOBS = {
    "stage1": {"epochs": 4},
    "stage2": {"epochs": 4, "held_out": 2, "refresh_epochs": 3, "milestones": [3]},
}
PUBLISHED = {
    "stage1": ["models/tiny/stage1.safetensors", "reports/tiny/stage1"],
    "stage2": ["models/tiny/stage2.safetensors", "reports/tiny/stage2"],
}


def start(folder, stage: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", f"train.{stage}", "--run", "tiny"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(folder, stage: str) -> str:
    process = start(folder, stage)
    printed, _ = process.communicate()
    assert process.returncode == 0
    return printed


def kill_after(folder, stage: str, epoch: int) -> None:
    """Kill a run and its workers as soon as the checkpoint of an epoch is there."""
    process = start(folder, stage)
    while not list(folder.glob(f"work/{stage}/tiny/*/epoch_{epoch}.pth")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / f"models/tiny/{stage}.safetensors").exists()


def published(folder, stage: str) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for name in PUBLISHED[stage]
        for file in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
        if file.is_file()
    }


@pytest.mark.slow
def test_a_killed_run_continues_and_ends_with_the_bytes_of_an_undisturbed_one(tmp_path):
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    made = rows({"train": [1, 2, 5, 8, 9]})
    for folder in (quiet, killed):
        folder.mkdir()
        write_project(folder, made, **KNOBS)
    for stage in ("stage1", "stage2"):
        finish(quiet, stage)
        kill_after(killed, stage, epoch=1)
        kill_after(killed, stage, epoch=2)
        printed = finish(killed, stage)
        assert "continuing after epoch" in printed
        expected = published(quiet, stage)
        assert "loss.tsv" in " ".join(expected)
        assert published(killed, stage) == expected
        assert not list(killed.glob(f"work/{stage}/tiny/*/*.pth"))


@pytest.mark.slow
def test_a_run_can_be_moved_before_it_continues(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    write_project(here, rows({"train": [1, 2, 5, 8]}), **KNOBS)
    kill_after(here, "stage1", epoch=2)
    here.rename(there)
    assert "continuing after epoch" in finish(there, "stage1")
