"""The command: from videos and boxes to a dataset that the index reads."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from extract.datasets import folder as folder_format
from extract.scene.film import Scene
from extract.scene.write import write
from extract.tracklets import ParserInput
from extract.tracks.__main__ import main
from pipeline import paths
from pipeline.errors import PipelineError
from tests.conftest import ROOT

STREET = {"video": [Path("street.avi")], "boxes": [Path("street.txt")]}
BOTH = {
    "video": [Path("street.avi"), Path("yard.avi")],
    "boxes": [Path("street.txt"), Path("yard.txt")],
}


@pytest.fixture(scope="session")
def filmed(tmp_path_factory) -> Path:
    """Three people before two cameras, lossless, with true boxes."""
    place = tmp_path_factory.mktemp("filmed")
    for number, name in enumerate(("street", "yard")):
        write(Scene(0, number, 3, 50), place / f"{name}.avi")
    return place


@pytest.fixture
def place(filmed, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Hundreds of crops, each written through to the disk, would take longer than all else.
    monkeypatch.setattr(paths, "_fsync", lambda path: None)
    for file in filmed.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def make(out: str = "mine", **options) -> None:
    """Run the command in this process."""
    main(**(STREET | {"out": Path(out), "quiet": True} | options))


def rows_of(out: str = "mine") -> list[dict[str, str]]:
    return list(csv.DictReader(Path(out, "frames.csv").read_text().splitlines()))


def digests(out: str) -> dict[str, str]:
    files = sorted(file for file in Path(out).rglob("*") if file.is_file())
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def boxes_of(name: str) -> list[list[float]]:
    return [
        [float(part) for part in row] for row in csv.reader(Path(name).read_text().splitlines())
    ]


def test_every_true_box_is_a_crop_of_what_it_is_around(place):
    make(min_height=1, margin=0, aspect=0)
    rows, boxes = rows_of(), boxes_of("street.txt")
    assert len(rows) == len(boxes)
    made = {(row["tracklet"], int(row["frame"])): row["path"] for row in rows}
    video = cv2.VideoCapture("street.avi")
    frames = [video.read()[1] for _ in range(50)]
    compared = 0
    for number, track, x, y, width, height, *_ in boxes[::7]:
        crop = cv2.imread(str(Path("mine", made[f"street_{track:g}", int(number) - 1])))
        tall, wide = crop.shape[:2]
        assert abs(tall - height) <= 1
        assert abs(wide - width) <= 1
        top, left = round(y + height / 2 - tall / 2), round(x + width / 2 - wide / 2)
        found = frames[int(number) - 1][max(0, top) :, max(0, left) :][:tall, :wide]
        if found.shape == crop.shape:
            assert np.abs(found.astype(int) - crop).mean() < 6
            compared += 1
    assert compared > 5


def test_the_format_folder_reads_it(place):
    make(**BOTH, query="yard", shared_ids=True)
    found = list(folder_format.read(ParserInput(place / "mine")))
    assert {(one.split, one.camid) for one in found} == {("gallery", 0), ("query", 1)}
    assert {one.pid for one in found if one.split == "query"} == {1, 2, 3}
    assert {one.pid for one in found if one.split == "gallery"} <= {1, 2, 3}
    for one in found:
        assert one.frame_numbers == sorted(set(one.frame_numbers))
        for name in one.frames:
            height, width = cv2.imread(str(place / "mine" / name)).shape[:2]
            assert width / height == pytest.approx(0.5, abs=0.02)


def test_without_shared_ids_nobody_is_the_same_in_two_videos(place):
    make(**BOTH)
    pids = {(row["camid"], row["tracklet"]): row["pid"] for row in rows_of()}
    assert sorted(pids.values()) == [str(i + 1) for i in range(len(pids))]


def test_gaps_stay_gaps(place):
    lines = Path("street.txt").read_text().splitlines(keepends=True)
    kept = (line for line in lines if line.split(",")[0] not in ("20", "21"))
    Path("gaps.txt").write_text("".join(kept))
    make(boxes=[Path("gaps.txt")])
    frames = {int(row["frame"]) for row in rows_of()}
    assert not frames & {19, 20}
    assert {18, 21} <= frames


def test_frames_are_chosen(place):
    make(every=3, limit=20)
    assert {int(row["frame"]) for row in rows_of()} == set(range(0, 20, 3))


def test_a_folder_of_pictures_is_a_video(place):
    Path("pictures").mkdir()
    video = cv2.VideoCapture("street.avi")
    for i in range(10):
        cv2.imwrite(f"pictures/{i + 1}.png", video.read()[1])
    make(limit=10)
    make("other", video=[Path("pictures")], limit=10)
    one, other = digests("mine"), digests("other")
    crops = {name for name in one if name.endswith(".jpg")}
    assert crops
    assert {one[name] for name in crops} == {other[n.replace("street", "pictures")] for n in crops}
    Path("pictures/3.png").write_bytes(b"no picture")
    make("third", video=[Path("pictures")], limit=10)
    assert {int(row["frame"]) for row in rows_of("third")} == {*range(10)} - {2}


KILLER = """
import os, runpy, signal, sys
from extract.tracks import dataset
dataset._NOTE = 10
left, write = int(sys.argv.pop(1)), dataset.Cutting._write
def killing(*arguments):
    global left
    left -= 1
    if left == 0:
        file = arguments[0]._work / "dataset" / dataset.crop_path(*arguments[1:3])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half of a crop")
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)
dataset.Cutting._write = killing
sys.argv[0] = "extract.tracks"
runpy.run_module("extract.tracks", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_killed_and_run_again_gives_the_same_bytes(place):
    make(**BOTH)
    whole = digests("mine")
    shutil.rmtree("mine")
    shutil.rmtree("work")
    options = ["--video", "street.avi", "--boxes", "street.txt"]
    options += ["--video", "yard.avi", "--boxes", "yard.txt", "--out", "mine"]
    for left in (60, 50):
        done = subprocess.run(
            [sys.executable, "-c", KILLER, str(left), *options], cwd=place,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not Path("mine").exists()
    (note,) = Path("work/tracks").rglob("street.frames")
    assert int(note.read_text()) > 0
    make(**BOTH)
    assert digests("mine") == whole
    assert not list(Path("work/tracks").rglob("*.jpg"))


def test_a_second_run_does_nothing_and_other_knobs_do_it_again(place, capsys):
    make()
    before = Path("mine/frames.csv").stat().st_mtime_ns
    make(quiet=False)
    assert "mine is up to date" in capsys.readouterr().out
    make(margin=0.2, dry_run=True, quiet=False)
    assert "crops of 3 tracks to cut from 50 frames" in capsys.readouterr().out
    assert Path("mine/frames.csv").stat().st_mtime_ns == before
    make(margin=0.2)
    assert json.loads(Path("mine/tracks.json").read_text())["asked"]["shape"]["margin"] == 0.2


def test_boxes_without_tracks_are_linked(place):
    lines = [line.split(",") for line in Path("yard.txt").read_text().splitlines()]
    loose = (",".join([frame, "-1", *rest[:4], "0.9"]) for frame, _, *rest in lines)
    Path("loose.txt").write_text("\n".join(loose))
    make(video=[Path("yard.avi")], boxes=[Path("loose.txt")])
    assert {row["tracklet"] for row in rows_of()} >= {"yard_1", "yard_2"}
    assert len(rows_of()) > 0.8 * len(lines)


def test_a_video_that_breaks_keeps_what_came_before(place, capsys):
    whole = Path("street.avi").read_bytes()
    Path("broken.avi").write_bytes(whole[: len(whole) // 2])
    make(video=[Path("broken.avi")], min_height=1)
    assert "broken.avi breaks after" in capsys.readouterr().err
    frames = {int(row["frame"]) for row in rows_of()}
    assert 10 < len(frames) < 40
    assert frames == set(range(len(frames)))
    counted = json.loads(Path("mine/tracks.json").read_text())["counted"]
    lost = counted["behind a break of the video"]
    assert len(rows_of()) + lost == len(boxes_of("street.txt"))


def test_names_from_a_file_stay_below_the_folder(place):
    names = ("../../up", "/etc/x", "..")
    lines = (f"0,{name},{300 * i},10,90,200" for i, name in enumerate(names))
    Path("evil.csv").write_text("frame,track,x,y,width,height\n" + "\n".join(lines))
    Path("evil..video.avi").symlink_to("street.avi")
    before = {file.name for file in place.iterdir()}
    make("a/mine", video=[Path("evil..video.avi")], boxes=[Path("evil.csv")])
    assert {file.name for file in place.iterdir()} == before | {"a", "work"}
    assert len(rows_of("a/mine")) == 3
    for row in rows_of("a/mine"):
        file = (place / "a/mine" / row["path"]).resolve()
        assert file.is_file()
        assert file.is_relative_to(place / "a/mine")
    assert len(list(folder_format.read(ParserInput(place / "a/mine")))) == 3


def test_two_tracks_are_never_one_tracklet(place):
    Path("a_b.avi").symlink_to("street.avi")
    Path("a.avi").symlink_to("street.avi")
    for name, track in (("a_b", "c"), ("a", "b_c")):
        Path(f"{name}.csv").write_text(f"track,frame,x,y,width,height\n{track},0,1,1,90,200\n")
    files = {"video": [Path("a_b.avi"), Path("a.avi")], "boxes": [Path("a_b.csv"), Path("a.csv")]}
    with pytest.raises(PipelineError, match=r"would both be a_b_c\. Rename a video"):
        make(**files)


def foreign() -> None:
    Path("mine").mkdir()
    Path("mine/precious.txt").write_text("mine")


def late() -> None:
    Path("late.txt").write_text("1,1,5,5,90,200\n99,1,5,5,90,200\n")
    Path("loose.csv").write_text("frame,x,y,width,height,track\n1e12,5,5,90,200,\n")


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (foreign, {}, "mine is there already, and was not made by this command"),
        (late, {"boxes": ["late.txt"]}, r"late.txt:2: frame 98 \(from 0\) is behind the end of"),
        (late, {"boxes": ["loose.csv"]}, "loose.csv:2: frame 1000000000000 .from 0. is behind"),
        (late, {"video": ["late.txt"]}, "late.txt does not decode as a video"),
        (late, {"video": ["no.mp4"]}, "no.mp4 does not exist"),
        (late, {"boxes": None}, "Say where people are: --boxes FILE"),
        (late, {"boxes": ["late.txt", "late.txt"]}, "1 videos and 2 --boxes. Give one for each"),
        (late, {"detector": "x"}, "not both"),
        (late, {"query": "stret"}, "--query stret is no camera. Did you mean street?"),
        (late, {"video": ["street.avi"] * 2, "boxes": ["late.txt"] * 2}, "Two videos are called"),
        (late, {"min_height": 999}, "no crop is left. Look at --min-height"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(place, prepare, options, message):
    prepare()
    files = {key: [Path(file) for file in options[key] or ()] for key in options.keys() & STREET}
    with pytest.raises(PipelineError, match=message) as caught:
        make(**(options | files))
    assert "\n" not in str(caught.value)
    left = [file.name for file in Path("mine").iterdir()] if Path("mine").exists() else []
    assert left in ([], ["precious.txt"])


def test_the_command_says_what_it_made_and_what_is_next(place, command):
    line = ("--video", "street.avi", "--boxes", "street.txt", "--out", "data/raw/mine")
    done = command("extract.tracks", *line, "--limit", "3", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "next     python -m pipeline.params --enable mine" in done.stdout
    done = command("extract.tracks", *line[:4], "--out", "street.txt", cwd=place)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
