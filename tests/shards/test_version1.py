"""Tables that the program wrote before its schema had version 2, still read and never guessed at.

`version1/` was written by that program: three tracklets in other clothes, a frame that was
interpolated, and no word on spectrum or platform.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.errors import PipelineError
from shards import convert
from shards.convert import Direction
from shards.read import Shards
from tests.fake_extraction import write_shards_of

OLD = Path(__file__).parent / "version1"
CLOTHES = {"0002C2T0001": 7, "0002C1T0001": 3}


@pytest.fixture
def old(project: Path) -> Path:
    """A project as the earlier program left it after extraction, with its frames."""
    shutil.copytree(OLD, project / "data")
    for file in (OLD / "shards/fake").glob("*.parquet"):
        for row in pq.read_table(file, columns=["path", "jpeg"]).to_pylist():
            frame = project / "raw/fake" / row["path"]
            frame.parent.mkdir(parents=True, exist_ok=True)
            frame.write_bytes(row["jpeg"])
    return project


def test_the_tables_are_of_version_1():
    for file in OLD.rglob("*.parquet"):
        found = pq.read_schema(file)
        assert schema.metadata(found)["schema_version"] == "1"
        assert not {"interpolated", "spectrum", "silhouette"} & set(found.names)


def test_old_shards_have_the_new_name_and_nulls(project: Path):
    shards = Shards(OLD / "shards/fake")
    train = shards.rows(shards.find("0001C1T0001"))
    assert shards.interpolated[shards.rows(shards.find("0002C2T0001"))].tolist() == [False, True]
    assert shards.interpolated.sum() == 1
    assert shards.tracklets[list(schema.VIEW)].isna().all(axis=None)
    assert not shards.has_silhouettes
    assert shards.silhouettes(train) == [None] * 3
    files = sorted((OLD / "shards/fake").glob("*.parquet"))
    stored = pa.concat_tables(pq.read_table(file, columns=["xyz", "jpeg"]) for file in files)
    assert shards.jpeg(range(len(shards))) == stored["jpeg"].to_pylist()
    assert np.array_equal(shards.xyz.reshape(-1, 51), np.stack(stored["xyz"].to_numpy()))


def test_shards_are_made_of_an_old_extraction(old: Path):
    shutil.rmtree(old / "data/shards")
    write_shards_of()
    before, after = (
        pa.concat_tables(pq.read_table(file) for file in sorted(folder.glob("*.parquet")))
        for folder in (OLD / "shards/fake", old / "data/shards/fake")
    )
    assert after.schema.remove_metadata().equals(schema.SHARD)
    assert schema.metadata(after.schema)["schema_version"] == schema.VERSION
    now = schema.current(before, schema.SHARD).drop_columns(["clothes"])
    assert after.drop_columns(["clothes"]).equals(now)
    # The index knew the clothes, version 1 of the shards did not.
    for row in after.to_pylist():
        assert row["clothes"] == CLOTHES.get(row["tracklet"])


def test_old_joints_are_exported(old: Path):
    convert.main(Direction.EXPORT, old / "other", "fake", quiet=True)
    found = (old / "other").rglob("*.json")
    assert sum('"interpolated": true' in file.read_text() for file in found) == 1


def test_a_column_that_version_1_had_is_not_made_up(tmp_path: Path):
    table = pq.read_table(OLD / "pose3d/fake/train-00000.parquet").drop_columns(["bridged"])
    file = tmp_path / "a.parquet"
    pq.write_table(table, file)
    with pytest.raises(PipelineError, match=r"in .*interpolated: bool.*\. Run: redo"):
        schema.check(file, schema.POSE3D, "redo")


def test_new_columns_in_a_table_of_version_2_are_not_made_up(tmp_path: Path):
    lacking = schema.INDEX.remove(schema.INDEX.get_field_index("spectrum"))
    file = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([], schema.with_metadata(lacking)), file)
    with pytest.raises(PipelineError, match=r"in .*spectrum: string.*\. Run: redo"):
        schema.check(file, schema.INDEX, "redo")
