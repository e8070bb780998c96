"""Cameras are called as the files of a dataset call them; `camid` stays the number it is."""

import json

import pytest

from pipeline import schema
from pipeline.errors import PipelineError
from pipeline.names import camera_names
from tests.disk.layouts import LAYOUTS


def names_of(index, tmp_path, name):
    """Index a small tree, and return its rows and the names of its cameras."""
    LAYOUTS[name](tmp_path / name)
    format_ = "folder" if name in ("tiny", "table") else name
    found = index(tmp_path / name, format_)
    about = schema.metadata(schema.check(tmp_path / "toy.parquet", schema.INDEX, ""))
    return found["rows"].values(), camera_names(about, name, "")


@pytest.mark.parametrize("name", ["mars", "ilids_vid", "prid", "mevid", "ccvid", "tiny"])
def test_the_name_of_a_camera_stands_in_the_path_of_its_frames(index, tmp_path, name):
    rows, names = names_of(index, tmp_path, name)
    assert {row["camid"] for row in rows} <= set(names)
    assert len(set(names.values())) == len(names)
    for row in rows:
        # A session comes first, a camera last.
        for part in names[row["camid"]].split("/"):
            assert all(part in frame for frame in row["frames"]), (row, names)


def test_cameras_of_mars_are_called_c1_to_c6(index, tmp_path):
    rows, names = names_of(index, tmp_path, "mars")
    assert names == {camid: f"C{camid + 1}" for camid in sorted({row["camid"] for row in rows})}
    assert 5 in names


def test_cameras_of_ls_vid_count_from_1_as_its_frames_do(index, tmp_path):
    rows, names = names_of(index, tmp_path, "ls_vid")
    assert names
    for row in rows:
        assert all(frame.split("_")[-2] == names[row["camid"]] for frame in row["frames"])


@pytest.mark.parametrize("text", ["", "[]", "7", '{"C1": "0"}', '{"a": 1, "b": 1}', '{"a": true}'])
def test_names_that_nobody_wrote_so_are_one_line(text):
    with pytest.raises(PipelineError, match=r"x does not say what its cameras are called\. Redo"):
        camera_names({"cameras": text}, "x", "Redo")


def test_a_table_that_names_no_camera_has_no_names():
    assert camera_names({"about": json.dumps({})}, "x", "Redo") == {}
