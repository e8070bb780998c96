"""Ranked lists show who matched, who did not, and who was left out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluate.ranked import (
    CELL,
    JUNK,
    MATCH,
    QUERY,
    WRONG,
    Album,
    Ranked,
    choose,
    picture_of,
    shorten,
)
from evaluate.report.sections import nearest_of
from pipeline.schema import Status
from shards.draw import BACKGROUND
from shards.read import Shards
from tests.fake_extraction import Extracted, write_shards_of

PEOPLE = [(f"000{pid}C1T0001", pid, 0, "gallery", 5) for pid in range(1, 6)]


def one(pid: int, is_match: bool = False, is_junk: bool = False) -> Ranked:
    return Ranked(f"000{pid}C1T0001", pid, 0, 0.5, is_match, is_junk)


@pytest.fixture
def album(extracted: Callable[..., Extracted]) -> Album:
    # The middle frame of person 3 is bad, and all frames of person 5 are missing.
    bad = dict.fromkeys([12], Status.LOW_SCORE) | dict.fromkeys(range(20, 25), Status.MISSING)
    extracted(PEOPLE, bad)
    write_shards_of()
    return Album(Shards(Path("data/shards/fake")))


def test_frames_are_coloured_by_what_they_are(album: Album):
    picture = picture_of(album.cells(one(1), [one(2, is_junk=True), one(3, is_match=True), one(4)]))
    border = picture[20 + 2, :: (CELL[1] + 8 + 6)]
    assert [tuple(colour) for colour in border.tolist()] == [QUERY, JUNK, MATCH, WRONG]


def test_a_tracklet_left_out_is_grey(album: Album):
    picture = picture_of(album.cells(one(1), [one(2, is_junk=True), one(4)]))
    inside = picture[24 : 24 + CELL[0]].astype(int)
    step = CELL[1] + 8 + 6
    assert np.ptp(inside[:, step + 4 : step + 4 + CELL[1]], axis=2).max() <= max(BACKGROUND)
    assert np.ptp(inside[:, 2 * step + 4 : 2 * step + 4 + CELL[1]], axis=2).max() > 60


def test_a_fine_frame_next_to_the_middle_is_shown(album: Album):
    shards = album.shards
    shown, _ = album.portrait("0003C1T0001")
    rows = shards.rows(shards.find("0003C1T0001"))
    expected = Album(shards)
    status = np.array(shards.status)
    assert status[rows[2]] == Status.LOW_SCORE
    shards._arrays["status"] = np.where(np.arange(len(status)) == rows[1], 0, 3)
    np.testing.assert_array_equal(shown, expected.portrait("0003C1T0001")[0])


@pytest.mark.parametrize("name", ["0005C1T0001", "not in any shard"])
def test_a_tracklet_without_frames_still_has_its_place(album: Album, name: str):
    frame, figure = album.portrait(name)
    assert frame.shape == (*CELL, 3)
    assert figure.ndim == 3


def test_lists_end_when_enough_are_ranked():
    nearest = [one(1, is_junk=i % 2 == 0) for i in range(30)]
    assert len(shorten(nearest, ranked=3, shown=20)) == 6
    assert len(shorten(nearest, ranked=30, shown=14)) == 14


def test_no_query_is_chosen_when_none_was_scored():
    assert choose(np.array([np.nan, np.nan])) == {}


def test_the_hardest_come_first_and_each_once():
    ap = np.linspace(1, 0, 50)
    ap[10] = np.nan
    chosen = choose(ap)
    hardest = [at for name, at in chosen.items() if name.startswith("hardest")]
    assert hardest == list(range(49, 29, -1))
    assert chosen["best"] == 0


def test_a_query_is_not_shown_among_its_own_neighbours():
    row = {
        "tracklet": "a", "gallery": ["a", "b"], "gallery_pid": [1, 1], "gallery_camid": [0, 1],
        "distance": [0.0, 0.1], "is_match": [False, True], "is_junk": [True, False],
    }  # fmt: skip
    assert [ranked.tracklet for ranked in nearest_of(row)] == ["b"]
