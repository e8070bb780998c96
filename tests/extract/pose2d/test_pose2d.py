import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from extract.engine import models
from extract.pose2d import plan as pose2d
from extract.pose2d import work
from extract.pose2d.estimator import Estimator
from pipeline import images, schema
from pipeline.errors import PipelineError
from pipeline.params.config import load
from pipeline.schema import Status
from tests.conftest import ROOT
from tests.stages import make


def run(**options):
    make("pose2d", "fake", **options)


def test_every_frame_gets_the_joints_that_the_model_finds_in_it_alone(project, tiny_weights):
    files = project.add(5) + project.add(3, split="query")
    run()
    rows = project.table("pose2d") + project.table("pose2d", "query")
    estimator = Estimator(tiny_weights / "pose2d.json", tiny_weights / "pose2d.safetensors")
    for row, file in zip(rows, files, strict=True):
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        xy, score = estimator([estimator.crop(image)], np.array([image.shape[1::-1]]))
        np.testing.assert_allclose(row["xy_px"], xy.ravel(), atol=1e-3)
        np.testing.assert_allclose(row["score"], score.ravel(), atol=1e-5)
        assert (row["width"], row["height"]) == image.shape[1::-1]
        assert row["path"] == str(file.relative_to(project.root))


@pytest.mark.parametrize("fast", [True, False], ids=["fast bfloat16", "no bfloat16"])
@pytest.mark.parametrize("tolerance_px", [np.inf, -1.0], ids=["joints stay", "joints move"])
def test_auto_takes_bfloat16_where_it_is_fast_and_moves_nothing(
    project, tiny_weights, monkeypatch, fast, tolerance_px
):
    monkeypatch.setattr(models, "fast_bfloat16", lambda device: fast)
    monkeypatch.setattr(work, "AUTO_TOLERANCE_PX", tolerance_px)
    files = project.add(2)
    project.knobs["pose2d"]["precision"] = "auto"
    project.set(project.knobs)
    run()
    expected = "bfloat16" if fast and tolerance_px > 0 else "float32"
    made = pq.read_schema(project.folder / "data/pose2d/fake/train-00000.parquet")
    assert schema.metadata(made)["precision"] == expected
    estimator = Estimator(tiny_weights / "pose2d.json", tiny_weights / "pose2d.safetensors")
    estimator.precision = expected
    frames = [images.read(file)[0] for file in files]
    sizes = np.array([frame.shape[1::-1] for frame in frames])
    xy, score = estimator([estimator.crop(frame) for frame in frames], sizes)
    rows = project.table("pose2d")
    np.testing.assert_array_equal([row["xy_px"] for row in rows], xy.reshape(2, -1))
    np.testing.assert_array_equal([row["score"] for row in rows], score)


def test_auto_is_float32_where_no_frame_can_be_read(project, monkeypatch):
    monkeypatch.setattr(models, "fast_bfloat16", lambda device: True)
    for file in project.add(1):
        file.write_bytes(b"")
    project.knobs["pose2d"]["precision"] = "auto"
    project.knobs["pose2d"]["max_bad_frames"] = 1.0
    project.set(project.knobs)
    run()
    made = pq.read_schema(project.folder / "data/pose2d/fake/train-00000.parquet")
    assert schema.metadata(made)["precision"] == "float32"


def test_the_default_run_extracts_in_float32_so_that_machines_agree():
    assert load(path=ROOT / "params.yaml").pose2d.precision == "float32"


def test_rows_are_sorted_and_count_frames_from_zero(project):
    for split, frames in (("train", 3), ("query", 1), ("train", 2)):
        project.add(frames, split)
    run()
    rows = project.table("pose2d")
    assert [(row["tracklet"], row["frame"], row["frame_number"]) for row in rows] == [
        ("t0000", 0, 1), ("t0000", 1, 2), ("t0000", 2, 3), ("t0002", 0, 1), ("t0002", 1, 2),
    ]  # fmt: skip
    assert len(project.table("pose2d", "query")) == 1


