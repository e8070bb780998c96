import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.pose3d.gaps import bridge, runs, smooth


def moving(frames):
    """Return a joint that moves one pixel per frame, `(T, 1, 2)`."""
    return np.repeat(np.arange(frames, dtype=np.float32)[:, None, None], 2, axis=2)


def test_a_short_gap_is_interpolated_and_flagged():
    xy, valid = moving(6), np.array([1, 1, 0, 0, 1, 1], bool)
    spoiled = xy.copy()
    spoiled[~valid] = 99
    filled, score, bridged = bridge(spoiled, np.ones((6, 1)), valid, max_gap=2)
    np.testing.assert_allclose(filled, xy, atol=1e-6)
    np.testing.assert_array_equal(score, 1)
    assert bridged.tolist() == [False, False, True, True, False, False]


def test_long_gaps_and_bad_ends_are_not_bridged():
    valid = np.array([0, 1, 0, 0, 0, 1, 0], bool)
    _, _, bridged = bridge(moving(7), np.ones((7, 1)), valid, max_gap=2)
    assert not bridged.any()


def test_a_tracklet_without_a_good_frame_is_left_alone():
    _, _, bridged = bridge(moving(3), np.ones((3, 1)), np.zeros(3, bool), max_gap=5)
    assert not bridged.any()


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 8))
def test_good_frames_never_change_and_bridged_ones_lie_between_good_ones(valid, max_gap):
    valid = np.array(valid)
    xy = np.random.default_rng(0).random((len(valid), 2, 2)).astype(np.float32)
    filled, _, bridged = bridge(xy, xy[..., 0], valid, max_gap)
    np.testing.assert_array_equal(filled[valid], xy[valid])
    assert not (bridged & valid).any()
    for a, b in runs(bridged):
        assert valid[a - 1]
        assert valid[b]
        assert b - a <= max_gap


@pytest.mark.parametrize("how", ["savgol", "one_euro"])
@pytest.mark.parametrize("frames", [1, 2, 5, 100])
def test_smoothing_keeps_length_and_a_still_pose(how, frames):
    xyz = np.full((frames, 17, 3), 0.5, np.float32)
    out = smooth(xyz, how)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, xyz, atol=1e-6)


@pytest.mark.parametrize("how", ["savgol", "one_euro"])
def test_smoothing_calms_noise_and_follows_a_walk(how):
    rng = np.random.default_rng(0)
    walk = 0.3 * np.sin(np.arange(200) / 6)[:, None, None] * np.ones((1, 17, 3))
    noisy = (walk + rng.normal(0, 0.03, walk.shape)).astype(np.float32)
    jitter = np.abs(np.diff(noisy, n=2, axis=0)).mean()
    assert np.abs(np.diff(smooth(noisy, how), n=2, axis=0)).mean() < 0.6 * jitter
    assert np.abs(smooth(walk.astype(np.float32), how) - walk).max() < 0.1


def test_no_smoothing_is_no_change():
    xyz = np.random.default_rng(0).random((9, 17, 3))
    assert smooth(xyz, "none") is xyz
