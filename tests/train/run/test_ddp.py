import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tests.conftest import ROOT
from tests.train.tiny import rows, write_project
from train.encoders.image import CnnEncoder
from train.weights.checkpoint import load, save

ARCH = {"name": "resnet10t", "channels": [16, 32, 64, 128], "stem_width": 8}
PEOPLE = {"train": [1, 2, 5, 8], "query": [3, 4, 6], "gallery": [3, 4, 6]}
# Frozen, since the batch norms of a CPU cannot exchange statistics between processes.
FROZEN = {
    "stage1": {"train_visual": False, "epochs": 3, "skeleton": {"dropout": 0.0}},
    "pretraining": {"tiny": {"start": "pretrained.safetensors"}},
}


def train(folder: Path, stage: str, processes: int) -> str:
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            *(launcher if processes > 1 else []),
            stage if "." in stage else f"train.{stage}",
            "-r",
            "tiny",
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """Return a project in which two processes trained stage 1, beside one where one did."""
    folder = tmp_path_factory.mktemp("ddp")
    torch.manual_seed(0)
    encoder = CnnEncoder(size=(128, 64), out_dim=128, **ARCH)
    for processes in (1, 2):
        project = folder / str(processes)
        project.mkdir()
        write_project(project, rows(PEOPLE), **FROZEN)
        save(project / "pretrained.safetensors", encoder.cnn, {})
        (project / "printed").write_text(train(project, "stage1", processes))
    return folder


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(together):
    one, two = (load(together / n / "models/tiny/stage1.safetensors")[0] for n in ("1", "2"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_one_of_the_processes_prints_and_writes_the_curves(together):
    lines = (together / "2/printed").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/3", "2/3", "3/3"]
    one, two = (
        json.loads((together / n / "reports/tiny/stage1/metrics.json").read_text())
        for n in ("1", "2")
    )
    assert two["step"] == one["step"]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)


@pytest.mark.slow
def test_stage_2_runs_in_two_processes(together):
    train(together / "2", "stage2", processes=2)
    state, metadata = load(together / "2/models/tiny/stage2.safetensors")
    assert metadata["about"]["model"]["classes"] == 4
    assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.slow
def test_two_processes_describe_people_as_one_does(together):
    folder, file = together / "2", "data/features/tiny.parquet"
    if not (folder / "models/tiny/stage2.safetensors").exists():
        train(folder, "stage2", processes=2)
    tables = []
    for processes in (1, 2):
        train(folder, "evaluate.embed", processes)
        tables.append(pq.read_table(folder / file))
        (folder / file).unlink()
    assert tables[0].equals(tables[1])
    assert not list(folder.glob("work/embed/tiny/*"))
