import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.skeleton import COCO17, H36M17, LAYOUTS, coco_to_h36m, flip_xyz, layout


def test_mirror_permutations_are_those_of_the_field():
    assert H36M17.flip == (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)
    assert COCO17.flip == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)


@pytest.mark.parametrize("name", LAYOUTS)
def test_mirroring_a_layout_keeps_its_bones(name):
    joints = LAYOUTS[name]
    mirrored = {frozenset((joints.flip[a], joints.flip[b])) for a, b in joints.edges}
    assert mirrored == {frozenset(edge) for edge in joints.edges}


@pytest.mark.parametrize("name", sorted(set(LAYOUTS) - {"coco17"}))
def test_3d_layouts_are_trees_that_reach_every_joint(name):
    joints = LAYOUTS[name]
    reached = {joints.root}
    for _ in joints.joints:
        reached |= {b for edge in joints.edges for a, b in (edge, edge[::-1]) if a in reached}
    assert reached == set(range(len(joints.joints)))
    assert len(joints.edges) == len(joints.joints) - 1


@given(st.integers(0, 2**32 - 1))
def test_mirroring_twice_is_the_identity(seed):
    xyz = np.random.default_rng(seed).normal(size=(3, 17, 3))
    np.testing.assert_array_equal(flip_xyz(flip_xyz(xyz)), xyz)


@given(st.integers(0, 2**32 - 1))
def test_conversion_commutes_with_mirroring(seed):
    rng = np.random.default_rng(seed)
    xy, score = rng.normal(size=(17, 2)), rng.uniform(size=17)
    mirror = np.array([-1, 1])
    first, first_score = coco_to_h36m(xy[list(COCO17.flip)] * mirror, score[list(COCO17.flip)])
    then, then_score = coco_to_h36m(xy, score)
    np.testing.assert_allclose(first, then[list(H36M17.flip)] * mirror)
    np.testing.assert_array_equal(first_score, then_score[list(H36M17.flip)])


def test_joints_made_from_two_lie_between_them_and_are_as_sure_as_the_less_sure_one():
    xy, score = np.zeros((17, 2)), np.ones(17)
    xy[11], xy[12], score[12] = (2, 0), (4, 0), 0.25
    h36m, h36m_score = coco_to_h36m(xy, score)
    assert h36m[0].tolist() == [3, 0]
    assert h36m_score[0] == h36m_score[7] == 0.25
    assert h36m_score[8] == 1


def test_the_right_knee_stays_on_the_right():
    xy = np.zeros((17, 2))
    xy[COCO17.joints.index("right_knee")] = (7, 7)
    h36m, _ = coco_to_h36m(xy, np.ones(17))
    assert h36m[H36M17.joints.index("right_knee")].tolist() == [7, 7]


def test_an_unknown_layout_names_the_nearest():
    with pytest.raises(PipelineError, match=r"Did you mean kinect20\?"):
        layout("kinekt20")
