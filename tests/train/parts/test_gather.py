import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT


def train_one_step(world: int, folder: Path) -> None:
    folder.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.two_processes", str(rank), str(world), folder],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(world)
    ]
    assert all(process.wait(timeout=300) == 0 for process in processes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train_one_step(1, folder / "alone")
    train_one_step(2, folder / "together")
    return folder


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_two_processes_find_the_gradients_of_one_with_the_doubled_batch(stage, runs):
    alone, together = (
        torch.load(runs / run / f"{stage}.pt", weights_only=True) for run in ("alone", "together")
    )
    assert alone.keys() == together.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected, rtol=1e-3, atol=1e-5)
    assert sum(gradient.abs().sum() > 0 for gradient in alone.values()) > 0.9 * len(alone)
