from types import SimpleNamespace

import numpy as np
import pytest

from bench import skeletons
from bench.shifts import BAD_SHARE, GREY, Shifted, shifts
from pipeline.params.config import load
from tests.conftest import ROOT
from tests.train.tiny import rows, write_shards
from train.data.clips import TestDataset


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 128, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", shifts())
def test_a_shift_gives_new_frames_of_the_same_shape_and_leaves_the_old_alone(name, frames):
    before, shift = frames.copy(), shifts()[name]
    once, again = (shift(frames, frames[::-1], np.random.default_rng(1)) for _ in range(2))
    assert (once.shape, once.dtype) == (frames.shape, frames.dtype)
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(frames, before)
    assert np.array_equal(once, frames) == (name == "as it is")


def test_frames_that_are_no_higher_lose_nothing(frames):
    small = frames[:, :64, :32]
    np.testing.assert_array_equal(shifts()["64 pixels high"](small, small, None), small)


def test_four_frames_in_ten_are_bad(frames):
    spoilt = shifts()["4 frames in 10 blurred or covered"]
    shares = [
        (spoilt(frames, frames[::-1], np.random.default_rng(seed)) != frames).any((1, 2, 3)).mean()
        for seed in range(10)
    ]
    assert abs(np.mean(shares) - BAD_SHARE) < 0.05


def test_half_of_a_frame_is_hidden(frames):
    upper = shifts()["upper half hidden"](frames, frames, None)
    assert (upper[:, :64] == GREY).all()
    np.testing.assert_array_equal(upper[:, 64:], frames[:, 64:])


def test_clips_keep_their_tracklets_and_skeletons(tmp_path):
    folder = write_shards(tmp_path / "tiny", rows({"query": [4, 9], "gallery": [4, 9]}))
    data = TestDataset(str(folder), ["query", "gallery"], 4, (64, 32))
    dark = Shifted(data, shifts()["gamma 2"])
    assert len(dark) == len(data)
    numbers = np.arange(len(data), dtype=float)[:, None]
    np.testing.assert_array_equal(dark.average(numbers), data.average(numbers))
    for index in range(len(data)):
        clean, shifted = data[index]["inputs"], dark[index]["inputs"]
        assert shifted["frames"].float().mean() < clean["frames"].float().mean()
        for name in clean.keys() - {"frames"}:
            np.testing.assert_array_equal(clean[name], shifted[name])


@pytest.mark.parametrize(("dataset", "pages"), [("walkers", ["skeletons"]), ("tiny", [])])
def test_only_the_walkers_numbers_come_onto_the_page(tmp_path, monkeypatch, dataset, pages):
    monkeypatch.chdir(ROOT)
    params = load(())
    data = params.datasets | {"tiny": params.datasets["walkers"]}
    monkeypatch.setattr(
        "pipeline.params.config.load", lambda: params.model_copy(update={"datasets": data})
    )
    written = []
    monkeypatch.setattr(skeletons, "rewrite", lambda name, *_: written.append(name))
    monkeypatch.setattr(skeletons, "retrieve", lambda xyz, shards: (50.0, 50.0))
    monkeypatch.setattr(skeletons, "lifted", lambda *_, **__: np.zeros((2, 17, 3)))
    truth = SimpleNamespace(xyz=np.zeros((2, 17, 3)), xy_px=np.zeros((2, 17, 2)))
    monkeypatch.setattr("shards.read.Shards", lambda folder: SimpleNamespace(xyz=truth.xyz))
    monkeypatch.setattr("shards.quality.truth_file", lambda shards: tmp_path)
    monkeypatch.setattr("shards.quality.Truth", lambda shards, file: truth)
    skeletons.main(dataset)
    assert written == pages
