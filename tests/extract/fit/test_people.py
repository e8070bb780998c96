"""People to fit to: what is rendered, and what walks without pictures."""

import numpy as np

from extract.fit.people import _SEED, Sampling, camera_heights, input_map, shuffled, walk
from extract.walkers.camera import Camera
from extract.walkers.clip import film, pose_only
from extract.walkers.frame import scene
from extract.walkers.person import distractor
from tests.conftest import ROOT
from tests.extract.fit.conftest import WHOLE

CONFIGS = ROOT / "conf" / "weights" / "walkers_pose"


def test_rendered_clips_follow_one_another(clips):
    assert clips.ends[-1] == len(clips.crops) == len(clips.xy_px) == len(clips.xyz)
    assert clips.crops.shape[1:] == (256, 128, 3)
    for clip in clips.clips():
        # Within a clip the pelvis moves by centimetres, not by metres.
        assert np.linalg.norm(np.diff(clips.root[clip], axis=0), axis=1).max() < 0.5


def test_the_input_map_is_that_of_the_config():
    matrix, size = input_map(CONFIGS / "pose2d.py")
    np.testing.assert_allclose(matrix, WHOLE, atol=1e-6)
    assert size == (128, 256)


def test_every_item_comes_once_before_any_comes_again():
    rng = np.random.default_rng(0)
    picks = np.concatenate(list(shuffled(12, 4, 6, rng)))
    assert sorted(picks[:12]) == sorted(picks[12:]) == list(range(12))


def test_walks_without_pictures_have_the_joints_of_rendered_ones():
    where, numbers = scene(3, wide=True), np.array([0, 3, 6, 30])
    shown = film(distractor(np.random.default_rng(1)), where, numbers, np.random.default_rng(2))
    xy_px, xyz, root = pose_only(
        distractor(np.random.default_rng(1)), where.camera, numbers, np.random.default_rng(2)
    )
    np.testing.assert_array_equal(xyz, shown.xyz)
    np.testing.assert_array_equal(root, shown.root)
    # The detector sees another outline, so that each crop lies elsewhere and is scaled otherwise.
    for ours, theirs in zip(xy_px, shown.xy_px, strict=True):
        a, b = ours - ours.mean(0), theirs - theirs.mean(0)
        np.testing.assert_allclose(a / np.ptp(a[:, 1]), b / np.ptp(b[:, 1]), atol=1e-4)


def test_walks_have_people_and_cameras_of_their_own():
    sampling = Sampling("test", 98, cameras=0, clips=5, frames=(3, 6))
    walks = walk(sampling)
    assert len(walks.ends) == 5
    assert len(walks.crops) == len(walks.xyz) == walks.ends[-1]
    first = np.array([walks.root[clip][0] for clip in walks.clips()])
    assert len(np.unique(first.round(3), axis=0)) == 5


def test_the_height_of_a_clips_camera_is_known():
    sampling = Sampling("test", 97, cameras=2, clips=3, frames=(3, 3))
    low, high = (Camera.sample(np.random.default_rng((_SEED, 97, 0, i)), True) for i in (0, 1))
    expected = [low.position[2], low.position[2], high.position[2]]
    np.testing.assert_array_equal(camera_heights(sampling), expected)
