"""iLIDS-VID: 300 persons with gaps in their numbers, the real ten splits, and the tar."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pipeline import paths
from pipeline.errors import PipelineError

# 300 numbers in 1..319: every number but the multiples of 16 (19 of them).
NUMBERS = [number for number in range(1, 320) if number % 16]


@pytest.fixture
def tree(tmp_path: Path, put: Callable) -> Path:
    root = tmp_path / "ilids_vid"
    sequences = root / "i-LIDS-VID" / "sequences"
    for camera in ("cam1", "cam2"):
        for number in NUMBERS:
            person = f"person{number:03d}"
            name = f"{camera}/{person}/{camera}_{person}"
            put(sequences, [f"{name}_00317.png", f"{name}_00318.png"])
    splits = root / "train-test people splits"
    splits.mkdir()
    rng = np.random.default_rng(0)
    permutations = np.stack([rng.permutation(300) + 1 for _ in range(10)]).astype(np.uint16)
    savemat(splits / "train_test_splits_ilidsvid.mat", {"ls_set": permutations})
    return root


def halves(root: Path, split_id: int) -> tuple[set[int], set[int]]:
    path = root / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    row = loadmat(path)["ls_set"][split_id]
    numbers = [NUMBERS[position - 1] for position in row]
    return set(numbers[:150]), set(numbers[150:])


@pytest.mark.parametrize("split_id", [0, 9])
def test_first_half_of_the_split_is_tested(tree: Path, index: Callable, split_id: int) -> None:
    found = index(tree, "ilids_vid", counts="published", split_id=split_id)
    rows = found["rows"].values()
    test, train = halves(tree, split_id)
    assert {row["pid"] for row in rows if row["split"] == "train"} == train
    assert {row["pid"] for row in rows if row["split"] == "query"} == test
    assert {row["pid"] for row in rows if row["split"] == "gallery"} == test
    assert {row["camid"] for row in rows if row["split"] == "query"} == {0}
    assert {row["camid"] for row in rows if row["split"] == "gallery"} == {1}
    assert found["metadata"]["split_id"] == str(split_id)


def test_the_real_splits_are_read(tree: Path, real_data: Path, index: Callable) -> None:
    path = tree / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    path.write_bytes((real_data / "ilids_vid" / path.name).read_bytes())
    for split_id in range(10):
        rows = index(tree, "ilids_vid", counts="published", split_id=split_id)["rows"].values()
        test, _ = halves(tree, split_id)
        assert {row["pid"] for row in rows if row["split"] == "query"} == test


def test_the_tar_gives_the_same_index_as_its_contents(
    tmp_path: Path, tree: Path, index: Callable
) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "iLIDS-VID.tar", "w") as tar:
        for name in ("i-LIDS-VID", "train-test people splits"):
            tar.add(tree / name, arcname=name)
    assert index(packed, "ilids_vid")["rows"] == index(tree, "ilids_vid")["rows"]
    assert not list(packed.glob(".unpack-*"))


def test_a_tar_on_a_read_only_disk_is_unpacked_in_the_project(
    tmp_path: Path, tree: Path, index: Callable, monkeypatch
) -> None:
    packed = tmp_path / "disk/ilids_vid"
    packed.mkdir(parents=True)
    with tarfile.open(packed / "iLIDS-VID.tar", "w") as tar:
        for name in ("i-LIDS-VID", "train-test people splits"):
            tar.add(tree / name, arcname=name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REID_DATA_ROOT", "disk")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    expected = index(tree, "ilids_vid")["rows"]
    assert index(paths.dataset_root("ilids_vid"), "ilids_vid")["rows"] == expected
    assert [file.name for file in packed.iterdir()] == ["iLIDS-VID.tar"]
    # From now on all stages look there.
    root = paths.dataset_root("ilids_vid")
    assert root == Path("data/unpacked/ilids_vid")
    assert (root / next(iter(expected.values()))["frames"][0]).is_file()
    assert [file.name for file in root.parent.iterdir()] == ["ilids_vid"]
    assert index(root, "ilids_vid")["rows"] == expected


@pytest.mark.parametrize(
    "name", ["../outside.png", "i-LIDS-VID/sequences/../../../outside.png", "/outside.png"]
)
def test_a_tar_that_writes_elsewhere_is_refused(tmp_path: Path, index: Callable, name: str) -> None:
    root = tmp_path / "packed" / "inner"
    root.mkdir(parents=True)
    with tarfile.open(root / "iLIDS-VID.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(PipelineError, match=r"leads out of .*iLIDS-VID.tar|is missing"):
        index(root, "ilids_vid")
    assert [path.name for path in tmp_path.rglob("*outside*")] == []


def test_a_link_out_of_the_tar_is_refused(tmp_path: Path, index: Callable) -> None:
    link = tarfile.TarInfo("i-LIDS-VID/sequences/cam1")
    link.type, link.linkname = tarfile.SYMTYPE, "../../../.."
    with tarfile.open(tmp_path / "iLIDS-VID.tar", "w") as tar:
        tar.addfile(link)
    with pytest.raises(PipelineError, match="is refused"):
        index(tmp_path, "ilids_vid")


def test_a_truncated_tar_leaves_nothing_behind(tmp_path: Path, tree: Path, index: Callable) -> None:
    root = tmp_path / "packed"
    root.mkdir()
    with tarfile.open(root / "iLIDS-VID.tar", "w") as tar:
        tar.add(tree / "i-LIDS-VID", arcname="i-LIDS-VID")
    whole = (root / "iLIDS-VID.tar").read_bytes()
    (root / "iLIDS-VID.tar").write_bytes(whole[: len(whole) // 2 + 100])
    with pytest.raises(PipelineError, match=r"is damaged|is missing"):
        index(root, "ilids_vid")
    assert not (root / "i-LIDS-VID" / "sequences").exists()


def test_a_person_too_few_is_an_error_because_positions_would_shift(
    tree: Path, index: Callable
) -> None:
    (tree / "i-LIDS-VID/sequences/cam2/person001").rename(tree / "person001")
    with pytest.raises(PipelineError, match="has 299 persons in both cameras"):
        index(tree, "ilids_vid", counts="partial")


def test_a_missing_dataset_says_where_to_get_it(tmp_path: Path, index: Callable) -> None:
    with pytest.raises(PipelineError, match=r"iLIDS-VID.tar is missing\. Get"):
        index(tmp_path, "ilids_vid")
