"""Boxes without a track are linked: true boxes, with drop-outs and false alarms."""

import sys
from collections import Counter
from itertools import groupby

import numpy as np
import pytest

from extract.scene.film import Scene
from extract.tracks.boxes import Box
from extract.tracks.link import TRACKERS, link
from extract.tracks.read import read_boxes
from extract.tracks.video import Video
from extract.walkers.camera import IMAGE_SIZE
from pipeline.errors import PipelineError
from tests.extract.tracks.identity import idf1

FRAMES = 150


def box(frame: int, track: object, x: float, y: float = 0.0) -> Box:
    return Box(frame, str(track), x, y, 10.0, 20.0, 1.0, "", "here:1")


@pytest.fixture(scope="module", params=[0, 1])
def truth(request) -> list[Box]:
    """Six people who walk past each other and behind a pole, as two cameras see them."""
    scene = Scene(0, request.param, 6, FRAMES)
    return [
        Box(t, str(track), x, y, width, height, 1.0, "", f"true:{t}")
        for t in range(FRAMES)
        for track, x, y, width, height, _ in scene.boxes(t)
    ]


def detected(
    truth: list[Box],
    lost: float,
    false: float,
    error: float,
    size: tuple[int, int] = IMAGE_SIZE,
    frames: int = FRAMES,
) -> list[Box]:
    """Return what a detector might find: some boxes lost, all a little off, some of nobody."""
    rng = np.random.default_rng(0)
    found = []
    for one in truth:
        if rng.random() >= lost:
            x, y, width, height = np.array(one[2:6]) + rng.normal(0, error, 4) * one.height
            score = float(rng.uniform(0.7, 1))
            found.append(Box(one.frame, "", x, y, max(4, width), height, score, "", one.where))
    for _ in range(rng.poisson(false * len(truth))):
        like = truth[rng.integers(len(truth))]
        x, y = rng.uniform(0, size)
        frame, score = int(rng.integers(frames)), float(rng.uniform(0.3, 0.8))
        found.append(Box(frame, "", x, y, like.width, like.height, score, "", "false"))
    return sorted(found, key=lambda one: one.frame)


@pytest.mark.parametrize(
    ("lost", "false", "error", "bar"),
    [(0.0, 0.0, 0.0, 0.98), (0.1, 0.1, 0.02, 0.70), (0.3, 0.3, 0.03, 0.40)],
)
def test_people_keep_their_track(truth, lost, false, error, bar):
    found = link(detected(truth, lost, false, error), fps=15)
    assert idf1(truth, found) >= bar


def test_nothing_is_made_up_and_nobody_is_twice_in_a_frame(truth):
    given = detected(truth, 0.1, 0.1, 0.02)
    found = link(given, fps=15)
    assert {one._replace(track="") for one in found} <= set(given)
    keys = [(one.frame, one.track) for one in found]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_every_tracker_follows_two_people_who_pass_each_other_far_apart(tracker):
    given = [box(t, "", 3 * t) for t in range(40)] + [
        box(t, "", 150 - 3 * t, 100) for t in range(40)
    ]
    found = link(sorted(given, key=lambda one: one.frame), 15, tracker)
    truth = [one._replace(track="a" if one.y else "b") for one in given]
    assert idf1(truth, found) >= 0.9


def test_a_gap_stays_a_gap_and_the_track_goes_on_after_it():
    given = [box(t, "", 2 * t) for t in range(30) if not 12 <= t < 16]
    found = link(given, fps=15)
    assert {one.track for one in found} == {"1"}
    assert not {one.frame for one in found} & set(range(12, 16))


def test_a_tracker_that_nobody_knows_is_one_line():
    with pytest.raises(PipelineError, match=r"bytetrak is not known\. Did you mean bytetrack\?"):
        link([], 15, "bytetrak")


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(PipelineError, match=r"trackers is not installed\. Run: python -m pip"):
        link([box(0, "", 0)], 15)


def test_idf1_is_that_of_its_definition():
    # Two people for ten frames; the tracks change persons after four: 6 + 6 of 20 boxes are right.
    truth = [box(t, who, 50 * who) for t in range(10) for who in (0, 1)]
    swapped = [
        one._replace(track=str(1 - int(one.track)) if one.frame < 4 else one.track) for one in truth
    ]
    assert idf1(truth, swapped) == pytest.approx(2 * 12 / 40)
    assert idf1(truth, truth) == 1
    assert idf1(truth, [one for one in truth if one.frame % 2]) == pytest.approx(2 * 10 / 30)
    assert idf1(truth, [*truth, *(box(t, 9, 400) for t in range(10))]) == pytest.approx(40 / 50)
    assert idf1(truth, []) == 0


def test_idf1_is_that_of_the_library(truth):
    from trackers.eval.identity import compute_identity_metrics

    found = link(detected(truth, 0.3, 0.3, 0.03), fps=15)

    def ids(boxes: list[Box], t: int) -> np.ndarray:
        return np.array([int(one.track) for one in boxes if one.frame == t])

    from tests.extract.tracks.identity import overlap

    here = {t: list(group) for t, group in groupby(found, lambda one: one.frame)}
    alike = [
        np.array([[overlap(a, b) for b in here.get(t, [])] for a in truth if a.frame == t]).reshape(
            len(ids(truth, t)), len(here.get(t, []))
        )
        for t in range(FRAMES)
    ]
    expected = compute_identity_metrics(
        [ids(truth, t) for t in range(FRAMES)], [ids(found, t) for t in range(FRAMES)], alike
    )
    assert idf1(truth, found) == pytest.approx(expected["IDF1"], abs=1e-9)


@pytest.mark.parametrize(
    ("lost", "false", "error", "bar"), [(0.0, 0.0, 0.0, 0.98), (0.1, 0.1, 0.02, 0.88)]
)
def test_people_of_a_real_street_keep_their_track(real_data, lost, false, error, bar):
    """PETS 2009, S2.L1, the boxes of MOTChallenge 2015: ten frames a second."""
    video = Video(real_data / "street/vtest.avi")
    truth = read_boxes(real_data / "street/vtest_gt.txt", video, Counter())
    assert (len(truth), len({box.track for box in truth})) == (4650, 19)
    assert (video.size, video.told_frames, video.fps) == ((768, 576), 795, 10)
    given = detected(truth, lost, false, error, video.size, video.told_frames)
    assert idf1(truth, link(given, video.fps)) >= bar
