import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from extract.pose_metrics import lean, mpjpe, oks, pck, procrustes, true_scale
from pipeline.skeleton import H36M17

SEEDS = st.integers(0, 2**32 - 1)


def poses(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 17, 3))


@given(SEEDS, st.floats(0.1, 10.0))
def test_procrustes_undoes_any_move_turn_and_scale(seed, scale):
    truth = poses(seed)
    turns = Rotation.random(3, rng=np.random.default_rng(seed)).as_matrix()
    changed = scale * truth @ turns + np.array([1.0, -2.0, 3.0])
    assert mpjpe(procrustes(changed, truth), truth).max() < 1e-9


@given(SEEDS)
def test_procrustes_is_never_worse_than_the_pose_itself_in_squares(seed):
    found, truth = poses(seed), poses(seed + 1)
    before = np.sum((found - truth) ** 2)
    assert np.sum((procrustes(found, truth) - truth) ** 2) <= before + 1e-9


def test_procrustes_does_not_turn_left_into_right():
    truth = poses(0)
    mirrored = truth * [-1, 1, 1]
    assert mpjpe(procrustes(mirrored, truth), truth).min() > 0.1


@given(SEEDS, st.floats(0.5, 2.0))
def test_true_scale_forgives_size_and_nothing_else(seed, scale):
    truth = poses(seed)
    assert mpjpe(true_scale(scale * truth, truth), truth).max() < 1e-9
    moved = truth + np.array([0.3, 0, 0])
    assert mpjpe(true_scale(moved, truth), truth).min() > 0.05


def test_mpjpe_is_the_mean_distance():
    truth = np.zeros((1, 2, 3))
    found = np.array([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
    assert mpjpe(found, truth) == pytest.approx([3.0])


def test_pck_counts_what_lies_within_a_share_of_the_height():
    truth = np.zeros((2, 2, 2))
    found = np.array([[[10.0, 0.0], [0.0, 11.0]], [[0.0, 5.0], [6.0, 0.0]]])
    counts = np.array([[True, True], [True, False]])
    heights = np.array([100.0, 40.0])
    assert pck(found, truth, counts, heights, 0.1).tolist() == [0.5, 0.0]


def test_pck_of_a_joint_that_never_counts_is_nan():
    shares = pck(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), np.array([[True, False]]), np.ones(1), 1)
    assert shares[0] == 1
    assert np.isnan(shares[1])


def test_oks_is_that_of_pycocotools():
    """Against COCO's own evaluation, one person in each of 20 pictures."""
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 200, (20, 17, 2))
    found = truth + rng.normal(scale=10, size=truth.shape)
    marked = rng.random((20, 17)) < 0.7
    area = rng.uniform(2000, 40_000, 20)
    evaluation = COCOeval(iouType="keypoints")
    for i, similarity in enumerate(oks(found, truth, marked, area)):
        entry = {"bbox": [0, 0, 200, 200], "num_keypoints": int(marked[i].sum()), "id": 1}
        flags = 2 * marked[i][:, None]
        given = np.where(flags > 0, np.hstack([truth[i], flags]), 0)
        evaluation._gts[i, 1] = [entry | {"keypoints": given.ravel().tolist(), "area": area[i]}]
        points = np.hstack([found[i], np.ones((17, 1))])
        evaluation._dts[i, 1] = [{"keypoints": points.ravel().tolist(), "score": 1.0}]
        assert evaluation.computeOks(i, 1)[0, 0] == pytest.approx(similarity, abs=1e-6)


def test_oks_of_a_person_without_a_marked_joint_is_not_known():
    assert np.isnan(oks(*np.zeros((2, 1, 17, 2)), np.zeros((1, 17), bool), np.ones(1)))[0]


@pytest.mark.parametrize("degrees", [-40.0, 0.0, 12.0])
def test_lean_is_the_angle_by_which_a_person_was_tipped(degrees):
    """Upright people turned about the picture's x axis, whatever their arms and legs do."""
    rng = np.random.default_rng(0)
    xyz = rng.normal(0, 0.2, (5, 17, 3))
    left, right, thorax = (
        H36M17.joints.index(name) for name in ("left_ankle", "right_ankle", "thorax")
    )
    xyz[:, right] = -xyz[:, left]  # The feet's middle below the thorax: y points down.
    xyz[:, [left, right], 1] += 0.8
    xyz[:, thorax] = [0, -0.5, 0]
    angle = np.radians(degrees)
    # Away from the camera (z grows) for those whom it sees leaning back.
    turn = [[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]]
    assert lean(xyz @ np.array(turn).T) == pytest.approx(degrees, abs=1e-9)