def spoil(files):
    """Replace frames by every kind of bad or odd file; return their expected status."""
    whole = files[0].read_bytes()
    rgb = cv2.imread(str(files[0]))
    grey = cv2.imencode(".jpg", rgb[..., 0])[1].tobytes()
    contents = [
        (whole[: len(whole) // 2], Status.UNREADABLE),
        (b"", Status.UNREADABLE),
        (None, Status.MISSING),
        (b"no image at all", Status.UNREADABLE),
        (cmyk(rgb), Status.OK),
        (grey, Status.OK),
        (cv2.imencode(".jpg", rgb[:1, :1])[1].tobytes(), Status.LOW_SCORE),
        (cv2.imencode(".png", rgb)[1].tobytes(), Status.OK),
        (cv2.imencode(".png", rgb)[1].tobytes()[:-40], Status.UNREADABLE),
    ]
    for file, (content, _) in zip(files, contents, strict=False):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
    return [status for _, status in contents]


def cmyk(rgb):
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.fromarray(rgb).convert("CMYK").save(out, "JPEG")
    return out.getvalue()


def test_bad_frames_keep_their_rows_and_nothing_shifts(project):
    files = project.add(12)
    run()
    before = project.table("pose2d")
    expected = spoil(files)
    project.knobs["pose2d"]["max_bad_frames"] = 0.5
    project.set(project.knobs)
    project.add(1)  # Another index: the tables are made anew.
    run()
    rows = project.table("pose2d")
    assert [row["status"] for row in rows[: len(expected)]] == expected
    for row in rows[: len(expected)]:
        is_bad = row["status"] in (Status.MISSING, Status.UNREADABLE)
        assert [row[key] is None for key in ("xy_px", "score", "width", "height")] == [is_bad] * 4
    for old, new in zip(before[9:], rows[9:12], strict=True):
        np.testing.assert_allclose(old.pop("xy_px"), new.pop("xy_px"), atol=1e-4)
        np.testing.assert_allclose(old.pop("score"), new.pop("score"), atol=1e-6)
        assert old == new


def test_too_many_bad_frames_are_an_error_with_the_list_and_are_read_again(project):
    files = project.add(50)
    saved = files[7].read_bytes()
    files[7].write_bytes(b"")
    files[9].write_bytes(b"")
    with pytest.raises(PipelineError, match=r"2 of 50 frames .*0007.jpg \(unreadable\)"):
        run()
    listing = (project.folder / "work/pose2d/fake/bad_frames.txt").read_text().splitlines()
    assert listing == ["unreadable\ttrain/0000/0007.jpg", "unreadable\ttrain/0000/0009.jpg"]
    assert not (project.folder / "data/pose2d/fake").exists()
    files[7].write_bytes(saved)
    files[9].write_bytes(saved)
    run()
    assert {row["status"] for row in project.table("pose2d")} == {Status.OK}


@pytest.mark.parametrize("said_by", ["params.yaml", "the estimator's own file"])
def test_frames_below_the_score_threshold_keep_their_joints(project, said_by):
    project.add(4)
    if said_by == "params.yaml":
        project.knobs["pose2d"]["min_score"] = 1.0
        project.set(project.knobs)
    else:
        spec = project.folder / "conf/weights/tiny.yaml"
        spec.write_text(spec.read_text().replace("min_score: 0.0", "min_score: 1.0"))
    run()
    rows = project.table("pose2d")
    assert {row["status"] for row in rows} == {Status.LOW_SCORE}
    assert all(row["xy_px"] is not None for row in rows)


def test_a_second_run_changes_nothing_and_other_knobs_or_weights_make_everything_anew(project):
    project.add(4)

    def made_at():
        return (project.folder / "data/pose2d/fake/train-00000.parquet").stat().st_mtime_ns

    run()
    first = made_at()
    run()
    assert made_at() == first
    project.knobs["pose2d"]["flip_test"] = True
    project.set(project.knobs)
    run()
    second = made_at()
    assert second != first
    weights = project.folder / "data/weights/tiny/pose2d.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    run()
    assert made_at() != second


def test_tables_that_lack_a_file_are_made_anew(project):
    project.add(2)
    project.add(3, split="query")
    run()
    made = project.hashes("pose2d")
    (project.folder / "data/pose2d/fake/query-00000.parquet").unlink()
    run()
    assert project.hashes("pose2d") == made


def test_a_trial_writes_to_its_own_folder(project):
    project.add(4)
    project.add(4)
    run(limit=1)
    assert not (project.folder / "data/pose2d").exists()
    assert (project.folder / "work/try/trial/data/pose2d/fake/train-00000.parquet").exists()


def test_a_plan_says_what_is_left_and_writes_nothing(project, capsys):
    project.add(4)
    make("pose2d", "fake", dry_run=True, quiet=False)
    assert "4 frames, 0 done, 4 left" in capsys.readouterr().out
    assert not (project.folder / "data/pose2d").exists()
    assert not (project.folder / "work").exists()


def test_a_long_tracklet_stays_whole(project):
    project.add(5000, files=7)
    project.add(1)
    run()
    rows = project.table("pose2d")
    assert [row["frame"] for row in rows] == [*range(5000), 0]
    assert rows[4991]["xy_px"] == rows[0]["xy_px"]


def test_missing_weights_name_the_command_that_makes_them(project):
    project.add(1)
    (project.folder / "data/weights/tiny/pose2d.safetensors").unlink()
    with pytest.raises(PipelineError, match="dvc repro weights@tiny"):
        run()


def test_a_frame_repaired_after_a_run_is_extracted_again(project):
    files = project.add(200)
    saved = files[7].read_bytes()
    files[7].write_bytes(b"")
    files[9].unlink()
    run()
    assert [project.table("pose2d")[i]["status"] for i in (7, 9)] == [
        Status.UNREADABLE,
        Status.MISSING,
    ]
    before = project.hashes("pose2d")
    run()
    assert project.hashes("pose2d") == before
    files[7].write_bytes(saved)
    run()
    rows = project.table("pose2d")
    assert (rows[7]["status"], rows[9]["status"]) == (Status.OK, Status.MISSING)
    assert rows[7]["xy_px"] is not None


def test_a_stopped_run_goes_on_with_the_chunks_whose_frames_are_as_they_were(project, monkeypatch):
    from extract.engine import cluster
    from extract.engine.chunks import ChunkStore

    first, second = project.add(600, files=20), project.add(600, files=20)
    made = []
    run_chunks = cluster.run

    def spy(client, name, chunks):
        for chunk in run_chunks(client, name, chunks):
            made.append(chunk.number)
            yield chunk

    monkeypatch.setattr(cluster, "run", spy)
    with monkeypatch.context() as stopped:
        stopped.setattr(ChunkStore, "publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    assert sorted(made) == [0, 1]
    second[3].write_bytes(first[0].read_bytes())
    made.clear()
    run()
    assert made == [1]
    rows = project.table("pose2d")
    np.testing.assert_allclose(rows[603]["xy_px"], rows[0]["xy_px"], atol=1e-3)


def test_a_chunk_sent_to_a_worker_holds_its_own_tracklets_only(project):
    import pickle

    from pipeline.stage import start

    for _ in range(40):
        project.add(100, files=1)
    job = pose2d.plan(start("pose2d", "fake"))
    sizes = [len(pickle.dumps(chunk)) for _, chunk in job.chunks]
    assert len(sizes) == 4
    assert max(sizes) < 0.3 * sum(sizes)
