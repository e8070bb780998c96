"""HiTPro learns without knowing who is who."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from pipeline.errors import PipelineError
from pipeline.params.config import merge
from tests.stages import make
from tests.train.test_every_model import Training, built
from tests.train.tiny import rows, write_project
from train.data.clips import ClipDataset
from train.weights.checkpoint import load

RUN = [
    "runs.tiny.model=hitpro",
    "runs.tiny.start=conf/encoder/conv_stem.yaml",
    "runs.tiny.encoder=conv_stem",
]
PEOPLE = {"train": [1, 2, 5, 8]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path, rows(PEOPLE))


def permute_pids(folder: Path) -> None:
    """Give each tracklet another's pid, in place, so that tracklets of one person are parted."""
    file = folder / "data/shards/tiny/train-00000.parquet"
    table = pq.read_table(file)
    tracklets, back = np.unique(table["tracklet"].to_pylist(), return_inverse=True)
    others = np.array([8, 1, 5, 2, 1, 8, 2, 5])
    assert len(tracklets) == len(others)
    at = table.column_names.index("pid")
    changed = pa.array(others[back], table.schema.field("pid").type)
    pq.write_table(table.set_column(at, table.schema.field(at), changed), file)


def published(folder: Path) -> dict[str, bytes]:
    state, _ = load(folder / "models/tiny/stage2.safetensors")
    return {name: value.numpy().tobytes() for name, value in state.items()}


def test_other_pids_give_the_same_weights_to_the_byte(tmp_path, monkeypatch):
    made, curves = [], []
    for name in ("as they are", "permuted"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        write_project(folder, rows(PEOPLE))
        if made:
            permute_pids(folder)
        line = {"model": "hitpro", "encoder": "conv_stem", "start": "conf/encoder/conv_stem.yaml"}
        file = folder / "params.yaml"
        knobs = merge(yaml.safe_load(file.read_text()), {"runs": {"tiny": line}})
        file.write_text(yaml.safe_dump(knobs))
        make("stage2", "tiny")
        made.append(published(folder))
        file = folder / "reports/tiny/stage2/plots/metrics/views_precision.tsv"
        curves.append(file.read_text().splitlines()[1:])
    assert made[0] == made[1]
    assert made[0]["memory.bank"]
    # Only what is said about the pairs differs.
    assert curves[0] != curves[1]


def test_each_tracklet_is_a_class_and_a_trial_takes_few(project):
    folder = "data/shards/tiny"
    whole = ClipDataset(folder, 4, (128, 64), each_is_a_class=True)
    assert whole.labels == whole.pids == list(range(8))
    assert whole.table["pid"].tolist() == [1, 1, 2, 2, 5, 5, 8, 8]
    assert len(ClipDataset(folder, 4, (128, 64), each_is_a_class=True, limit=3)) == 3


def test_nobody_is_held_out_of_what_knows_nobody(project):
    with pytest.raises(PipelineError, match=r"Set stage2\.held_out to 0"):
        make("stage2", "tiny", *RUN, "stage2.held_out=2", dry_run=True)


class Known(Training):
    """Twelve tracklets, and who they show."""

    def __init__(self, needs: set[str], pids: list[int]) -> None:
        super().__init__(needs)
        self.labels = list(range(len(self.labels)))
        self.table = pd.DataFrame({"pid": pids})


def test_precision_and_recall_are_those_of_the_pairs():
    model, needs, _ = built("hitpro")
    model.memory = type(model.memory)(12, model.memory.bank.shape[1])
    data = Known(needs, [1] * 6 + [2] * 5 + [0])
    model.refresh(data)
    found = model.shown(data)
    pids = data.table["pid"].to_numpy()
    # Cameras of the batch are i % 2, and so are spectra: all other views are of the other one.
    rows = (one.tolist() for one in model.memory.pairs("spectra")[:2])
    pairs = {tuple(sorted(pair)) for pair in zip(*rows, strict=True)}
    assert pairs
    assert not len(model.memory.pairs("views").first)
    right = sum(pids[a] == pids[b] and pids[a] > 0 for a, b in pairs)
    known = sum(pids[a] > 0 and pids[b] > 0 for a, b in pairs)
    wanted = sum(pids[a] == pids[b] > 0 and a % 2 != b % 2 for a in range(12) for b in range(a))
    assert set(found) == {"spectra_precision", "spectra_recall"}
    assert found["spectra_precision"] == pytest.approx(right / max(known, 1))
    assert found["spectra_recall"] == pytest.approx(right / wanted)


def test_mining_starts_when_it_is_time_and_asks_for_less_later():
    model, needs, _ = built("hitpro", mining={"views": 0.5, "spectra": 0.75})
    asked = []
    model.memory.mine = lambda level, quantile: asked.append((level, round(quantile, 6)))
    for epoch in range(5):
        model.begin_epoch(epoch, 5)
        model.refresh(Training(needs))
    assert asked == [
        ("views", 0.7), ("views", 0.5), ("spectra", 0.7), ("views", 0.3), ("spectra", 0.3),
    ]  # fmt: skip


def test_memories_of_light_alone_are_of_one_spectrum():
    model, needs, _ = built("hitpro")
    data = Training(needs)
    data.inputs["spectrum"] = torch.zeros_like(data.inputs["spectrum"])
    model.refresh(data)
    assert not len(model.memory.pairs("spectra").first)
