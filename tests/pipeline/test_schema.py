import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.errors import PipelineError


def write(path, columns, **metadata):
    table = pa.Table.from_pylist([], schema=schema.with_metadata(columns, **metadata))
    pq.write_table(table, path)
    return path


def test_a_table_we_wrote_is_accepted_with_its_metadata(tmp_path):
    found = schema.check(
        write(tmp_path / "a.parquet", schema.SHARD, dataset="d"), schema.SHARD, "x"
    )
    assert schema.metadata(found)["dataset"] == "d"


def test_another_version_names_file_both_versions_and_the_command(tmp_path):
    path = write(tmp_path / "a.parquet", schema.SHARD, schema_version="0")
    with pytest.raises(
        PipelineError, match=rf"{path} has schema version 0, .* reads 1\. Run: redo"
    ):
        schema.check(path, schema.SHARD, "redo")


def test_other_columns_are_named(tmp_path):
    path = write(tmp_path / "a.parquet", schema.POSE2D.remove(0))
    with pytest.raises(PipelineError, match="tracklet"):
        schema.check(path, schema.POSE2D, "redo")


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really PAR1"])
def test_a_missing_or_broken_file_is_one_line(tmp_path, content):
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PipelineError, match="Run: redo") as caught:
        schema.check(path, schema.INDEX, "redo")
    assert "\n" not in str(caught.value)
