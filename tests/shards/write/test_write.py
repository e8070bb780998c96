"""Shards hold what the index, the frames and both pose tables say, whatever happens."""

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.errors import PipelineError
from pipeline.images import decode
from pipeline.lock import locked
from pipeline.schema import Status
from shards.read import Shards
from tests.fake_extraction import ROOT, Extracted, write_shards_of
from tests.kills import kill_at

PEOPLE = [
    ("0002C2T0001", 2, 1, "train", 7),
    ("0002C1T0001", 2, 0, "train", 300),
    ("0001C1T0001", 1, 0, "train", 1),
    ("0009C1T0001", 9, 0, "query", 5),
    ("0009C2T0001", 9, 1, "gallery", 40),
]


def write(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "shards.write", "--dataset", "fake", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def contents(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
    }


def rows(folder: Path) -> list[dict]:
    files = sorted(folder.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_every_frame_has_its_own_joints_and_bytes(extracted: Callable[..., Extracted]):
    bad = {3: Status.MISSING, 4: Status.UNREADABLE, 50: Status.LOW_SCORE}
    made = extracted(PEOPLE, bad, split_at=10)
    done = write()
    assert done.returncode == 0, done.stderr
    found = rows(Path("data/shards/fake"))
    assert len(found) == len(made.frames) == 353
    for row, frame in zip(found, made.frames, strict=True):
        file = Path("raw/fake") / frame["path"]
        frameless = frame["status"] in (Status.MISSING, Status.UNREADABLE)
        expected = frame | {"jpeg": None if frameless else file.read_bytes()}
        expected |= dict.fromkeys((*schema.VIEW, "silhouette"))
        assert row == expected


def test_a_file_says_what_made_it(extracted: Callable[..., Extracted]):
    extracted(PEOPLE)
    assert write().returncode == 0
    file = Path("data/shards/fake/train-00000.parquet")
    found = schema.metadata(schema.check(file, schema.SHARD, ""))
    assert (found["dataset"], found["split"]) == ("fake", "train")
    assert (found["layout2d"], found["layout3d"]) == ("coco17", "h36m17")
    assert (found["pose2d.model"], found["pose3d.weights_sha256"]) == ("tiny", "def")


def test_a_tracklet_never_crosses_a_file_and_row_groups_stay_small(
    extracted: Callable[..., Extracted],
):
    extracted([(f"{i:04}C1T0001", i, 0, "train", 150) for i in range(1, 26)])
    assert write("shards.shard_mb=1").returncode == 0
    files = sorted(Path("work/try/trial/data/shards/fake").glob("*.parquet"))
    assert len(files) > 1
    seen: set[str] = set()
    for file in files:
        names = set(pq.read_table(file, columns=["tracklet"])["tracklet"].to_pylist())
        assert not names & seen
        seen |= names
        footer = pq.ParquetFile(file).metadata
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        assert max(group.num_rows for group in groups) <= schema.ROW_GROUP_FRAMES
        columns = [groups[0].column(i) for i in range(groups[0].num_columns)]
        (jpeg,) = [column for column in columns if column.path_in_schema == "jpeg"]
        assert (jpeg.compression, jpeg.has_dictionary_page) == ("UNCOMPRESSED", False)
        assert file.stat().st_size < 1.1 * 2**20
    assert len(seen) == 25


@pytest.mark.slow
def test_a_killed_run_continues_and_ends_with_the_same_bytes(
    extracted: Callable[..., Extracted], project: Path
):
    extracted([(f"{i:04}C1T0001", i, 0, "train", 150) for i in range(1, 161)])
    assert write("shards.shard_mb=1").returncode == 0
    out = project / "work/try/trial/data/shards/fake"
    undisturbed = contents(out)
    shutil.rmtree(out)
    work = project / "work/try/trial" / "work/shards/fake"
    for finished in (1, 3, 6):
        run = subprocess.Popen(
            [sys.executable, "-m", "shards.write", "-d", "fake", "shards.shard_mb=1"],
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        while len(list(work.glob("*/output/*.parquet"))) < finished and run.poll() is None:
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert not out.exists()
    kept = {file.name: file.stat().st_ino for file in work.glob("*/output/*.parquet")}
    assert write("shards.shard_mb=1").returncode == 0
    assert contents(out) == undisturbed
    assert {name: (out / name).stat().st_ino for name in kept} == kept


@pytest.mark.slow
@pytest.mark.parametrize("by_dvc", [True, False], ids=["output removed", "output kept"])
def test_a_run_killed_at_any_step_ends_with_the_same_bytes(extracted, project, tmp_path, by_dvc):
    extracted([(f"{split}C{i}T1", i, 0, split, 4) for split in ("query", "train") for i in (1, 2)])
    undisturbed = shutil.copytree(project, tmp_path.parent / f"{tmp_path.name}-undisturbed")
    out = Path("data/shards/fake")
    assert not kill_at(0, undisturbed, "shards", "fake")
    for step in itertools.count(1):
        folder = shutil.copytree(project, tmp_path.parent / f"{tmp_path.name}-step{step}")
        if not kill_at(step, folder, "shards", "fake"):
            break
        if by_dvc:
            shutil.rmtree(folder / out, ignore_errors=True)
        assert not kill_at(0, folder, "shards", "fake")
        assert contents(folder / out) == contents(undisturbed / out)
        shutil.rmtree(folder)
    assert step > 8


def test_a_second_run_writes_nothing_and_changed_joints_write_anew(
    extracted: Callable[..., Extracted],
):
    made = extracted(PEOPLE)
    assert write().returncode == 0
    before = {file: file.stat().st_mtime_ns for file in Path("data/shards/fake").iterdir()}
    assert "is up to date" in write().stdout
    assert {file: file.stat().st_mtime_ns for file in before} == before
    made.frames[0]["score"] = [0.5] * 17
    made.write_pose()
    assert write().returncode == 0
    assert rows(Path("data/shards/fake"))[0]["score"] == [0.5] * 17


def test_two_runs_at_once_refuse_each_other(extracted: Callable[..., Extracted]):
    extracted(PEOPLE)
    with locked(Path("data/shards/fake")):
        done = write()
    assert done.returncode == 1
    assert "is being made by another run" in done.stderr


def test_paths_can_stand_in_for_frames(extracted: Callable[..., Extracted]):
    extracted(PEOPLE)
    assert write("shards.embed_frames=false").returncode == 0
    assert all(row["jpeg"] is None for row in rows(Path("work/try/trial/data/shards/fake")))


def test_a_limited_run_takes_the_first_tracklets_and_leaves_the_real_ones(
    extracted: Callable[..., Extracted],
):
    extracted(PEOPLE)
    assert write("--limit", "2").returncode == 0
    found = rows(Path("work/try/trial/data/shards/fake"))
    assert {row["tracklet"] for row in found} == {"0009C2T0001", "0009C1T0001"}
    assert not Path("data/shards").exists()


def test_a_dry_run_writes_nothing(extracted: Callable[..., Extracted]):
    extracted(PEOPLE)
    done = write("--dry-run")
    assert done.returncode == 0
    assert "308" in done.stdout
    assert not Path("data/shards").exists()


def test_joints_of_another_index_are_refused(extracted: Callable[..., Extracted]):
    made = extracted(PEOPLE)
    # The last ones: what is left is whole, and shorter than the index says.
    made.frames = [frame for frame in made.frames if frame["frame"] < 6]
    made.write_pose()
    done = write()
    assert done.returncode == 1
    assert done.stderr.startswith("error: data/pose2d/fake: expected 40 frames of tracklet")
    assert done.stderr.count("\n") == 1


def test_a_vanished_frame_is_named(extracted: Callable[..., Extracted]):
    made = extracted(PEOPLE)
    file = Path("raw/fake") / made.frames[8]["path"]
    file.unlink()
    done = write()
    assert done.returncode == 1
    assert str(file) in done.stderr


@pytest.mark.parametrize("kept", [0, 0.5], ids=["emptied", "cut off"])
def test_a_frame_spoilt_after_its_joints_were_found_is_unreadable(extracted, capsys, kept):
    made = extracted(PEOPLE)
    file = Path("raw/fake") / made.frames[8]["path"]
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    write_shards_of()
    assert (
        f"1 frames were spoilt after their joints were found, as {file}" in capsys.readouterr().err
    )
    found = rows(Path("data/shards/fake"))
    expected = [Status.UNREADABLE if i == 8 else Status.OK for i in range(len(made.frames))]
    assert [row["status"] for row in found] == expected
    for row in found:
        assert (row["jpeg"] is None) == (row["status"] == Status.UNREADABLE)
    shards = Shards(Path("data/shards/fake"))
    for jpeg, status in zip(shards.jpeg(range(len(shards))), shards.status, strict=True):
        assert (status == Status.UNREADABLE) if jpeg is None else decode(jpeg).size


def test_joints_survive_as_the_same_floats(extracted: Callable[..., Extracted]):
    made = extracted(PEOPLE)
    assert write().returncode == 0
    table = pq.read_table("data/shards/fake/train-00000.parquet", columns=["xyz"])
    expected = [frame["xyz"] for frame in made.frames if frame["split"] == "train"]
    found = table["xyz"].combine_chunks().flatten().to_numpy()
    assert np.array_equal(found, np.array(expected, np.float32).ravel())


def test_true_joints_replace_lifted_ones_as_seen_along_the_ray(extracted: Callable[..., Extracted]):
    made = extracted(PEOPLE)
    refused = write("shards.skeletons=truth")
    assert refused.returncode == 1
    assert "only rendered people have known joints" in refused.stderr
    rng = np.random.default_rng(1)
    # The first person stands straight ahead: nothing is turned. The rest of the truth is missing.
    known = [frame for frame in made.frames if frame["pid"] == 2][::-1]
    xyz = rng.normal(size=(len(known), 51)).astype(np.float32)
    columns = {
        "path": [frame["path"] for frame in known],
        "xyz": pa.FixedSizeListArray.from_arrays(xyz.ravel(), 51),
        "root": pa.FixedSizeListArray.from_arrays([0.0, 0.0, 4.0] * len(known), 3),
    }
    pq.write_table(pa.table(columns), made.folder / "raw/fake/truth.parquet")
    done = write("shards.skeletons=truth")
    assert done.returncode == 0, done.stderr
    found = {row["path"]: row["xyz"] for row in rows(Path("work/try/trial/data/shards/fake"))}
    for frame, expected in zip(known, xyz, strict=True):
        np.testing.assert_allclose(found[frame["path"]], expected, rtol=1e-5)
    assert all(found[frame["path"]] is None for frame in made.frames if frame["pid"] != 2)


def test_how_a_tracklet_was_seen_and_silhouettes_reach_whoever_reads(extracted, project):
    made = extracted(PEOPLE)
    view = {
        "clothes": 4, "spectrum": "infrared", "platform": "aerial", "altitude_m": 30.0,
        "distance_m": 45.5, "angle_deg": 60.0,
    }  # fmt: skip
    made.index[0] |= view
    file = project / "data/index/fake.parquet"
    pq.write_table(pa.Table.from_pylist(made.index, pq.read_schema(file)), file)
    first, second = made.frames[0]["path"], made.frames[1]["path"]
    black = cv2.imencode(".png", np.zeros((64, 32), np.uint8))[1].tobytes()
    known = pa.table({"path": [second, first], "silhouette": [b"other", black]})
    pq.write_table(known, project / "raw/fake/silhouettes.parquet")
    write_shards_of()
    shards = Shards(project / "data/shards/fake")
    seen = shards.tracklets.set_index("tracklet")[list(schema.VIEW)]
    assert seen.loc[made.index[0]["tracklet"]].to_dict() == view
    assert seen.drop(made.index[0]["tracklet"]).isna().all(axis=None)
    assert shards.has_silhouettes
    paths = shards.paths().to_pylist()
    rows = [paths.index(first), paths.index(second), paths.index(made.frames[2]["path"])]
    assert shards.silhouettes(rows) == [black, b"other", None]


def test_a_file_of_silhouettes_that_is_none_is_one_line(extracted, project):
    extracted(PEOPLE[:1])
    (project / "raw/fake/silhouettes.parquet").write_bytes(b"nothing")
    with pytest.raises(PipelineError, match=r"silhouettes.parquet (is not a readable|is no)"):
        write_shards_of()
