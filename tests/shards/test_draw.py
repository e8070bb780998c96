"""Skeletons are drawn where the joints are, and their sides can be told apart."""

import numpy as np
import pytest

from pipeline.skeleton import COCO17, H36M17, flip_xyz
from shards import draw

STANDING = np.zeros((17, 3), np.float32)
for name, place in {
    "right_hip": (-0.12, 0, 0), "right_knee": (-0.14, 0.45, 0), "right_ankle": (-0.15, 0.9, 0),
    "left_hip": (0.12, 0, 0), "left_knee": (0.14, 0.45, 0), "left_ankle": (0.15, 0.9, 0),
    "spine": (0, -0.25, 0), "thorax": (0, -0.5, 0), "neck": (0, -0.6, 0), "head": (0, -0.7, 0),
    "left_shoulder": (0.2, -0.5, 0), "left_elbow": (0.3, -0.25, 0), "left_wrist": (0.3, 0, 0),
    "right_shoulder": (-0.2, -0.5, 0), "right_elbow": (-0.3, -0.25, 0),
    "right_wrist": (-0.3, 0, 0),
}.items():  # fmt: skip
    STANDING[H36M17.joints.index(name)] = place


def columns_of(picture: np.ndarray, colour: draw.Colour) -> np.ndarray:
    return np.nonzero((picture == colour).all(axis=2))[1]


@pytest.mark.parametrize("layout", [COCO17, H36M17])
def test_mirrored_bones_have_the_other_sides_colour(layout):
    swap = {draw.LEFT: draw.RIGHT, draw.RIGHT: draw.LEFT, draw.MIDDLE: draw.MIDDLE}
    colours = {
        frozenset(e): c for e, c in zip(layout.edges, draw.bone_colours(layout), strict=True)
    }
    for edge, colour in colours.items():
        assert colours[frozenset(layout.flip[joint] for joint in edge)] == swap[colour]


def test_somebody_who_faces_the_camera_has_the_left_side_at_the_right():
    picture = draw.figure(STANDING, "front")
    # Bones are three pixels wide.
    assert columns_of(picture, draw.LEFT).min() >= 62
    assert columns_of(picture, draw.RIGHT).max() <= 66
    mirrored = draw.figure(flip_xyz(STANDING), "front")
    np.testing.assert_allclose(
        np.sort(columns_of(mirrored, draw.LEFT)).mean(),
        columns_of(picture, draw.LEFT).mean(),
        atol=0.5,
    )


def test_the_side_view_shows_what_lies_away_from_the_camera_at_the_left():
    reaching = STANDING.copy()
    reaching[H36M17.joints.index("left_wrist")] += (0, 0, 0.6)
    picture = draw.figure(reaching, "side")
    assert columns_of(picture, draw.LEFT).min() < 40


def test_near_bones_hide_far_ones_in_the_side_view():
    # Both legs lie behind each other; whoever stands at the left sees the right one, which has
    # the smaller x.
    legs = draw.figure(STANDING, "side")[150:210]
    assert len(columns_of(legs, draw.RIGHT)) > 100
    assert len(columns_of(legs, draw.LEFT)) == 0


def test_joints_lie_on_their_pixels_at_any_zoom():
    frame = np.zeros((64, 32, 3), np.uint8)
    xy_px = np.full((17, 2), np.nan, np.float32)
    xy_px[0] = (10, 20)
    for zoom in (1, 2, 3):
        out = draw.on_frame(frame, xy_px, np.ones(17), zoom)
        y, x = np.nonzero((out == draw.confidence_colour(1.0)).all(axis=2))
        centre = ((x.mean() + 0.5) / zoom, (y.mean() + 0.5) / zoom)
        np.testing.assert_allclose(centre, (10.5, 20.5), atol=0.1)


def test_confidence_runs_from_red_to_green():
    (low, _, high) = (np.array(draw.confidence_colour(score)) for score in (0.0, 0.5, 1.0))
    assert low[0] > low[1]
    assert high[1] > high[0]
    assert draw.confidence_colour(float("inf")) == draw.confidence_colour(1.0)


def test_a_frame_without_joints_stays_as_it_is():
    frame = np.random.default_rng(0).integers(0, 255, (8, 4, 3), dtype=np.uint8)
    nothing = np.full((17, 2), np.nan)
    assert np.array_equal(draw.on_frame(frame, nothing, np.full(17, np.nan), 1), frame)


def test_joints_far_outside_the_frame_do_not_break_the_drawing():
    xy_px = np.full((17, 2), 1e9, np.float32)
    xy_px[3] = (5, 5)
    assert draw.on_frame(np.zeros((16, 16, 3), np.uint8), xy_px, np.ones(17)).shape == (32, 32, 3)


@pytest.mark.parametrize("shape", [(10, 40), (40, 10), (300, 500), (1, 1)])
def test_any_picture_fits_a_cell(shape):
    picture = np.full((*shape, 3), 255, np.uint8)
    out = draw.fitted(picture, (64, 32))
    assert out.shape == (64, 32, 3)
    assert (out == 255).all(axis=2).any()
