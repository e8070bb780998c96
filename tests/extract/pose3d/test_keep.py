"""What is kept of the picture, in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.pose3d.keep import keep_seen

SEEDS = st.integers(0, 2**32 - 1)


def pose(seed: int, frames: int = 6) -> np.ndarray:
    """Return joints in metres around the pelvis, `(T, 17, 3)`."""
    xyz = np.random.default_rng(seed).normal(0, 0.4, (frames, 17, 3))
    return xyz - xyz[:, :1]


@given(SEEDS, st.floats(0.01, 500.0))
def test_a_sure_picture_gives_back_its_x_and_y_and_the_lifter_z(seed, zoom):
    """A lifter that is right but for noise has the scale right, and its noise is gone."""
    true = pose(seed)
    noise = np.random.default_rng(seed + 1).normal(0, 0.1, true.shape)
    # Noise across what was seen, so that least squares finds the scale exactly.
    noise[..., :2] -= true[..., :2] * (noise * true)[..., :2].sum() / (true[..., :2] ** 2).sum()
    lifted = true + noise * (np.arange(17) > 0)[:, None]
    picture = zoom * true[..., :2] + np.array([500.0, 300.0])
    kept = keep_seen(lifted, picture, np.ones(true.shape[:2]))
    np.testing.assert_allclose(kept[..., :2], true[..., :2], atol=1e-6)
    np.testing.assert_array_equal(kept[..., 2], lifted[..., 2])
    np.testing.assert_array_equal(kept[:, 0, :2], 0)


@given(SEEDS)
def test_an_unsure_picture_changes_nothing(seed):
    lifted = pose(seed)
    kept = keep_seen(lifted, pose(seed + 1)[..., :2], np.zeros(lifted.shape[:2]))
    np.testing.assert_array_equal(kept, lifted)


@given(SEEDS, st.integers(1, 16), st.floats(0.0, 1.0))
def test_each_joint_is_moved_as_far_as_it_is_sure(seed, joint, sure):
    """Where all joints but one are where the lifter says, that one goes its share of the way."""
    lifted = pose(seed)
    picture = 90 * lifted[..., :2]
    away = 90 * np.array([-lifted[2, joint, 1], lifted[2, joint, 0]])
    picture[2, joint] += away  # At a right angle, so that the scale stays what it is ...
    score = np.ones(lifted.shape[:2])
    score[2, joint] = sure
    kept = keep_seen(lifted, picture, score)
    # ... but for what the joint's distance adds to the sum of squares.
    weight = score[..., None]
    scale = (weight * picture * lifted[..., :2]).sum() / (weight * picture**2).sum()
    expected = (1 - sure) * lifted[2, joint, :2] + sure * scale * picture[2, joint]
    np.testing.assert_allclose(kept[2, joint, :2], expected, atol=1e-9)


def test_where_the_pelvis_is_unsure_nothing_is_seen_around_it():
    lifted, picture, score = pose(0), pose(1)[..., :2] + 3 * pose(0)[..., :2], np.ones((6, 17))
    score[3, 0] = 0
    kept = keep_seen(lifted, picture, score)
    np.testing.assert_array_equal(kept[3], lifted[3])
    assert np.abs(kept[2] - lifted[2]).max() > 0.05


def test_joints_that_were_all_found_at_one_place_change_nothing():
    lifted = pose(0)
    np.testing.assert_array_equal(keep_seen(lifted, np.zeros((6, 17, 2)), np.ones((6, 17))), lifted)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_result_is_as_precise_as_what_came_in(kind):
    lifted = pose(0).astype(kind)
    assert keep_seen(lifted, 50 * lifted[..., :2], np.ones((6, 17), np.float32)).dtype == kind
