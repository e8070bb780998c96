"""Crops show the box, its margin, and nobody squeezed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.tracks.boxes import Box
from extract.tracks.cut import Shape, cut, plan, window

SIZE = (160, 120)
sides = st.floats(2, 300)


def box(x: float, y: float, width: float, height: float) -> Box:
    return Box(0, "1", x, y, width, height, 1.0, "", "a:1")


@given(st.floats(-50, 200), st.floats(-50, 200), sides, sides, st.floats(0, 0.5), st.floats(0.2, 2))
def test_a_window_has_the_aspect_and_holds_the_box(x, y, width, height, margin, aspect):
    left, top, right, bottom = window(x, y, x + width, y + height, Shape(margin, aspect))
    # Sizes are rounded to whole pixels, and so are places.
    assert abs((right - left) - aspect * (bottom - top)) <= 0.5 + 0.5 * aspect + 1e-6
    added = margin * height
    assert left <= x - added + 1.01
    assert right >= x + width + added - 1.01
    assert top <= y - added + 1.01
    assert bottom >= y + height + added - 1.01


@given(st.integers(-40, 150), st.integers(-40, 110), st.integers(1, 90), st.integers(1, 90))
def test_a_crop_is_the_picture_and_its_repeated_edge(left, top, width, height):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    right, bottom = left + width, top + height
    if right <= 0 or bottom <= 0 or left >= SIZE[0] or top >= SIZE[1]:
        return
    rows = np.clip(np.arange(top, bottom), 0, SIZE[1] - 1)
    columns = np.clip(np.arange(left, right), 0, SIZE[0] - 1)
    np.testing.assert_array_equal(
        cut(image, (left, top, right, bottom)), image[np.ix_(rows, columns)]
    )


@pytest.mark.parametrize(
    ("given_box", "counted", "crops"),
    [
        (box(10, 10, 30, 60), {}, 1),
        (box(0, 0, 160, 120), {}, 1),
        (box(-10, 10, 30, 60), {"clipped": 1}, 1),
        (box(140, 90, 30, 60), {"less than 48 pixels high": 1}, 0),
        (box(150, 10, 30, 60), {"clipped": 1}, 1),
        (box(10, 10, 30, 47), {"less than 48 pixels high": 1}, 0),
        (box(-40, 10, 30, 60), {"outside the picture": 1}, 0),
        (box(160, 10, 30, 60), {"outside the picture": 1}, 0),
    ],
)
def test_boxes_are_clipped_and_left_out_and_counted(given_box, counted, crops):
    found = Counter()
    assert len(plan([given_box], SIZE, Shape(), found)) == crops
    assert found == counted


def test_a_window_without_margin_and_aspect_is_the_box():
    (crop,) = plan([box(10, 10, 30, 60)], SIZE, Shape(0, 0, 1), Counter())
    assert crop.window == (10, 10, 40, 70)
