"""Reading gives back what was written, from any process, in any order."""

import io
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.schema import Status
from shards.read import Shards, decode
from tests.fake_extraction import Extracted, write_shards_of

PEOPLE = [
    ("0001C1T0001", 1, 0, "train", 1),
    ("0002C1T0001", 2, 0, "train", 600),
    ("0002C2T0001", 2, 1, "train", 30),
    ("0009C1T0001", 9, 0, "query", 5),
    ("0009C2T0001", 9, 1, "gallery", 300),
]
BAD = {2: Status.MISSING, 310: Status.LOW_SCORE}
FOLDER = Path("data/shards/fake")


@pytest.fixture
def made(extracted: Callable[..., Extracted]) -> Extracted:
    made = extracted(PEOPLE, BAD)
    write_shards_of(shard_mb=1)
    return made


def expected_bytes(made: Extracted, row: int) -> bytes | None:
    frame = made.frames[row]
    if frame["status"] == Status.MISSING:
        return None
    return (made.folder / "raw/fake" / frame["path"]).read_bytes()


def test_columns_are_those_of_the_files(made: Extracted):
    shards = Shards(FOLDER)
    assert len(shards) == len(made.frames)
    for name, shape in (("xy_px", (17, 2)), ("score", (17,)), ("xyz", (17, 3))):
        nothing = np.full(shape, np.nan)
        expected = [
            nothing if frame[name] is None else np.reshape(frame[name], shape)
            for frame in made.frames
        ]
        np.testing.assert_array_equal(getattr(shards, name), np.array(expected, np.float32))
    assert shards.status.tolist() == [frame["status"] for frame in made.frames]
    assert shards.width.tolist() == [frame["width"] or 0 for frame in made.frames]


def test_tracklets_say_where_their_frames_are(made: Extracted):
    shards = Shards(FOLDER)
    for i, tracklet in enumerate(shards.tracklets.itertuples()):
        frames = [made.frames[row] for row in shards.rows(i)]
        assert {frame["tracklet"] for frame in frames} == {tracklet.tracklet}
        assert [frame["frame"] for frame in frames] == list(range(tracklet.length))
        assert frames[0]["pid"] == tracklet.pid
        assert frames[0]["camid"] == tracklet.camid
        assert frames[0]["split"] == tracklet.split
    assert shards.tracklets["length"].sum() == len(made.frames)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(st.integers(0, 935), min_size=1, max_size=12))
def test_frames_come_in_the_order_asked_for(made: Extracted, rows: list[int]):
    assert Shards(FOLDER).jpeg(rows) == [expected_bytes(made, row) for row in rows]


def test_frames_that_were_read_before_are_read_again_the_same(made: Extracted):
    shards = Shards(FOLDER)
    rows = list(range(len(shards)))
    expected = [expected_bytes(made, row) for row in rows]
    assert shards.jpeg(rows) == expected
    assert shards.jpeg(rows) == expected
    assert Shards(FOLDER).jpeg(rows[::-1]) == expected[::-1]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_shards_rewritten_by_another_program_are_read(made: Extracted, compression: str):
    for file in FOLDER.glob("*.parquet"):
        pq.write_table(pq.read_table(file), file, compression=compression, row_group_size=100)
    rows = [5, 300, 300, 7, 2]
    expected = [expected_bytes(made, row) for row in rows]
    shards = Shards(FOLDER)
    assert shards.jpeg(rows) == expected
    assert shards.jpeg(rows) == expected


def test_frames_are_found_by_path_when_the_shards_hold_paths(made: Extracted):
    write_shards_of(embed_frames=False)
    assert Shards(FOLDER).jpeg([1, 2, 3]) == [expected_bytes(made, row) for row in (1, 2, 3)]


def checksum(shards: Shards) -> tuple[float, int]:
    return float(np.nansum(shards.xyz)), len(shards.jpeg([400])[0])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(made: Extracted, method: str):
    shards = Shards(FOLDER)
    mine = checksum(shards)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(checksum, [shards] * 4) == [mine] * 4


def test_processes_that_start_together_share_one_copy(made: Extracted):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        sums = pool.map(checksum, [Shards(FOLDER)] * 8, chunksize=1)
    assert len(set(sums)) == 1
    assert len(list(Path("work/columns/fake").iterdir())) == 1


def test_it_travels_without_its_arrays(made: Extracted):
    shards = Shards(FOLDER)
    checksum(shards)
    assert len(pickle.dumps(shards)) < 500


def test_rewritten_shards_are_read_anew(made: Extracted):
    assert Shards(FOLDER).score[0, 0] == np.float32(made.frames[0]["score"][0])
    made.frames[0]["score"] = [0.25] * 17
    made.write_pose()
    write_shards_of()
    assert Shards(FOLDER).score[0, 0] == 0.25


def test_a_shard_of_another_version_is_refused(made: Extracted):
    file = next(FOLDER.glob("train*"))
    table = pq.read_table(file)
    metadata = table.schema.metadata | {b"schema_version": b"0"}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    with pytest.raises(PipelineError, match=r"schema version 0, .* Run: dvc repro shards@fake"):
        Shards(FOLDER)


def test_a_folder_without_shards_is_refused(project: Path):
    with pytest.raises(PipelineError, match="holds no shards"):
        Shards(FOLDER)


def test_an_unknown_tracklet_gets_a_suggestion(made: Extracted):
    with pytest.raises(PipelineError, match=r"Did you mean 0009C1T0001\?"):
        Shards(FOLDER).find("0009C1T0002")


def test_decoding_gives_red_green_blue():
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 2] = 255
    found = decode(cv2.imencode(".png", image)[1].tobytes())
    assert found[0, 0].tolist() == [255, 0, 0]


SIZES = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([1, 3]),
    quality=st.integers(5, 100),
    progressive=st.booleans(),
    shrink=st.sampled_from(list(SIZES)),
    lost=st.sampled_from([0, 0, 0.5]),
)
def test_jpegs_are_decoded_as_opencv_does(
    height, width, channels, quality, progressive, shrink, lost
):
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (9, 9, channels), dtype=np.uint8), (width, height))
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    data = cv2.imencode(".jpg", image, options)[1].tobytes()
    data = data[: len(data) - int(lost * len(data) / 4)]
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), SIZES[shrink])
    # What OpenCV cannot read has a status of its own, and is never asked for. Of colours two pixels
    # wide, reduced, the two make something different.
    assume(expected is not None and (shrink == 1 or expected.shape[1] > 2))
    np.testing.assert_array_equal(decode(data, shrink), expected)
    into = np.empty_like(expected)
    assert decode(data, shrink, into) is into
    np.testing.assert_array_equal(into, expected)
    assert decode(data, shrink, np.empty((3, 200, 3), np.uint8)).shape == expected.shape


def test_a_picture_that_says_how_to_turn_it_is_turned():
    picture = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    picture.save(stream, "JPEG", exif=exif)
    assert decode(stream.getvalue()).shape == (4, 6, 3)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8 no image"])
def test_bytes_that_are_no_image_are_an_error(data: bytes):
    with pytest.raises(PipelineError, match="does not decode"):
        decode(data)
