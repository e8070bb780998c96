"""A rendered street scene: what is drawn is where the boxes say."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from extract.scene.film import Scene
from extract.scene.write import write
from extract.walkers.camera import IMAGE_SIZE


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(0, 0, 6, 100)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_boxes_lie_in_the_picture_and_people_pass_before_each_other(scene):
    boxes = [box for t in range(scene.frames) for box in scene.boxes(t)]
    xywh = np.array([box[1:5] for box in boxes])
    assert (xywh[:, :2] >= 0).all()
    assert (xywh[:, :2] + xywh[:, 2:] <= np.array(IMAGE_SIZE) + 0.01).all()
    visible = np.array([box.visible for box in boxes])
    assert ((visible > 0) & (visible <= 1)).all()
    assert (visible < 0.7).mean() > 0.03
    assert (visible == 1).mean() > 0.4
    assert {box.track for box in boxes} == {1, 2, 3, 4, 5, 6}
    assert max(len(scene.boxes(t)) for t in range(scene.frames)) >= 4


def test_what_moves_in_the_picture_is_in_the_boxes():
    """Pixels that differ from the empty street lie in a box or its shadow, and fill the boxes."""
    full, empty = Scene(0, 1, 3, 40), Scene(0, 1, 3, 40)
    empty.walkers = ()
    pictures = list(full.film())
    (street, none), *_ = empty.film()
    assert none == []
    for image, boxes in pictures[10::15]:
        moved = np.abs(image.astype(int) - street).max(2) > 45
        inside = np.zeros_like(moved)
        for _, x, y, width, height, _ in boxes:
            x0, y0, x1, y1 = int(x) - 2, int(y) - 2, int(x + width) + 3, int(y + height) + 3
            inside[max(0, y0) : y1, max(0, x0) : x1] = True
            share = moved[max(0, y0) : y1, max(0, x0) : x1].mean()
            assert share > 0.1
        shadows = moved & ~inside
        assert shadows.sum() < 0.1 * moved.sum()


def _height(scene: Scene, walker) -> float:
    """Return a walker's median height in metres, from pixels and the depth of the feet's middle."""
    heights = []
    for t in range(scene.frames):
        flat = walker.sketch.corners[t].reshape(-1, 2)
        if walker.depth_m[t] > 2 and len(flat):
            heights.append(np.ptp(flat[:, 1]) * walker.depth_m[t] / scene.camera.focal_px)
    return float(np.median(heights)) / np.cos(_tilt(scene))


def _tilt(scene: Scene) -> float:
    return float(np.arcsin(-scene.camera.rotation[2, 2]))


def test_the_same_people_walk_past_another_camera():
    one, other = Scene(3, 0, 2, 30), Scene(3, 1, 2, 30)
    assert not np.allclose(one.camera.position, other.camera.position)
    for here, there in zip(one.walkers, other.walkers, strict=True):
        assert here.track == there.track
        # Height above the ground in world axes is that of the body, wherever the camera stands.
        assert _height(one, here) == pytest.approx(_height(other, there), rel=0.06)
        assert np.ptp(here.ground[:, :, 2]) < 0.6


@pytest.mark.parametrize("name", ["street.avi", "street.mp4", "street"])
def test_a_video_or_a_folder_shows_what_was_rendered(place, name):
    small = Scene(0, 0, 2, 5)
    boxes, count = write(small, Path(name))
    rows = list(csv.reader(boxes.read_text().splitlines()))
    assert len(rows) == count == sum(len(small.boxes(t)) for t in range(5))
    assert [row[6:8] for row in rows] == [["1", "1"]] * count
    pictures = [image for image, _ in small.film()]
    if name == "street":
        read = [cv2.imread(str(file)) for file in sorted(Path(name).iterdir())]
    else:
        video = cv2.VideoCapture(name)
        read = [video.read()[1] for _ in range(5)]
    assert [image.shape for image in read] == [image.shape for image in pictures]
    for image, made in zip(read, pictures, strict=True):
        assert np.abs(image.astype(int) - made).mean() < 8


def test_the_command_writes_both_and_says_what_is_next(command, place):
    done = command(
        "extract.scene", "--out", "a/street.avi", "--people", "2", "--seconds", "0.4", cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert "--video a/street.avi --boxes a/street.txt" in done.stdout
    assert sorted(file.name for file in Path("a").iterdir()) == ["street.avi", "street.txt"]
    first = [file.read_bytes() for file in sorted(Path("a").iterdir())]
    again = ("--people", "2", "--seconds", "0.4", "--quiet")
    assert command("extract.scene", "-o", "a/street.avi", *again, cwd=place).returncode == 0
    assert [file.read_bytes() for file in sorted(Path("a").iterdir())] == first


@pytest.mark.parametrize(
    ("out", "message"),
    [("a.gif", "a.gif is no video this writes"), ("full", "full holds other files")],
)
def test_a_wrong_place_is_one_line(command, place, out, message):
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    done = command("extract.scene", "--out", out, "--seconds", "0.2", "--people", "1", cwd=place)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert Path("full/notes.txt").read_text() == "mine"
