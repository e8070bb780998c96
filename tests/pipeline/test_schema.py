import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema, skeleton
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
        PipelineError, match=rf"{path} has schema version 0, .* reads 1 and 2\. Run: redo"
    ):
        schema.check(path, schema.SHARD, "redo")


def test_other_columns_are_named(tmp_path):
    path = write(tmp_path / "a.parquet", schema.POSE2D.remove(0))
    with pytest.raises(PipelineError, match="tracklet"):
        schema.check(path, schema.POSE2D, "redo")


def test_a_shard_has_as_many_joints_as_its_layout_says(tmp_path):
    for joints in (skeleton.H36M17, skeleton.KINECT20, skeleton.KINECT25):
        good = write(tmp_path / "a.parquet", schema.shard(joints), layout3d=joints.name)
        found = schema.check_shard(good, "redo")
        assert found.field("xyz").type.list_size == 3 * len(joints.joints)
    assert schema.shard(skeleton.H36M17) == schema.SHARD
    wrong = write(tmp_path / "b.parquet", schema.SHARD, layout3d="kinect20")
    with pytest.raises(
        PipelineError, match=r"in .*xyz: [^;]*\[60\]>; [^;]*xyz: [^;]*\[51\]>\. Run"
    ):
        schema.check_shard(wrong, "redo")


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really PAR1"])
def test_a_missing_or_broken_file_is_one_line(tmp_path, content):
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PipelineError, match="Run: redo") as caught:
        schema.check(path, schema.INDEX, "redo")
    assert "\n" not in str(caught.value)


def test_a_table_that_is_made_current_keeps_what_it_says_about_itself():
    table = pa.table({"tracklet": ["a"]}).replace_schema_metadata({"trial": "3"})
    made = schema.current(table, pa.schema([schema.INDEX.field("tracklet")]))
    assert schema.metadata(made.schema) == {"trial": "3"}
