import cv2
import numpy as np
import pytest

from extract.engine.spec import load
from extract.pose3d.keep import keep_seen
from extract.pose3d.lifter import Lifter
from extract.pose3d.normalise import normalise
from pipeline.errors import PipelineError
from pipeline.schema import Status
from tests.stages import make


def run(**options):
    make("pose2d", "fake", **options)
    make("pose3d", "fake")


def test_each_tracklet_is_lifted_as_a_whole_and_by_itself(project, tiny_weights):
    for frames in (30, 1, 300):
        project.add(frames)
    run()
    rows2d, rows3d = project.table("pose2d"), project.table("pose3d")
    place = load("tiny").lifter.input
    lifter = Lifter(tiny_weights / "pose3d.json", tiny_weights / "pose3d.safetensors", place)
    for a, b in ((0, 30), (30, 31), (31, 331)):
        xy = np.array([row["xy_px"] for row in rows2d[a:b]]).reshape(-1, 17, 2)
        score = np.array([row["score"] for row in rows2d[a:b]])
        (expected,) = lifter([normalise(xy, score, place.root_px, place.height_px)])
        xyz = np.array([row["xyz"] for row in rows3d[a:b]]).reshape(-1, 17, 3)
        np.testing.assert_allclose(xyz, expected, atol=1e-5)
        np.testing.assert_array_equal(xyz[:, 0], 0)
    keys = ("tracklet", "pid", "camid", "split", "frame", "frame_number", "status")
    for row2d, row3d in zip(rows2d, rows3d, strict=True):
        assert [row2d[key] for key in keys] == [row3d[key] for key in keys]


def test_what_was_seen_is_kept_where_the_dataset_is_named(project, tiny_weights):
    project.add(30)
    project.add(7)
    project.set(project.knobs)
    run()
    lifted = [np.array(row["xyz"]).reshape(17, 3) for row in project.table("pose3d")]
    project.knobs["pose3d"]["keep_2d"] = ["other", "fake"]
    project.set(project.knobs)
    make("pose3d", "fake")
    kept = np.array([row["xyz"] for row in project.table("pose3d")]).reshape(-1, 17, 3)
    rows, place = project.table("pose2d"), load("tiny").lifter.input
    for a, b in ((0, 30), (30, 37)):
        xy = np.array([row["xy_px"] for row in rows[a:b]]).reshape(-1, 17, 2)
        score = np.array([row["score"] for row in rows[a:b]])
        seen = normalise(xy, score, place.root_px, place.height_px)
        expected = keep_seen(np.stack(lifted[a:b]), *seen)
        np.testing.assert_allclose(kept[a:b], expected, atol=1e-5)
    assert np.abs(kept - lifted).max() > 1e-3


def test_another_dataset_that_keeps_what_was_seen_changes_nothing(project):
    project.add(4)
    run()
    path = project.folder / "data/pose3d/fake/train-00000.parquet"
    first = path.stat().st_mtime_ns
    project.knobs["pose3d"]["keep_2d"] = ["other"]
    project.set(project.knobs)
    make("pose3d", "fake")
    assert path.stat().st_mtime_ns == first


def test_gaps_are_bridged_flagged_and_too_long_ones_stay_empty(project):
    files = project.add(40)
    project.knobs["pose2d"]["max_bad_frames"] = 0.9
    project.knobs["pose3d"]["max_gap"] = 3
    project.set(project.knobs)
    for i in (0, 5, 6, 7, *range(20, 24), 39):
        files[i].unlink()
    run()
    rows = project.table("pose3d")
    bridged = [i for i, row in enumerate(rows) if row["interpolated"]]
    empty = [i for i, row in enumerate(rows) if row["xyz"] is None]
    assert bridged == [5, 6, 7]
    assert empty == [0, 20, 21, 22, 23, 39]
    assert {rows[i]["status"] for i in bridged + empty} == {Status.MISSING}


def test_a_tracklet_without_a_readable_frame_has_no_pose(project):
    project.add(60)
    for file in project.add(4):
        file.write_bytes(b"")
    project.knobs["pose2d"]["max_bad_frames"] = 0.5
    project.set(project.knobs)
    run()
    rows = project.table("pose3d")
    assert [row["xyz"] is None for row in rows] == [False] * 60 + [True] * 4


def test_new_joints_make_new_poses_and_a_second_run_makes_none(project):
    files = project.add(4)
    run()
    path = project.folder / "data/pose3d/fake/train-00000.parquet"
    first = path.stat().st_mtime_ns
    make("pose3d", "fake")
    assert path.stat().st_mtime_ns == first
    cv2.imwrite(str(files[0]), np.zeros((48, 20, 3), np.uint8))
    run()
    assert path.stat().st_mtime_ns != first


def test_a_trial_lifts_the_first_tracklets_of_all_splits(project):
    for split in ("gallery", "query", "train"):
        project.add(3, split)
    run()
    make("pose3d", "fake", limit=2)
    made = sorted(file.name for file in project.folder.glob("work/try/trial/data/pose3d/fake/*"))
    assert made == ["gallery-00000.parquet", "query-00000.parquet"]


def test_missing_joints_name_the_stage_that_makes_them(project):
    project.add(1)
    with pytest.raises(PipelineError, match="dvc repro pose2d@fake"):
        make("pose3d", "fake")
