import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pipeline.errors import PipelineError
from pipeline.images import decode
from pipeline.stage import start as start_stage
from tests.conftest import ROOT
from tests.train.data.conftest import embedded_set, train_set
from tests.train.tiny import rows, write_params, write_shards
from train import stage1, stage2
from train.data.clips import ClipDataset, TestDataset, chunked
from train.data.sampler import Draw, PKSampler
from train.registry import DATASETS

FLIP = [{"type": "train.data.transforms.ClipFlip", "prob": 0.5}]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
def test_each_chunk_gives_one_frame_in_order(length, clip_frames, seed):
    taken = chunked(np.arange(length), clip_frames, np.random.default_rng(seed))
    first = chunked(np.arange(length), clip_frames)
    assert len(taken) == len(first) == clip_frames
    assert (np.diff(taken) >= 0).all()
    for chunk, (start, frame) in enumerate(zip(first, taken, strict=True)):
        stop = max((chunk + 1) * length // clip_frames, start + 1)
        assert start <= frame < stop


def test_labels_follow_the_sorted_pids(folder):
    data = train_set(folder())
    assert data.pids == [3, 7, 30]
    assert [data.pids[label] for label in data.labels] == data.table["pid"].tolist()


@pytest.mark.parametrize("held_out", [3, 70])
def test_holding_out_everybody_is_refused(folder, held_out):
    with pytest.raises(PipelineError, match=rf"held_out is {held_out}, but there are 3"):
        train_set(folder(), held_out=held_out)


@pytest.mark.parametrize(("limit", "pids"), [(1, [3, 7]), (3, [3, 7]), (5, [3, 7, 30])])
def test_a_limit_takes_whole_persons_to_train_on_and_at_least_two(folder, limit, pids):
    data = train_set(folder(), limit=limit)
    assert data.pids == pids
    assert data.table["pid"].tolist() == sorted(pids * 2)
    assert len(embedded_set(folder(), limit=1).table) == 1


def test_a_distractor_is_nobody_to_learn_or_to_hold_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = rows({"train": [0, 3, 7], "query": [4], "gallery": [4, 0]})
    root = str(write_shards(tmp_path / "data/shards/tiny", table))
    data = train_set(root)
    assert (data.pids, set(data.table["pid"])) == ([3, 7], {3, 7})
    assert train_set(root, held_out=1).pids == [3]
    held_out = TestDataset(root, ["train"], 4, (64, 32), held_out=2)
    assert set(held_out.table["pid"]) == {3, 7}
    assert set(embedded_set(root).table["pid"]) == {0, 4}


def test_labels_do_not_depend_on_the_hash_seed(folder):
    build = f"ClipDataset({folder()!r}, 4, (64, 32))"
    program = f"from train.data.clips import ClipDataset; print({build}.labels)"
    made = {
        subprocess.check_output(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        for seed in ("1", "2")
    }
    assert made == {"[0, 0, 1, 1, 2, 2]\n"}


# Nothing has to be trained before.
BARE = [
    "runs.tiny.start=conf/encoder/conv_stem.yaml",
    "runs.tiny.encoder=conv_stem",
    "stage2.settings.without=[skeleton]",
]


def configured(stage: str, *overrides: str) -> ClipDataset:
    """Return the data set of a stage as its command configures it, at the size of the frames."""
    write_params(Path())
    config = {"stage1": stage1.stage1, "stage2": stage2.stage2}[stage](
        start_stage(stage, "tiny", [*BARE, *overrides])
    ).config
    return DATASETS.build(config["train_dataloader"]["dataset"] | {"frame_size": (64, 32)})


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("overrides", [[], ["stage1.flip=1", "stage2.flip=1", "stage2.erase=1"]])
def test_a_plain_index_gives_the_stored_frames_untouched(folder, made, stage, overrides):
    folder()
    data = configured(stage, *overrides)
    for index, tracklet in enumerate(data.table["tracklet"]):
        rows_of_it = [row for row in made if row["tracklet"] == tracklet]
        own = [rows_of_it[i] for i in (0, 1, 3, 4)]
        inputs = data[index]["inputs"]
        pictures = np.stack([decode(row["jpeg"]).transpose(2, 0, 1) for row in own])
        np.testing.assert_array_equal(inputs["frames"], pictures)
        np.testing.assert_array_equal(inputs["xyz"].reshape(4, -1), [row["xyz"] for row in own])
    drawn = torch.stack([data[Draw(0, (0, 0, i))]["inputs"]["xyz"] for i in range(8)])
    assert not (drawn == data[0]["inputs"]["xyz"]).all()


@pytest.mark.parametrize("draw", [3, Draw(3, (1, 2, 3))])
def test_shuffled_frames_keep_their_skeletons_also_without_a_key(folder, draw):
    folder()
    plain = ["stage2.flip=0", "stage2.erase=0", "stage2.jitter=0", "stage2.clip_frames=6"]
    still = configured("stage2", *plain)
    mixed = configured("stage2", *plain, "stage2.shuffle_frames=true")
    before, after = still[draw]["inputs"], mixed[draw]["inputs"]
    order = [
        next(i for i in range(6) if torch.equal(before["frames"][i], frame))
        for frame in after["frames"]
    ]
    assert sorted(order) == list(range(6))
    assert order != list(range(6))
    assert torch.equal(after["xyz"], before["xyz"][order])
    assert torch.equal(mixed[draw]["inputs"]["frames"], after["frames"])


def test_a_clip_is_a_function_of_its_key(folder):
    data = train_set(folder(), transforms=FLIP)
    first, again, other = (
        data[Draw(0, key)]["inputs"] for key in ((0, 1, 2), (0, 1, 2), (0, 1, 3))
    )
    for name in first:
        torch.testing.assert_close(first[name], again[name], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(first["xyz"], other["xyz"])


def test_batches_are_the_same_whatever_the_number_of_workers(folder):
    data = train_set(folder(), transforms=FLIP)

    def epoch(workers: int) -> list[dict]:
        sampler = PKSampler(data, identities=3, clips=2, seed=0)
        sampler.set_epoch(4)
        return list(DataLoader(data, 6, sampler=sampler, num_workers=workers))

    for one, other in zip(epoch(0), epoch(2), strict=True):
        assert torch.equal(one["labels"], other["labels"])
        for name, value in one["inputs"].items():
            torch.testing.assert_close(value, other["inputs"][name], rtol=0, atol=0, equal_nan=True)
