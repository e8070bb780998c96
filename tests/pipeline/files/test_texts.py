"""Texts are read whoever wrote them, and what is none is named."""

import pytest

from pipeline.errors import PipelineError
from pipeline.files import texts

ROWS = [(2, {"path": "é.jpg", "pid": "7"}), (4, {"path": "b.jpg", "pid": "8"})]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_is_read_in_every_encoding_that_can_be_told(tmp_path, encoding, delimiter, end):
    text = end.join(["path,pid", "é.jpg,7", "", "b.jpg, 8", ""]).replace(",", delimiter)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert texts.read_csv(tmp_path / "a.csv", ["path", "pid"], "") == ROWS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,pid\na.jpg\n", "a.csv:2: 1 cells, and the header has 2"),
        (b"path,pid\na.jpg,1,2\n", "a.csv:2: 3 cells"),
        (b"path\na.jpg\n", "a.csv has no column pid"),
        (b"path,pid,pid\n", "a column stands twice"),
        (b'path,pid\n"a.jpg,1\n', "a.csv is not a readable CSV table"),
        (b"", "a.csv has no column path"),
        (b"\x00\x01\x02\x00\xff", "a.csv is not a readable text"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(PipelineError, match=said):
        texts.read_csv(tmp_path / "a.csv", ["path", "pid"], "Write it again")


@pytest.mark.parametrize("name", ["nowhere", "folder", "link", "pipe", "device"])
def test_what_is_no_plain_file_is_neither_waited_for_nor_read(tmp_path, name):
    import os

    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    with pytest.raises(PipelineError, match=rf"{name} is (missing|a folder|a pipe or a device)"):
        texts.read(tmp_path / name, "Put it there")


def test_json_too_deep_for_anybody_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(PipelineError, match=r"a.json is not a readable JSON \(RecursionError"):
        texts.read_json(tmp_path / "a.json", "Write it again")
