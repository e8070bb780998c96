"""Reading gives back what was written, from any process, in any order."""

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.schema import Status
from shards.read import Shards
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
