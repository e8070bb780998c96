import errno
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.engine import chunks
from extract.engine.chunks import ChunkStore
from pipeline import schema
from pipeline.errors import PipelineError

COLUMNS = pa.schema(
    [
        pa.field("split", pa.string()),
        pa.field("pid", pa.int32()),
        pa.field("frame", pa.int32()),
        pa.field("xy_px", pa.list_(pa.float32(), 2)),
    ]
)


def table(split, frames, start=0):
    """Return rows that can be told apart, every third without joints."""
    numbers = range(start, start + frames)
    xy = [None if i % 3 == 0 else [float(i), -1.0] for i in numbers]
    return pa.table(
        {"split": [split] * frames, "pid": [1] * frames, "frame": list(numbers), "xy_px": xy},
        schema=COLUMNS,
    )


def test_published_files_hold_all_chunks_in_order_in_small_row_groups(tmp_path):
    store = ChunkStore(tmp_path / "work", 3)
    parts = [table("query", 300), table("train", 500), table("train", 277, start=500)]
    for number, part in enumerate(parts):
        chunks.write_chunk(store.path(number), part)
    store.publish(tmp_path / "out", lambda split: {"dataset": "toy"})
    train = pq.ParquetFile(tmp_path / "out/train-00000.parquet")
    assert train.read().equals(pa.concat_tables(parts[1:]).cast(train.schema_arrow))
    assert [train.metadata.row_group(i).num_rows for i in range(4)] == [256, 256, 256, 9]
    read = schema.check(tmp_path / "out/query-00000.parquet", COLUMNS, "")
    assert schema.metadata(read)["split"] == "query"
    assert schema.metadata(read)["dataset"] == "toy"
    store.remove()
    assert not (tmp_path / "work").exists()


def test_a_full_file_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "FILE_FRAMES", 500)
    store = ChunkStore(tmp_path / "work", 3)
    for number in range(3):
        chunks.write_chunk(store.path(number), table("train", 300, start=300 * number))
    store.publish(tmp_path / "out", lambda split: {})
    sizes = {file.name: pq.read_metadata(file).num_rows for file in (tmp_path / "out").iterdir()}
    assert sizes == {f"train-0000{i}.parquet": 300 for i in range(3)}


def test_half_written_chunks_are_no_chunks(tmp_path):
    store = ChunkStore(tmp_path, 3)
    chunks.write_chunk(store.path(1), table("train", 3))
    (tmp_path / ".chunk-000002.parquet.77.tmp").write_bytes(b"half")
    store.clean()
    assert store.missing() == [0, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["chunk-000001.parquet"]


def test_a_full_disk_leaves_no_broken_chunk(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        args[1].write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(PipelineError, match=r"chunk-000000.parquet cannot .* No space left"):
        chunks.write_chunk(tmp_path / "chunk-000000.parquet", table("train", 3))
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from("ab")), max_size=40))
def test_cutting_keeps_order_and_never_mixes_splits(tracklets):
    tracklets = sorted(tracklets, key=lambda tracklet: tracklet[1])
    lengths, splits = [n for n, _ in tracklets], [split for _, split in tracklets]
    spans = chunks.cut(lengths, splits, frames=40)
    assert [i for a, b in spans for i in range(a, b)] == list(range(len(tracklets)))
    for a, b in spans:
        assert len(set(splits[a:b])) == 1
        assert b - a == 1 or sum(lengths[a:b]) <= 40
    for (a, b), (_, d) in pairwise(spans):
        assert splits[a] != splits[b] or sum(lengths[a : b + 1]) > 40 or d == b


def test_rows_explode_to_one_per_frame():
    from extract.tables import explode

    rows = [
        {"tracklet": "a", "pid": 1, "camid": 0, "split": "train", "frames": ["x", "y"],
         "frame_numbers": [4, 5], "clothes": None},
        {"tracklet": "b", "pid": 2, "camid": 1, "split": "train", "frames": ["z"],
         "frame_numbers": [9], "clothes": None},
    ]  # fmt: skip
    # A slice, as chunks are: offsets into the lists do not start at 0.
    keys = explode(pa.Table.from_pylist([rows[1], *rows], schema=schema.INDEX).slice(1))
    assert keys.select(["tracklet", "frame", "frame_number", "path"]).to_pylist() == [
        {"tracklet": "a", "frame": 0, "frame_number": 4, "path": "x"},
        {"tracklet": "a", "frame": 1, "frame_number": 5, "path": "y"},
        {"tracklet": "b", "frame": 0, "frame_number": 9, "path": "z"},
    ]


def test_lists_of_fixed_size_survive_the_way_through_a_file(tmp_path):
    from extract.tables import fixed_lists, to_numpy

    values = np.random.default_rng(0).random((5, 17, 2)).astype(np.float32)
    missing = np.array([False, True, False, False, True])
    pq.write_table(pa.table({"xy": fixed_lists(values.copy(), missing)}), tmp_path / "t.parquet")
    read = pq.read_table(tmp_path / "t.parquet").slice(1)
    out = to_numpy(read, "xy", (17, 2))
    assert read["xy"].null_count == 2
    np.testing.assert_array_equal(out[[1, 2]], values[[2, 3]])
    np.testing.assert_array_equal(out[[0, 3]], 0)
