"""Small trees in the layouts of datasets, for a project in which every command can run."""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import h5py
import numpy as np
from scipy.io import savemat

PEOPLE = {"train": (1, 2, 3, 4), "query": (5, 6, 7), "gallery": (5, 6, 7)}


def picture(file: Path, pid: int, number: int) -> None:
    rng = np.random.default_rng((pid, number))
    colour = np.random.default_rng(pid).integers(40, 215, 3)
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.clip(rng.normal(colour, 12, (48, 24, 3)), 0, 255).astype(np.uint8))


def _tiny(root: Path) -> None:
    for split, pids in PEOPLE.items():
        for pid in pids:
            for camera in range(2):
                if split == "train" or (split == "query") == (camera == 0):
                    for number in range(3):
                        picture(root / f"{split}/{pid}/c{camera}/t/{number}.jpg", pid, number)


def _table(root: Path) -> None:
    root.mkdir(parents=True)
    lines = ["path,split,pid,camid,tracklet,frame,clothes"]
    for split, pids in PEOPLE.items():
        lines += [
            f"{pid}/{camera}/{i}.jpg,{split},{pid},c{camera},{split}{pid}{camera},{i},1"
            for pid in pids
            for camera in range(2)
            for i in range(2)
        ]
    (root / "frames.csv").write_text("\n".join(lines) + "\n")


def _mars(root: Path) -> None:
    rows = {
        "test": [("0000C2T0001", 0, 2), ("0002C1T0001", 2, 1), ("0002C3T0004", 2, 3)],
        "train": [("0001C1T0001", 1, 1), ("0003C6T0002", 3, 6)],
    }
    (root / "info").mkdir(parents=True)
    for part, own in rows.items():
        (root / f"bbox_{part}").mkdir()
        names = [f"{name}F{i:03}.jpg" for name, _, _ in own for i in (1, 2)]
        table = [(2 * i + 1, 2 * i + 2, pid, camera) for i, (_, pid, camera) in enumerate(own)]
        (root / f"info/{part}_name.txt").write_text("\n".join(names) + "\n")
        tracks = {f"track_{part}_info": np.array(table, np.int32)}
        savemat(root / f"info/tracks_{part}_info.mat", tracks)
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[2]], np.uint16)})


def _ls_vid(root: Path) -> None:
    (root / "list_sequence").mkdir(parents=True)
    (root / "test/data").mkdir(parents=True)
    rows = {
        "test": {"tracklet_test/0003/0003-1": (3, 2), "tracklet_test/0003/0003-2": (3, 5)},
        "train": {"tracklet_train/0000/0000-1": (0, 3)},
    }
    for part, own in rows.items():
        lines = [f"{prefix} {pid}" for prefix, (pid, _) in own.items()]
        (root / f"list_sequence/list_seq_{part}.txt").write_text("\n".join(lines))
        for prefix, (_, camera) in own.items():
            for number in (1, 2):
                _touch(root, [f"{prefix}_{number:06}_{camera}_x7.jpg"])
    with h5py.File(root / "test/data/info_test.mat", "w") as file:
        file["query"] = np.array([[1.0]])


def _ilids_vid(root: Path) -> None:
    for camera in (1, 2):
        for person in range(1, 7):
            name = f"cam{camera}/person{person:03}/cam{camera}_person{person:03}_1.png"
            _touch(root / "i-LIDS-VID/sequences", [name])
    splits = root / "train-test people splits"
    splits.mkdir()
    permutations = np.stack([np.roll(np.arange(1, 7), i) for i in range(10)]).astype(np.uint16)
    savemat(splits / "train_test_splits_ilidsvid.mat", {"ls_set": permutations})


def _prid(root: Path) -> None:
    people = [f"person_{i:04}" for i in range(1, 5)]
    _touch(root, [f"multi_shot/cam_{c}/{p}/0001.png" for c in "ab" for p in people])
    split = {"train": people[:2], "test": people[2:]}
    (root / "splits_prid2011.json").write_text(json.dumps([split] * 10))


def _mevid(root: Path) -> None:
    names = {"test": ["0201O003C330T000", "0201O004C329T001"], "train": ["0103O001C330T000"]}
    for part, own in names.items():
        listed = [f"{name}F{i:05}.jpg" for name in own for i in range(2)]
        _touch(root, [f"bbox_{part}/{name[:4]}/{name}" for name in listed])
        (root / f"{part}_name.txt").write_text("\n".join(listed) + "\n")
        rows = [
            f"{2 * i}.0 {2 * i + 1}.0 {int(name[:4])}.0 {int(name[5:8])}.0 {int(name[9:12])}.0"
            for i, name in enumerate(own)
        ]
        (root / f"track_{part}_info.txt").write_text("\n".join(rows) + "\n")
    (root / "query_IDX.txt").write_text("0.000e+00\n")


def _ccvid(root: Path) -> None:
    for split, session, person in (("train", 1, 1), ("query", 1, 2), ("gallery", 2, 2)):
        _touch(root, [f"session{session}/{person:03}_0{session}/00001.jpg"])
        line = f"session{session}/{person:03}_0{session}\t{person:03}\tu0_l0_s0_c0_a0\n"
        (root / f"{split}.txt").write_text(line)


def _touch(root: Path, names: Iterable[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


LAYOUTS = {
    "tiny": _tiny, "table": _table, "mars": _mars, "ls_vid": _ls_vid, "ilids_vid": _ilids_vid,
    "prid": _prid, "mevid": _mevid, "ccvid": _ccvid,
}  # fmt: skip
