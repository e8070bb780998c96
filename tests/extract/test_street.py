"""A small film of squares that walk like PETS 2009: what is cut out, and who it is said to be."""

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from extract import street
from pipeline.errors import PipelineError

FRAMES, STEP = 60, 3


def place(track: int, frame: int) -> tuple[int, int]:
    """Return the left upper corner of a track's square of 8 x 16 pixels, counted from 0."""
    return 10 * track, frame // STEP


@pytest.fixture
def film(tmp_path, monkeypatch):
    """Write 60 frames, lossless, and the boxes of 19 tracks, each of a grey value of its own."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pets"
    (folder / "gt").mkdir(parents=True)
    (folder / "img1").mkdir()
    lines = []
    for frame in range(1, FRAMES + 1):
        image = np.zeros((60, 220, 3), np.uint8)
        for track in range(1, street.TRACKS + 1):
            x, y = place(track, frame)
            image[y : y + 16, x : x + 8] = 10 * track
            # MOTChallenge counts pixels from 1. One box of track 5 is marked as not counting.
            counts = int((track, frame) != (5, 30))
            lines.append(f"{frame},{track},{x + 1},{y + 1},8,16,{counts},-1,-1,-1")
        cv2.imwrite(str(folder / f"img1/{frame:06d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    (folder / "gt/gt.txt").write_text("\n".join(lines) + "\n")
    return folder


def table():
    return list(csv.DictReader(Path("data/raw/street/frames.csv").read_text().splitlines()))


def test_pieces_of_each_visit_are_listed_and_cut_out_of_their_frames(film):
    street.main(film, quiet=True)
    rows = table()
    tracklets = Counter((row["split"], row["tracklet"]) for row in rows)
    assert set(tracklets.values()) == {12}
    assert Counter(split for split, _ in tracklets) == {"gallery": 76, "query": 32}
    for row in rows:
        image = cv2.imread(f"data/raw/street/{row['path']}")
        track = int(row["path"][5:7])
        assert image.shape == (16, 8, 3)
        assert np.abs(image.astype(int) - 10 * track).max() <= 2
    assert not any(row["path"] == "track05/000030.jpg" for row in rows)


def test_one_person_has_a_camera_for_each_visit_and_strangers_are_distractors(film):
    street.main(film, quiet=True)
    seen = {}
    for row in table():
        seen.setdefault(int(row["pid"]), {}).setdefault(row["camid"], set()).add(row["path"][5:7])
    assert seen.pop(0) == {"visit1": {"07", "16", "17"}}
    assert seen.keys() == set(range(1, 8))
    assert sorted(map(len, seen.values())) == [2, 2, 2, 2, 2, 2, 4]
    assert all(len(tracks) == 1 for visits in seen.values() for tracks in visits.values())


def test_the_index_reads_it(film, index):
    street.main(film, quiet=True)
    found = index(Path("data/raw/street"), "folder")
    rows = found["rows"].values()
    assert Counter(row["split"] for row in rows) == {"gallery": 76, "query": 32}
    assert sum(row["pid"] == 0 for row in rows) == 12


def test_boxes_of_another_film_are_refused(film):
    boxes = film / "gt/gt.txt"
    boxes.write_text("1,1,1,1,8,16,1\n")
    with pytest.raises(PipelineError, match=r"holds 1 tracks, and PETS 2009 S2.L1 19"):
        street.main(film, quiet=True)
    boxes.write_text("frame,track\n")
    with pytest.raises(PipelineError, match=r"gt.txt:1: expected frame,track"):
        street.main(film, quiet=True)


def test_a_film_that_ends_early_or_is_missing_is_named_and_nothing_is_left(film):
    (film / "img1/000040.jpg").unlink()
    with pytest.raises(PipelineError, match=r"000040.jpg is missing"):
        street.main(film, quiet=True)
    with pytest.raises(PipelineError, match=r"holds neither vtest_gt.txt nor gt/gt.txt"):
        street.main(film / "img1", quiet=True)
    assert not Path("data/raw/street").exists()


def test_the_real_street_has_the_tracks_that_are_known(real_data):
    boxes = street.read_boxes(real_data / "street/vtest_gt.txt")
    assert len(boxes) == street.TRACKS
    assert sum(map(len, boxes.values())) == 4650 - 174
    listed = csv.DictReader((real_data / "street/identities.csv").read_text().splitlines())
    for row in listed:
        visits = next((one for one in street.PEOPLE if int(row["track"]) in one), None)
        assert (street.PEOPLE.index(visits) + 1 if visits else 0) == int(row["pid"])
