"""HITSZ-VCM and BUPTCampus: people by day and by night, searched for both ways."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from extract.datasets import bupt_campus, hitsz_vcm
from pipeline.errors import PipelineError

TEST = ["0501x1D4T001F%d.jpg", "0501x0D4T002F%d.jpg", "0501x0D5T001F%d.jpg"]
TRAIN = ["0001x0D1T001F%d.jpg", "0001x1D2T001F%d.jpg"]


def splits_of(found: dict) -> dict[str, str]:
    return {name: row["split"] for name, row in found["rows"].items()}


def searches_of(found: dict) -> list[tuple]:
    return [
        (one["name"], *one["query"].values(), *one["gallery"].values(), one["is_reversed"])
        for one in json.loads(found["metadata"]["rules"])["searches"]
    ]


@pytest.fixture(params=["as handed out", "merged"])
def hitsz(request: pytest.FixtureRequest, tmp_path: Path, put: Callable) -> Path:
    is_apart = request.param == "as handed out"
    lists = tmp_path / "info" if is_apart else tmp_path
    lists.mkdir(exist_ok=True)
    for part, names in (("test", TEST), ("train", TRAIN)):
        listed = [name % number for name in names for number in (9, 10)]
        (lists / f"{part}_name.txt").write_text("\n".join(listed) + "\n")
        rows = [
            f"{name[5]} {2 * i + 1} {2 * i + 2} {int(name[:4])} {name[7]}"
            for i, name in enumerate(names)
        ]
        (lists / f"track_{part}_info.txt").write_text("\n".join(rows) + "\n")
        folder = f"{part.title()}/" if is_apart else ""
        for name in names:
            light = "ir" if name[5] == "1" else "rgb"
            put(tmp_path, [f"{folder}{name[:4]}/{light}/D{name[7]}/{n}.jpg" for n in (9, 10)])
    (lists / "query_IDX.txt").write_text("1\n")
    return tmp_path


def test_hitsz_counts_from_one_and_finds_its_frames(hitsz: Path, index: Callable) -> None:
    found = index(hitsz, "hitsz_vcm", check_frames=True)
    assert found["missing"] == []
    assert splits_of(found) == {
        "0501x1D4T001": "query",
        "0501x0D4T002": "gallery",
        "0501x0D5T001": "gallery",
        "0001x0D1T001": "train",
        "0001x1D2T001": "train",
    }
    row = found["rows"]["0501x1D4T001"]
    assert (row["pid"], row["camid"], row["spectrum"]) == (501, 4, "infrared")
    assert row["frame_numbers"] == [9, 10]
    assert found["rows"]["0501x0D4T002"]["spectrum"] == "visible"


def test_hitsz_is_searched_both_ways(hitsz: Path, index: Callable) -> None:
    """The way back exchanges queries and gallery: its queries are the visible gallery."""
    assert searches_of(index(hitsz, "hitsz_vcm")) == [
        ("", "infrared", "visible", False),
        ("spectrum.I2V", "infrared", "visible", False),
        ("spectrum.V2I", "visible", "infrared", True),
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("0 1 2 501 4", "spectrum 0"),
        ("1 1 2 501 5", "camera 5"),
        ("1 1 3 501 4", "not one tracklet"),
        ("1 0 1 501 4", "not one tracklet"),
        ("1 1 99 501 4", "not one tracklet"),
        ("1 1 2 501", "no table of five columns"),
        ("1 1 2 x 4", "whole numbers"),
    ],
)
def test_a_table_of_hitsz_that_is_of_other_names_is_refused(hitsz, index, row, why) -> None:
    (file,) = hitsz.rglob("track_test_info.txt")
    file.write_text(row + "\n")
    with pytest.raises(PipelineError, match=why):
        index(hitsz, "hitsz_vcm")


def test_a_query_of_hitsz_that_is_not_there_is_refused(hitsz: Path, index: Callable) -> None:
    (file,) = hitsz.rglob("query_IDX.txt")
    file.write_text("4\n")
    with pytest.raises(PipelineError, match="does not point into the 3 rows"):
        index(hitsz, "hitsz_vcm")


LINES = {
    "train": ["1 RGB LS3 1", "1 IR LS3 1", "1 FakeIR LS3 1"],
    "train_auxiliary": ["9 RGB W4 1"],
    "query": ["7 RGB G25 1", "7 IR G25 1"],
    "gallery": ["7 RGB G25 1", "7 IR W4 2"],
}


@pytest.fixture
def bupt(tmp_path: Path, put: Callable) -> Path:
    known: dict = {}
    for name, lines in LINES.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            person, modality, camera, tracklet = line.split()
            frames = [f"{'_'.join(line.split())}_{n}.jpg" for n in (9, 10)]
            folder = f"DATA/{person}/{modality}/{camera}"
            put(tmp_path, [f"{folder}/{frame}" for frame in frames])
            place = known.setdefault(person, {}).setdefault(modality, {}).setdefault(camera, {})
            place[tracklet] = [f"{folder}/{frame}" for frame in frames]
    (tmp_path / "data_paths.json").write_text(json.dumps(known))
    return tmp_path


def test_bupt_leaves_out_what_was_made_and_what_is_auxiliary(bupt, index) -> None:
    found = index(bupt, "bupt_campus", check_frames=True)
    assert found["missing"] == []
    assert {name: row["spectrum"] for name, row in found["rows"].items()} == {
        "train_1_RGB_LS3_1": "visible",
        "train_1_IR_LS3_1": "infrared",
        "query_7_RGB_G25_1": "visible",
        "query_7_IR_G25_1": "infrared",
        "gallery_7_RGB_G25_1": "visible",
        "gallery_7_IR_W4_2": "infrared",
    }
    assert json.loads(found["metadata"]["cameras"]) == {"G25": 0, "LS3": 1, "W4": 2}
    more = index(bupt, "bupt_campus", case="auxiliary")["rows"]
    assert more.keys() - found["rows"].keys() == {"train_9_RGB_W4_1"}


def test_bupt_is_searched_both_ways_and_ranks_the_own_camera(bupt, index) -> None:
    found = index(bupt, "bupt_campus")
    assert searches_of(found) == [
        ("", "infrared", "visible", False),
        ("spectrum.I2V", "infrared", "visible", False),
        ("spectrum.V2I", "visible", "infrared", False),
    ]
    assert json.loads(found["metadata"]["rules"])["same_camera_counts"]


def test_bupt_names_the_line_that_is_wrong(bupt: Path, index: Callable) -> None:
    (bupt / "query.txt").write_text("7 RGB G25 1\n7 thermal G25 1\n")
    with pytest.raises(PipelineError, match=r"query.txt:2: expected person, RGB or IR"):
        index(bupt, "bupt_campus")
    (bupt / "query.txt").write_text("7 RGB G25 5\n")
    with pytest.raises(PipelineError, match="no frames of 7 RGB G25 5"):
        index(bupt, "bupt_campus")
    with pytest.raises(PipelineError, match="Did you mean auxiliary"):
        index(bupt, "bupt_campus", case="auxilary")


def told(index: Callable, root: Path, format_: str, published: dict) -> None:
    with pytest.raises(PipelineError, match=f"1 train pids instead of {published['train_pids']:,}"):
        index(root, format_, counts="published")


def test_an_incomplete_copy_of_hitsz_is_told_by_its_persons(hitsz: Path, index: Callable) -> None:
    told(index, hitsz, "hitsz_vcm", hitsz_vcm.FACTS.published)


def test_an_incomplete_copy_of_bupt_is_told_by_its_persons(bupt: Path, index: Callable) -> None:
    told(index, bupt, "bupt_campus", bupt_campus.FACTS.published)
