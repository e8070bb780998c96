import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from extract.pose3d.normalise import normalise, pose_height, towards_root
from pipeline.skeleton import COCO17, H36M17

SEEDS = st.integers(0, 2**32 - 1)
ANKLES = [COCO17.joints.index("left_ankle"), COCO17.joints.index("right_ankle")]


def walk(seed: int, frames: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 200, (frames, 17, 2)), rng.uniform(0.4, 1, (frames, 17))


@given(SEEDS, st.floats(0.2, 5.0))
def test_where_and_how_large_the_crop_shows_a_person_leaves_no_trace(seed, scale):
    xy, score = walk(seed)
    moved = scale * xy + np.random.default_rng(seed).uniform(-50, 50, (len(xy), 1, 2))
    expected, found = normalise(xy, score)[0], normalise(moved, score)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(SEEDS)
def test_pelvis_and_height_are_where_the_lifter_wants_them(seed):
    xy, score = walk(seed)
    placed, placed_score = normalise(xy, score, (500, 400), 300)
    np.testing.assert_allclose(placed[:, H36M17.root], np.tile([500, 400], (len(xy), 1)), atol=1e-3)
    assert placed_score.shape == (len(xy), 17)
    # A bone's length tells the scale that was applied.
    hip, knee = COCO17.joints.index("right_hip"), COCO17.joints.index("right_knee")
    before = np.linalg.norm(xy[:, hip] - xy[:, knee], axis=-1)
    after = np.linalg.norm(placed[:, 1] - placed[:, 2], axis=-1)
    np.testing.assert_allclose(after, before * 300 / pose_height(xy, score), rtol=1e-3)


def test_frames_without_feet_do_not_make_a_person_smaller():
    xy, score = np.zeros((5, 17, 2)), np.ones((5, 17))
    xy[:, ANKLES, 1] = 100.0
    xy[1:4, ANKLES, 1] = 40.0
    score[1:4, ANKLES] = 0.1
    assert pose_height(xy, score) == 100.0


def test_a_tracklet_without_any_sure_joint_still_has_a_height():
    xy = np.zeros((2, 17, 2))
    xy[:, ANKLES, 1] = 80.0
    assert pose_height(xy, np.zeros((2, 17))) == 80.0


@given(SEEDS)
def test_towards_root_turns_the_ray_to_the_pelvis_into_the_z_axis(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 3)) + np.array([0, 0, 6])
    xyz = np.concatenate([root[:, None], rng.normal(size=(4, 16, 3))], 1)
    turned = towards_root(xyz, root)
    distance = np.linalg.norm(root, axis=1)
    np.testing.assert_allclose(turned[:, 0], np.c_[0 * distance, 0 * distance, distance], atol=1e-9)
    np.testing.assert_allclose(turned @ turned.swapaxes(1, 2), xyz @ xyz.swapaxes(1, 2), atol=1e-9)


def test_towards_root_leaves_a_pose_in_the_middle_of_the_picture_alone():
    xyz = np.random.default_rng(0).normal(size=(2, 17, 3))
    np.testing.assert_allclose(towards_root(xyz, np.array([[0, 0, 3.0], [0, 0, 9.0]])), xyz)
