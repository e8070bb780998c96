"""The formats that are one small file each, and folders of any kind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import PipelineError


def splits_of(found: dict) -> dict[str, str]:
    return {name: row["split"] for name, row in found["rows"].items()}


class TestFolder:
    def test_folders_name_split_person_camera_and_tracklet(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        names = ["train/7/2/a/f_10.jpg", "train/7/2/a/f_9.jpg", "query/9/10/b/1.png"]
        put(tmp_path, [*names, "gallery/0/2/c/1.jpg", "gallery/-1/2/d/1.jpg"])
        put(tmp_path, ["train/7/2/a/notes.txt", ".dvc/tmp/x/y/z.jpg"])
        found = index(tmp_path, "folder")
        assert {n: (r["pid"], r["camid"]) for n, r in found["rows"].items()} == {
            "gallery_0_2_c": (0, 0),
            "query_9_10_b": (9, 1),
            "train_7_2_a": (7, 0),
        }
        train = found["rows"]["train_7_2_a"]
        assert train["frames"] == ["train/7/2/a/f_9.jpg", "train/7/2/a/f_10.jpg"]
        assert train["frame_numbers"] == [9, 10]
        assert found["counts"]["junk_tracklets"] == 1
        assert json.loads(found["metadata"]["cameras"]) == {"2": 0, "10": 1}

    def test_names_become_numbers_in_sorted_order_from_one(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        put(tmp_path, ["query/zoe/north/a/1.jpg", "gallery/adam/east/a/1.jpg"])
        found = index(tmp_path, "folder")
        assert {n: (r["pid"], r["camid"]) for n, r in found["rows"].items()} == {
            "gallery_adam_east_a": (1, 0),
            "query_zoe_north_a": (2, 1),
        }
        assert json.loads(found["metadata"]["persons"]) == {"adam": 1, "zoe": 2}

    @pytest.mark.parametrize("as_csv", [False, True], ids=["folders", "csv"])
    @pytest.mark.parametrize("name", ["adam", "7"])
    def test_distractors_and_junk_are_so_whatever_the_others_are_called(
        self, tmp_path: Path, put: Callable, index: Callable, as_csv: bool, name: str
    ) -> None:
        people = {"query": [name], "gallery": [name, "0", "-1"], "train": ["8"]}
        rows = [(split, pid, f"{split}{pid}") for split, pids in people.items() for pid in pids]
        if as_csv:
            # As pandas writes whole numbers of a column with gaps.
            text = [f"{n}.jpg,{s},{p if p == 'adam' else f'{p}.0'},c{s},{n}" for s, p, n in rows]
            header = "path,split,pid,camid,tracklet\n"
            (tmp_path / "frames.csv").write_text(header + "\n".join(text) + "\n")
        else:
            put(tmp_path, [f"{split}/{pid}/c{split}/{n}/1.jpg" for split, pid, n in rows])
        found = index(tmp_path, "folder")
        pids = {row["split"]: row["pid"] for row in found["rows"].values() if row["pid"]}
        assert pids["query"] == pids["gallery"] > 0
        assert pids["train"] not in (0, -1, pids["query"])
        assert [row["split"] for row in found["rows"].values() if not row["pid"]] == ["gallery"]
        assert found["counts"]["junk_tracklets"] == found["counts"]["distractor_tracklets"] == 1

    @pytest.mark.parametrize("split", ["query", "gallery"])
    def test_a_person_of_train_and_test_is_an_error_and_a_distractor_is_none(
        self, tmp_path: Path, put: Callable, index: Callable, split: str
    ) -> None:
        put(tmp_path, ["train/0/c1/a/1.jpg", "train/7/c1/a/1.jpg", "gallery/0/c2/a/1.jpg"])
        put(tmp_path, ["query/9/c1/b/1.jpg", "gallery/9/c2/b/1.jpg"])
        assert index(tmp_path, "folder")["counts"]["train_pids"] == 1
        put(tmp_path, [f"{split}/7/c3/c/1.jpg"])
        with pytest.raises(PipelineError, match=r"1 persons of train .* \(7\)"):
            index(tmp_path, "folder", counts="partial")

    @pytest.mark.parametrize("kind", ["person", "camera"])
    def test_two_spellings_of_one_number_are_an_error(
        self, tmp_path: Path, put: Callable, index: Callable, kind: str
    ) -> None:
        names = ["query/{}/c1/a/1.jpg", "gallery/{}/c2/a/1.jpg"]
        if kind == "camera":
            names = ["query/1/{}/a/1.jpg", "gallery/1/{}/a/1.jpg"]
        put(tmp_path, [names[0].format("0001"), names[1].format("1")])
        with pytest.raises(PipelineError, match="0001 and 1 are one number"):
            index(tmp_path, "folder")

    def test_a_misspelt_split_gets_a_suggestion(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        put(tmp_path, ["galery/1/1/a/1.jpg"])
        with pytest.raises(PipelineError, match="Did you mean gallery"):
            index(tmp_path, "folder")

    def test_an_empty_folder_says_what_is_expected(self, tmp_path: Path, index: Callable) -> None:
        with pytest.raises(PipelineError, match=r"neither frames.csv nor"):
            index(tmp_path, "folder")

    def test_a_csv_lists_frames_in_any_order(self, tmp_path: Path, index: Callable) -> None:
        (tmp_path / "frames.csv").write_text(
            "path,split,pid,camid,tracklet,frame,clothes\n"
            "video/b.jpg,query,4,entrance,t1,12,3\n"
            "video/a.jpg,query,4,entrance,t1,7,3\n"
            "video/c.jpg,gallery,4,exit,t2,1,\n"
            "video/d.jpg,gallery,-1,exit,t3,1,\n"
        )
        found = index(tmp_path, "folder")
        first = found["rows"]["t1"]
        assert first["frames"] == ["video/a.jpg", "video/b.jpg"]
        assert (first["frame_numbers"], first["clothes"], first["camid"]) == ([7, 12], 3, 0)
        assert found["rows"]["t2"]["clothes"] is None
        assert splits_of(found) == {"t1": "query", "t2": "gallery"}

    def test_a_csv_says_how_a_tracklet_was_seen(self, tmp_path: Path, index: Callable) -> None:
        header = "path,split,pid,camid,tracklet,spectrum,platform,altitude_m,distance_m,angle_deg\n"
        lines = "a.jpg,query,4,0,t1,infrared,aerial,30,12.5,60\nb.jpg,gallery,4,1,t2,,,,,\n"
        (tmp_path / "frames.csv").write_text(header + lines)
        rows = index(tmp_path, "folder")["rows"]
        names = ("spectrum", "platform", "altitude_m", "distance_m", "angle_deg", "clothes")
        seen = [rows["t1"][name] for name in names]
        assert seen == ["infrared", "aerial", 30.0, 12.5, 60.0, None]
        assert all(rows["t2"][name] is None for name in names)
        for wrong, fault in (("infrarot", "is no spectrum. Did you mean infr"), ("", "a number")):
            spoilt = lines.replace("infrared", wrong).replace("12.5", "12.5" if wrong else "near")
            (tmp_path / "frames.csv").write_text(header + spoilt)
            with pytest.raises(PipelineError, match=f"frames.csv:2: .*{fault}"):
                index(tmp_path, "folder")

    def test_frames_of_a_csv_without_numbers_come_in_natural_order(
        self, tmp_path: Path, index: Callable
    ) -> None:
        names = [f"f{i}_end.jpg" for i in range(1, 13)]
        (tmp_path / "frames.csv").write_text(
            "path,split,pid,camid,tracklet,frame\n"
            + "".join(f"{name},query,4,0,t1,{frame}\n" for name in names[::-1] for frame in [""])
        )
        assert index(tmp_path, "folder")["rows"]["t1"]["frames"] == names

    @pytest.mark.parametrize(("column", "value"), [("frame", "7.5"), ("clothes", "red")])
    def test_what_is_no_whole_number_is_named_and_never_cut(
        self, tmp_path: Path, index: Callable, column: str, value: str
    ) -> None:
        line = {"frame": "3.0", "clothes": "2.0"} | {column: value}
        (tmp_path / "frames.csv").write_text(
            "path,split,pid,camid,tracklet,frame,clothes\n"
            f"a.jpg,query,4.0,0,t1,{line['frame']},{line['clothes']}\n"
        )
        with pytest.raises(PipelineError, match=rf"frames.csv:2: expected .* found '{value}'"):
            index(tmp_path, "folder")

    def test_a_csv_without_a_column_names_it(self, tmp_path: Path, index: Callable) -> None:
        (tmp_path / "frames.csv").write_text("path,split,pid,cam_id,tracklet\n")
        with pytest.raises(PipelineError, match=r"has no column camid. Did you mean cam_id"):
            index(tmp_path, "folder")

    def test_one_name_for_two_tracklets_is_refused(self, tmp_path: Path, index: Callable) -> None:
        (tmp_path / "frames.csv").write_text(
            "path,split,pid,camid,tracklet\na.jpg,query,4,0,t1\nb.jpg,gallery,4,1,t1\n"
        )
        with pytest.raises(PipelineError, match="two tracklets are called t1"):
            index(tmp_path, "folder")


class TestDuke:
    NAMES = (
        "train/0001/0009/0001_C6_F0002_X30823.jpg",
        "train/0001/0009/0001_C6_F0004_X30835.jpg",
        "query/0002/0001/0002C1F0001X00001.jpg",
        "gallery/0002/0002/0002_C8_F0001_X00001.jpg",
        "gallery/7136/0003/7136_C2_F0001_D00005.jpg",
    )

    def test_both_namings_are_read_and_distractors_keep_their_number(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        put(tmp_path, self.NAMES)
        rows = index(tmp_path, "duke")["rows"]
        assert {n: (r["split"], r["pid"], r["camid"]) for n, r in rows.items()} == {
            "gallery_0002_0002": ("gallery", 2, 7),
            "gallery_7136_0003": ("gallery", 7136, 1),
            "query_0002_0001": ("query", 2, 0),
            "train_0001_0009": ("train", 1, 5),
        }
        assert rows["train_0001_0009"]["frame_numbers"] == [2, 4]

    def test_frames_of_two_cameras_are_refused(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        put(tmp_path, [*self.NAMES, "train/0001/0009/0001_C5_F0005_X30835.jpg"])
        with pytest.raises(PipelineError, match="not frames of one camera"):
            index(tmp_path, "duke")

    def test_published_counts_are_asserted(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        put(tmp_path, self.NAMES)
        with pytest.raises(PipelineError, match="1 train tracklets instead of 2,196"):
            index(tmp_path, "duke", counts="published")


class TestPrid:
    def test_the_chosen_split_decides_who_is_tested(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        persons = [f"person_{number:04d}" for number in (1, 4, 9, 10)]
        put(tmp_path, [f"multi_shot/cam_{c}/{p}/0001.png" for c in "ab" for p in persons])
        splits = [
            {"train": persons[:2], "test": persons[2:]},
            {"train": persons[2:], "test": persons[:2]},
        ]
        (tmp_path / "splits_prid2011.json").write_text(json.dumps(splits))
        rows = index(tmp_path, "prid", split_id=1)["rows"]
        assert {n: (r["split"], r["camid"]) for n, r in rows.items() if r["pid"] < 9} == {
            "cam_a_person_0001": ("query", 0),
            "cam_b_person_0001": ("gallery", 1),
            "cam_a_person_0004": ("query", 0),
            "cam_b_person_0004": ("gallery", 1),
        }
        assert {r["split"] for r in rows.values() if r["pid"] >= 9} == {"train"}
        with pytest.raises(PipelineError, match="does not hold ten"):
            index(tmp_path, "prid", split_id=2)


class TestCcvid:
    def test_session_three_has_cameras_of_its_own_and_clothes_belong_to_a_person(
        self, tmp_path: Path, put: Callable, index: Callable
    ) -> None:
        lists = {
            "train": "session1/001_01\t001\tu0_l0_s0_c0_a0\n",
            "query": "session3/002_01\t002\tu0_l0_s0_c0_a0\n",
            "gallery": "session2/002_12\t002\tu1_l1_s0_c0_a0\r\n",
        }
        for split, lines in lists.items():
            (tmp_path / f"{split}.txt").write_text(lines, newline="")
        put(tmp_path, [f"session{s}/00001.jpg" for s in ("1/001_01", "3/002_01", "2/002_12")])
        rows = index(tmp_path, "ccvid")["rows"]
        assert {n: r["camid"] for n, r in rows.items()} == {
            "session1_001_01": 0,
            "session3_002_01": 12,
            "session2_002_12": 11,
        }
        assert len({r["clothes"] for r in rows.values()}) == 3

    def test_a_line_with_two_fields_is_named(self, tmp_path: Path, index: Callable) -> None:
        for split in ("train", "query", "gallery"):
            (tmp_path / f"{split}.txt").write_text("session1/001_01\t001\n")
        with pytest.raises(PipelineError, match=r"gallery.txt:1: "):
            index(tmp_path, "ccvid")


class TestMevid:
    TEST = ("0201O003C330T000F00000", "0201O003C330T000F00001", "0201O004C508T000F00000")

    @pytest.fixture
    def tree(self, tmp_path: Path, put: Callable) -> Path:
        names = {"test": self.TEST, "train": ("0104O001C329T002F00005",)}
        tables = {"test": "0. 1. 201. 3. 330.\n2. 2. 201. 4. 508.\n", "train": "0 0 104 1 329\n"}
        for part, listed in names.items():
            put(tmp_path, [f"bbox_{part}/{name[:4]}/{name}.jpg" for name in listed])
            lines = "".join(f"{name}.jpg\n" for name in listed)
            (tmp_path / f"{part}_name.txt").write_text(lines)
            (tmp_path / f"track_{part}_info.txt").write_text(tables[part])
        (tmp_path / "query_IDX.txt").write_text("1.000e+00\n")
        return tmp_path

    def test_everything_counts_from_zero(self, tree: Path, index: Callable) -> None:
        found = index(tree, "mevid", check_frames=True)
        assert splits_of(found) == {
            "0201O003C330T000": "gallery",
            "0201O004C508T000": "query",
            "0104O001C329T002": "train",
        }
        first = found["rows"]["0201O003C330T000"]
        assert (first["frame_numbers"], first["camid"]) == ([0, 1], 329)
        assert first["clothes"] != found["rows"]["0201O004C508T000"]["clothes"]

    def test_a_table_counted_from_one_is_refused(self, tree: Path, index: Callable) -> None:
        (tree / "track_test_info.txt").write_text("1 2 201 3 330\n3 3 201 4 508\n")
        with pytest.raises(PipelineError, match="do not belong together"):
            index(tree, "mevid")
