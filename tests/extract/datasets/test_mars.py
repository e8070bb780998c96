"""MARS: from a small tree that has its oddities, and at full size from the real split."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pipeline.errors import PipelineError

# Row of the info table: name, pid, camera, frame numbers. Person 2 starts at F007 and has a gap.
TEST = [
    ("00-1C1T0001", -1, 1, (1, 2)),
    ("0000C2T0001", 0, 2, (1, 2, 3)),
    ("0002C1T0001", 2, 1, (7, 8, 10)),
    ("0002C3T0004", 2, 3, (1, 2)),
    ("0004C1T0001", 4, 1, (1,)),
]
TRAIN = [("0001C1T0001", 1, 1, (1, 2)), ("0003C6T0002", 3, 6, (1, 2, 3))]


def lay_out(root: Path, put: Callable, line_end: str = "\n") -> Path:
    (root / "info").mkdir(parents=True)
    for part, rows in (("test", TEST), ("train", TRAIN)):
        names, table = [], []
        for tracklet, pid, camera, numbers in rows:
            table.append((len(names) + 1, len(names) + len(numbers), pid, camera))
            names += [f"{tracklet}F{number:03d}.jpg" for number in numbers]
        put(root, [f"bbox_{part}/{name[:4]}/{name}" for name in names])
        text = line_end.join(names) + line_end
        (root / "info" / f"{part}_name.txt").write_bytes(text.encode())
        tracks = {f"track_{part}_info": np.array(table, dtype=np.int32)}
        savemat(root / "info" / f"tracks_{part}_info.mat", tracks)
    savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.array([[3]], dtype=np.uint16)})
    return root


@pytest.fixture
def tree(tmp_path: Path, put: Callable) -> Path:
    return lay_out(tmp_path / "mars", put)


def test_a_person_of_both_halves_is_a_warning_with_the_count(
    tmp_path: Path, put: Callable, index: Callable, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(globals(), "TRAIN", [("0002C6T0009", 2, 6, (1, 2)), *TRAIN])
    index(lay_out(tmp_path / "mars", put), "mars")
    assert "1 persons of train are in query or gallery too (2)" in capsys.readouterr().err


def test_rows_say_what_the_info_files_say(tree: Path, index: Callable) -> None:
    rows = index(tree, "mars")["rows"]
    assert {name: row["split"] for name, row in rows.items()} == {
        "0000C2T0001": "gallery",
        "0002C3T0004": "gallery",
        "0004C1T0001": "gallery",
        "0002C1T0001": "query",
        "0001C1T0001": "train",
        "0003C6T0002": "train",
    }
    query = rows["0002C1T0001"]
    assert (query["pid"], query["camid"], query["clothes"]) == (2, 0, None)
    assert query["frame_numbers"] == [7, 8, 10]
    assert query["frames"][2] == "bbox_test/0002/0002C1T0001F010.jpg"


def test_every_listed_frame_is_a_file(tree: Path, index: Callable) -> None:
    found = index(tree, "mars", check_frames=True)
    assert found["missing"] == []
    assert all((tree / f).is_file() for row in found["rows"].values() for f in row["frames"])


def test_rows_are_sorted_and_junk_is_only_counted(tree: Path, index: Callable) -> None:
    found = index(tree, "mars")
    assert found["order"] == sorted(found["order"])
    assert found["counts"]["junk_tracklets"] == 1
    assert found["counts"]["distractor_tracklets"] == 1
    assert found["counts"]["gallery_pids"] == 2


def test_carriage_returns_in_name_lists_change_nothing(
    tmp_path: Path, tree: Path, put: Callable, index: Callable
) -> None:
    dos = lay_out(tmp_path / "dos", put, "\r\n")
    assert index(dos, "mars")["rows"] == index(tree, "mars")["rows"]


@pytest.mark.parametrize(
    "name",
    ["query_IDX.mat", "tracks_test_info.mat", "tracks_train_info.mat", "train_name.txt"],
)
def test_a_missing_info_file_is_named_with_its_source(
    tree: Path, index: Callable, name: str
) -> None:
    (tree / "info" / name).unlink()
    with pytest.raises(PipelineError, match=rf"info/{name} is missing.*MARS-evaluation"):
        index(tree, "mars")


def test_a_damaged_mat_is_named(tree: Path, index: Callable) -> None:
    (tree / "info" / "query_IDX.mat").write_bytes(b"not found, says the server")
    with pytest.raises(PipelineError, match=r"query_IDX.mat is not a readable MATLAB file"):
        index(tree, "mars")


def test_a_name_list_of_another_length_is_refused(tree: Path, index: Callable) -> None:
    path = tree / "info" / "test_name.txt"
    path.write_text(path.read_text() + "0004C1T0001F002.jpg\n")
    with pytest.raises(PipelineError, match=r"lists 12 frames.*speaks of 11"):
        index(tree, "mars")


def test_a_name_list_in_another_order_is_refused(tree: Path, index: Callable) -> None:
    path = tree / "info" / "test_name.txt"
    path.write_text("\n".join(sorted(path.read_text().split(), reverse=True)))
    with pytest.raises(PipelineError, match=r"where .* starts a tracklet of person"):
        index(tree, "mars")


def test_missing_frames_stop_the_index_only_when_asked_to_look(tree: Path, index: Callable) -> None:
    (tree / "bbox_test/0002/0002C1T0001F008.jpg").unlink()
    assert "0002C1T0001" in index(tree, "mars")["rows"]
    with pytest.raises(PipelineError, match=r"1 .* not on disk, first .*0002C1T0001F008\.jpg"):
        index(tree, "mars", check_frames=True)
    with pytest.raises(PipelineError, match=r"counts: partial in the line toy of params\.yaml"):
        index(tree, "mars", check_frames=True)
    found = index(tree, "mars", check_frames=True, counts="partial")
    assert len(found["rows"]["0002C1T0001"]["frames"]) == 3


def test_a_wrong_root_folder_is_named(tmp_path: Path, tree: Path, index: Callable) -> None:
    with pytest.raises(PipelineError, match="nowhere is not there"):
        index(tmp_path / "nowhere", "mars")
    with pytest.raises(PipelineError, match=r"bbox_test/info.* is missing"):
        index(tree / "bbox_test", "mars")


def test_counts_are_compared_with_the_published_ones(
    tree: Path, index: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PipelineError, match=r"1 query tracklets instead of 1,980 \(-1,979\)"):
        index(tree, "mars", counts="published")
    index(tree, "mars", counts="partial")
    assert "870" in capsys.readouterr().err
    index(tree, "mars", counts="partial")
    assert "870" in capsys.readouterr().err


def test_no_index_is_left_behind_by_an_error(tmp_path: Path, tree: Path, index: Callable) -> None:
    with pytest.raises(PipelineError):
        index(tree, "mars", counts="published")
    assert not list(tmp_path.glob("*.parquet*"))


def full_size_tree(root: Path, info: Path) -> Path:
    """Lay out the real split: names from the tracklet list, frames numbered without gaps."""
    (root / "info").mkdir(parents=True)
    names: dict[str, list[str]] = {"train": [], "test": []}
    with (info / "mars_tracklets.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            tracklet = line["prefix"].rpartition("/")[2]
            frames = range(1, int(line["n_frames"]) + 1)
            names[line["split"]] += [f"{tracklet}F{number:03d}.jpg" for number in frames]
    for part, listed in names.items():
        (root / "info" / f"{part}_name.txt").write_text("\r\n".join(listed), newline="")
        (root / f"bbox_{part}").mkdir()
    for mat in info.glob("*.mat"):
        (root / "info" / mat.name).symlink_to(mat.resolve())
    return root


def test_the_real_split_has_the_published_counts(
    tmp_path: Path, real_data: Path, index: Callable
) -> None:
    root = full_size_tree(tmp_path / "mars", real_data / "mars_info")
    found = index(root, "mars", counts="published")
    counts, rows = found["counts"], found["rows"]
    assert (counts["train_tracklets"], counts["query_tracklets"]) == (8298, 1980)
    assert counts["query_tracklets"] + counts["gallery_tracklets"] == 11310
    assert (counts["junk_tracklets"], counts["distractor_tracklets"]) == (870, 3248)
    assert sum(counts[f"{s}_frames"] for s in ("train", "query", "gallery")) == 1191003 - 23380
    assert len(rows) == 8298 + 11310
    with (real_data / "mars_info" / "mars_tracklets.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            row = rows.get(line["prefix"].rpartition("/")[2])
            if line["role"] == "junk":
                assert row is None
                continue
            split = "gallery" if line["role"] == "distractor" else line["role"]
            assert (row["split"], row["pid"]) == (split, int(line["pid"]))
            assert row["camid"] == int(line["camid"]) - 1
            assert len(row["frames"]) == int(line["n_frames"])
