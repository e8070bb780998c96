"""What a person sees of shards."""

from collections.abc import Callable
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.schema import Status
from tests.fake_extraction import Extracted, write_shards_of

PEOPLE = [
    ("0001C1T0001", 1, 0, "train", 1),
    ("0002C1T0001", 2, 0, "train", 12),
    ("0002C2T0001", 2, 1, "train", 5),
]


def picture(file: Path) -> tuple[int, int]:
    """Return width and number of images."""
    with Image.open(file) as opened:
        return opened.width, getattr(opened, "n_frames", 1)


@pytest.fixture
def inspect(extracted: Callable[..., Extracted], command, project: Path):
    extracted(PEOPLE, {3: Status.MISSING, 5: Status.LOW_SCORE})
    write_shards_of()
    return lambda *arguments: command("shards.inspect", *arguments, cwd=project)


def test_counts_and_statuses_are_printed_within_80_columns(inspect):
    done = inspect("fake")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert ["train", "2", "3", "18", "16", "1", "0", "1"] in [line.split() for line in lines]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert picture(Path("work/inspect/fake/quality.png"))[0] > 500


def test_a_single_shard_can_be_looked_into(inspect):
    done = inspect("data/shards/fake/train-00000.parquet", "-o", "pictures")
    assert done.returncode == 0, done.stderr
    assert Path("pictures/quality.png").is_file()


def test_a_sheet_a_gif_and_a_video_show_the_tracklet(inspect):
    done = inspect("fake", "--tracklet", "0002C1T0001", "--walk", "--mp4", "--frames", "6")
    assert done.returncode == 0, done.stderr
    folder = Path("work/inspect/fake")
    assert picture(folder / "0002C1T0001.png")[0] == 6 * 260
    assert picture(folder / "0002C1T0001.gif")[1] == 12
    video = cv2.VideoCapture(str(folder / "0002C1T0001.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert video.read()[0]
    video.release()


def test_all_tracklets_of_a_person_are_drawn(inspect):
    assert inspect("fake", "--pid", "2").returncode == 0
    names = sorted(file.name for file in Path("work/inspect/fake").iterdir())
    assert names == ["0002C1T0001.png", "0002C2T0001.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fake", "--tracklet", "0002C1T0009"], "Did you mean 0002C1T0001?"),
        (["fake", "--pid", "7"], "no person 7. There are 2, from 1 to 2"),
        (["fake", "--truth", "--pid", "2"], "has no truth.parquet"),
        (["fake", "--pid", "2", "-o", "one.png"], "is one file for 2 tracklets"),
        (["nowhere"], "holds no shards. Run: dvc repro shards@nowhere"),
    ],
)
def test_a_wrong_request_is_one_line(inspect, arguments, message):
    done = inspect(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("what", ["fake", "data/shards/fake/train-00000.parquet"])
def test_a_shard_of_another_version_is_one_line(inspect, what):
    file = "data/shards/fake/train-00000.parquet"
    table = pq.read_table(file)
    about = table.schema.metadata | {b"schema_version": b"0"}
    pq.write_table(table.replace_schema_metadata(about), file)
    done = inspect(what)
    assert done.returncode == 1
    assert "schema version 0, this program reads 1 and 2. Run: dvc repro shards@fake" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_without_shards_is_one_line(inspect):
    Path("empty").mkdir()
    done = inspect("empty")
    assert done.returncode == 1
    assert "empty holds no shards" in done.stderr
    assert done.stderr.count("\n") == 1
