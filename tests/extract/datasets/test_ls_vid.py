"""LS-VID: a tree made by the rules of its lists."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.errors import PipelineError

# 0003_1 is the start of 0003_10 too: only a careful reader keeps them apart.
TEST = {
    "tracklet_test/0003/0003-1": (3, 2, (4, 2)),
    "tracklet_test/0003/0003-10": (3, 15, (1, 2, 3)),
    "tracklet_test/0005/0005-7": (5, 1, (9,)),
}
TRAIN = {"tracklet_train/0000/0000-1": (0, 3, (1, 2))}


@pytest.fixture
def tree(tmp_path: Path, put: Callable) -> Path:
    root = tmp_path / "ls_vid"
    (root / "list_sequence").mkdir(parents=True)
    (root / "test" / "data").mkdir(parents=True)
    for part, rows in (("test", TEST), ("train", TRAIN)):
        lines = [f"{prefix} {pid}" for prefix, (pid, _, _) in rows.items()]
        (root / "list_sequence" / f"list_seq_{part}.txt").write_text("\r\n".join(lines))
        for prefix, (_, camera, numbers) in rows.items():
            put(root, [f"{prefix}_{n:06d}_{camera}_x7.jpg" for n in numbers])
    with h5py.File(root / "test" / "data" / "info_test.mat", "w") as file:
        # MATLAB stores its (1, Q) transposed, as doubles, counted from 1.
        file["query"] = np.array([[1.0, 3.0]])
    return root


def test_queries_are_lines_of_the_test_list_counted_from_one(tree: Path, index: Callable) -> None:
    rows = index(tree, "ls_vid")["rows"]
    assert {name: row["split"] for name, row in rows.items()} == {
        "test_0003_0003-1": "query",
        "test_0005_0005-7": "query",
        "test_0003_0003-10": "gallery",
        "train_0000_0000-1": "train",
    }


def test_a_prefix_does_not_take_the_frames_of_a_longer_number(tree: Path, index: Callable) -> None:
    row = index(tree, "ls_vid")["rows"]["test_0003_0003-1"]
    assert (row["camid"], row["frame_numbers"]) == (1, [2, 4])
    assert row["frames"][0] == "tracklet_test/0003/0003-1_000002_2_x7.jpg"


def test_people_are_counted_from_zero_and_nobody_is_a_distractor(
    tree: Path, index: Callable
) -> None:
    found = index(tree, "ls_vid")
    assert {name: row["pid"] for name, row in found["rows"].items()} == {
        "test_0003_0003-1": 4,
        "test_0003_0003-10": 4,
        "test_0005_0005-7": 6,
        "train_0000_0000-1": 1,
    }
    assert found["counts"]["train_pids"] == 1
    assert json.loads(found["metadata"]["persons"]) == {"0": 1, "3": 4, "5": 6}


def test_a_validation_list_is_read_when_it_is_there(
    tree: Path, put: Callable, index: Callable
) -> None:
    put(tree, ["tracklet_val/0009/0009-1_000001_4_x.jpg"])
    (tree / "list_sequence" / "list_seq_val.txt").write_text("tracklet_val/0009/0009-1 9\n")
    found = index(tree, "ls_vid")
    assert found["rows"]["val_0009_0009-1"]["split"] == "val"
    assert found["order"] == sorted(found["order"])


def test_a_tracklet_without_frames_stops_the_index_unless_partial(
    tree: Path, index: Callable
) -> None:
    for path in (tree / "tracklet_test" / "0005").iterdir():
        path.unlink()
    with pytest.raises(PipelineError, match=r"0005-7\* \(no frames\)"):
        index(tree, "ls_vid")
    assert "test_0005_0005-7" not in index(tree, "ls_vid", counts="partial")["rows"]


def test_frames_of_two_cameras_in_one_tracklet_are_refused(
    tree: Path, put: Callable, index: Callable
) -> None:
    put(tree, ["tracklet_train/0000/0000-1_000003_4_x.jpg"])
    with pytest.raises(PipelineError, match="several cameras"):
        index(tree, "ls_vid")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "test/data/info_test.mat").unlink(), "info_test.mat is missing"),
        (
            lambda root: (root / "test/data/info_test.mat").write_text("x"),
            "not a readable MATLAB file",
        ),
        (
            lambda root: (root / "list_sequence/list_seq_train.txt").write_text("0001/a"),
            'list_seq_train.txt:1: .* is not "<path> <pid>"',
        ),
        (
            lambda root: (root / "list_sequence/list_seq_test.txt").write_text("a/b 1\n"),
            r"query lines must lie in 1\.\.1",
        ),
    ],
)
def test_faulty_lists_are_named(
    tree: Path, index: Callable, break_it: Callable, message: str
) -> None:
    break_it(tree)
    with pytest.raises(PipelineError, match=message):
        index(tree, "ls_vid")


def test_counts_are_compared_with_the_published_ones(tree: Path, index: Callable) -> None:
    with pytest.raises(PipelineError, match="2 query tracklets instead of 3,504"):
        index(tree, "ls_vid", counts="published")


def test_the_authors_lists_lose_nobody(
    tree: Path, real_data: Path, put: Callable, index: Callable
) -> None:
    """The authors published lists of MARS in this format; a tracklet of each person is taken."""
    lists = real_data / "mars_info"
    for part in ("train", "test"):
        lines = (lists / f"list_{part}_seq.txt").read_text().splitlines()
        first = list({line.split()[1]: line for line in reversed(lines)}.values())
        (tree / f"list_sequence/list_seq_{part}.txt").write_text("\n".join(first))
        put(tree, [f"{line.split()[0]}_000001_3_x.jpg" for line in first])
    counts = index(tree, "ls_vid")["counts"]
    assert counts["train_pids"] == 625
    assert counts["query_pids"] + counts["gallery_pids"] == 636
