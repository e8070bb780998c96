"""Joints go to other projects and come back without losing a bit."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import PipelineError
from pipeline.schema import Status
from shards import convert
from shards.convert import Direction, Kind
from tests.fake_extraction import Extracted, write_shards_of

PEOPLE = [
    ("0001C1T0001", 1, 0, "train", 7),
    ("0002C2T0001", 2, 1, "train", 1),
    ("0009C1T0001", 9, 0, "query", 5),
]
BAD = {1: Status.MISSING, 2: Status.UNREADABLE, 3: Status.LOW_SCORE}
POSE3D = Path("data/pose3d/fake")


def joints() -> list[dict]:
    return [row for file in sorted(POSE3D.glob("*")) for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def made(extracted: Callable[..., Extracted]) -> Extracted:
    made = extracted(PEOPLE, BAD)
    for frame in made.frames:
        if frame["xyz"]:
            frame["xyz"][:3] = [0.0, 0.0, 0.0]
    made.frames[6] |= {"status": int(Status.LOW_SCORE), "interpolated": True}
    made.write_pose()
    return made


def send(kind: Kind = Kind.CSIP) -> None:
    convert.main(Direction.EXPORT, Path("other"), "fake", kind, quiet=True)


def take(kind: Kind = Kind.CSIP) -> None:
    convert.main(Direction.IMPORT, Path("other"), "fake", kind, quiet=True)


def test_json_and_back_is_exact(made: Extracted):
    before = joints()
    send()
    for file in POSE3D.glob("*"):
        file.unlink()
    take()
    assert joints() == before


def test_every_frame_has_a_file_that_other_code_can_read(made: Extracted):
    send()
    for frame in made.frames:
        file = Path("other/skeleton_3d_hmr2.0") / Path(frame["path"]).with_suffix(".json")
        # What the public CSIP-ReID code does with a file.
        keypoints = np.array(json.loads(file.read_text())["keypoints"], dtype=np.float32)
        expected = frame["xyz"] or np.zeros(51)
        assert np.array_equal(keypoints, np.reshape(expected, (17, 3)).astype(np.float32))


def test_numpy_and_back_keeps_the_joints(made: Extracted):
    before = joints()
    send(Kind.NPY)
    assert np.load("other/0001C1T0001.npy").shape == (7, 17, 3)
    take(Kind.NPY)
    after = joints()
    assert [row["xyz"] for row in after] == [row["xyz"] for row in before]
    assert [row["tracklet"] for row in after] == [row["tracklet"] for row in before]


def test_foreign_joints_are_centred_and_failures_are_marked(made: Extracted, capsys):
    folder = Path("other/skeleton_3d_hmr2.0/train")
    folder.mkdir(parents=True)
    person = np.random.default_rng(0).normal(size=(17, 3)).astype(np.float32) + 5
    for i, points in enumerate([person, np.zeros((17, 3)), person]):
        text = json.dumps({"keypoints": points.tolist(), "camera": [1, 2, 3]})
        (folder / f"0001C1T0001F00{i}.json").write_text(text)
    take()
    assert "warning: 11 of 13 frames have no joints in other" in capsys.readouterr().err
    rows = [row for row in joints() if row["tracklet"] == "0001C1T0001"]
    assert np.array_equal(np.reshape(rows[0]["xyz"], (17, 3)), person - person[0])
    statuses = [Status.OK, Status.LOW_SCORE, Status.OK, *[Status.LOW_SCORE] * 4]
    assert [row["status"] for row in rows] == statuses
    assert rows[1]["xyz"] is None


def test_imported_joints_go_into_shards_and_frames_stay(made: Extracted):
    send()
    Path("other/skeleton_3d_hmr2.0/train/0001C1T0001F000.json").unlink()
    take()
    write_shards_of()
    train = pq.read_table("data/shards/fake/train-00000.parquet").to_pylist()
    assert train[0]["status"] == Status.LOW_SCORE
    assert train[0]["xyz"] is None
    assert train[0]["jpeg"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"keypoints": [[1, 2, 3]]}', '{"keypoints": [["a"]]}']
)
def test_a_broken_file_is_named(made: Extracted, text: str):
    send()
    Path("other/skeleton_3d_hmr2.0/train/0001C1T0001F004.json").write_text(text)
    with pytest.raises(PipelineError, match=r"F004.json (does not hold|is not a readable JSON)"):
        take()
    assert len(joints()) == 13


def test_joints_of_another_length_are_named(made: Extracted):
    send(Kind.NPY)
    np.save("other/0001C1T0001.npy", np.zeros((6, 17, 3)))
    with pytest.raises(PipelineError, match=r"has shape \(6, 17, 3\); the index has 7 frames"):
        take(Kind.NPY)


def test_a_folder_of_something_else_is_refused(made: Extracted):
    Path("other").mkdir()
    with pytest.raises(PipelineError, match="holds joints of none of 13 frames"):
        take()
    with pytest.raises(PipelineError, match="is no folder"):
        convert.main(Direction.IMPORT, Path("nowhere"), "fake", quiet=True)


def test_opengait_gets_joints_of_the_frames_that_have_some(made: Extracted):
    made.frames[12]["pid"] = 0
    made.write_pose()
    convert.main(Direction.EXPORT, Path("gait"), "fake", Kind.OPENGAIT, quiet=True)
    found = {file.relative_to("gait").as_posix(): file for file in Path("gait").rglob("*.pkl")}
    names = ["0001/camera0/0001C1T0001", "0009/camera0/0009C1T0001"]
    assert sorted(found) == [f"{name}/{Path(name).name}.pkl" for name in names]
    for name, first, last in zip(names, (5, 0), (12, 5), strict=True):
        data = found[f"{name}/{Path(name).name}.pkl"].read_bytes()
        # NumPy before 2, which OpenGait is run with, has no module of the other name.
        assert b"numpy._core" not in data
        points = pickle.loads(data)
        own = [frame for frame in made.frames[first:last] if frame["xy_px"]]
        assert points.shape == (len(own), 17, 3)
        assert points.dtype == np.float32
        for one, frame in zip(points, own, strict=True):
            assert one[:, :2].ravel().tolist() == frame["xy_px"]
            assert one[:, 2].tolist() == frame["score"]
    # Two of five are missing and unreadable.
    assert len(points) == 3
    assert json.loads(Path("gait/fake.json").read_text()) == {
        "TRAIN_SET": ["0001"],
        "TEST_SET": ["0009"],
        "PROBE_SET": ["0009-camera0-0009C1T0001"],
    }


def test_pickles_of_others_are_not_read(made: Extracted):
    convert.main(Direction.EXPORT, Path("gait"), "fake", Kind.OPENGAIT, quiet=True)
    with pytest.raises(PipelineError, match="pickles are not read: they run what stands in them"):
        convert.main(Direction.IMPORT, Path("gait"), "fake", Kind.OPENGAIT, quiet=True)
