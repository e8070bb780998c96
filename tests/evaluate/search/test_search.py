"""Searching ranks a gallery exactly, by whatever shows a person."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from evaluate.describe import Describer
from evaluate.search import __main__ as search
from evaluate.search.gallery import Entry, Gallery
from evaluate.search.query import from_folder, from_video
from pipeline.errors import PipelineError
from pipeline.files.tensors import read_safetensors
from pipeline.stage import Stage, start
from tests.conftest import ROOT
from tests.fake_extraction import Extracted, write_shards_of
from tests.models import publish
from tests.stages import make
from train.trained import Trained
from train.weights.checkpoint import load

PEOPLE = [
    (f"{pid:04}C{camera + 1}T0001", pid, camera, "query" if camera == 0 else "gallery", 11)
    for pid in range(1, 5)
    for camera in range(2)
]


@pytest.fixture
def stage(extracted: Callable[..., Extracted]) -> Stage:
    """A dataset whose test tracklets are embedded by an untrained model."""
    extracted(PEOPLE)
    write_shards_of()
    publish()
    make("embed", "fake")
    return start("search", "fake", ["runtime.workers=1"])


def folder_of(tracklet: str) -> Path:
    """Copy a tracklet's frames to a folder of their own."""
    folder = Path("photos") / tracklet
    folder.mkdir(parents=True)
    for file in Path("raw/fake").rglob(f"{tracklet}F*.jpg"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def video_of(folder: Path, at: tuple[int, int]) -> tuple[Path, Path]:
    """Show a folder's images in a lossless video, and write where."""
    file, boxes = Path("street.avi"), Path("walk.csv")
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"FFV1"), 15, (160, 120))
    assert writer.isOpened()
    lines = ["frame,x,y,width,height"]
    for i, image in enumerate(sorted(folder.iterdir())):
        scene = np.full((120, 160, 3), 90, np.uint8)
        crop = cv2.imread(str(image))
        scene[at[1] : at[1] + crop.shape[0], at[0] : at[0] + crop.shape[1]] = crop
        writer.write(scene)
        lines.append(f"{i},{at[0]},{at[1]},{crop.shape[1]},{crop.shape[0]}")
    writer.release()
    boxes.write_text("\n".join(lines))
    return file, boxes


@pytest.mark.parametrize("knob", ["frames=rrs", "frames=dense", "neck=before", "neck=after"])
def test_a_folder_of_a_tracklets_frames_has_the_tracklets_feature(stage: Stage, knob: str):
    override = f"embed.{knob}"
    make("embed", "fake", override)
    stage = start("search", "fake", [override])
    made = Describer.of_run(stage).describe(from_folder(folder_of("0002C2T0001")))
    entry = Gallery.of_run(stage).find("0002C2T0001")
    np.testing.assert_allclose(made / np.linalg.norm(made), entry.feature, atol=1e-5)


def test_a_video_with_boxes_has_the_same_frames_as_a_folder(stage: Stage):
    folder = folder_of("0003C1T0001")
    file, boxes = video_of(folder, (40, 20))
    crops, images = from_video(file, boxes), from_folder(folder)
    assert len(crops) == len(images) == 11
    # The colour model of the video rounds.
    for crop, image in zip(crops, images, strict=True):
        assert np.abs(crop.astype(int) - image).mean() < 3


def test_the_ranking_is_that_of_all_distances(stage: Stage):
    known = Gallery.of_run(stage)
    table = pq.read_table("data/features/fake.parquet")
    features = np.stack(table["feature"].to_numpy(zero_copy_only=False))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for i, name in enumerate(table["tracklet"].to_pylist()):
        expected = np.argsort(1 - unit @ unit[i], kind="stable")
        found = known.nearest(known.find(name), 5)
        assert [row for row, _ in found] == [row for row in expected if row != i][:5]


def test_a_tracklet_is_shown_with_its_ranking(stage: Stage, capsys):
    search.main("fake", "0001C1T0001", top=3)
    out = capsys.readouterr().out
    assert "0001C1T0001" in out
    assert len([line for line in out.splitlines() if "T0001" in line and "0." in line]) == 3
    assert "stage2.held_out=12" in out
    assert cv2.imread("work/search/0001C1T0001.png") is not None


def test_each_row_says_how_rarely_strangers_come_as_near(stage: Stage, capsys):
    file = Path("models/fake/stage2.safetensors")
    state, metadata = load(file)
    known = Gallery.of_run(stage)
    (_, first), (_, second), (_, third) = known.nearest(known.find("0001C1T0001"), 3)
    distances = [(second + third) / 2, second, (first + second) / 2]
    noted = {"shares": [0.5, 0.02, 0.01], "distances": distances}
    metadata["about"]["strangers"] = {"before": {}, "after": {"visual": noted}}
    save_file(state, file, {key: json.dumps(value) for key, value in metadata.items()})
    search.main("fake", "0001C1T0001", top=3)
    out = capsys.readouterr().out
    for words in ("less than 1 in 100", "1 in 50", "more than 1 in 2"):
        assert out.count(words) == 1
    assert "stage2.held_out" not in out
    # What was noted behind the necks says nothing of features before them.
    assert Trained.of(start("search", "fake", ["embed.neck=before"])).strangers is None


def test_a_renamed_tracklet_does_not_find_itself(stage: Stage, capsys):
    search.main("fake", "0001C1T0001", name="somebody", top=30)
    assert "0001C1T0001" not in capsys.readouterr().out


def test_attention_is_drawn_on_every_frame(stage: Stage):
    from evaluate import attention

    attention.main("fake", "0001C2T0001", frames=3, quiet=True)
    shown = cv2.imread("work/attention/0001C2T0001.png")
    assert shown.shape[1] == 3 * (2 * 32 + 4)
    heat = Describer.of_run(stage).resemblance(from_folder(folder_of("0001C2T0001")))
    assert heat.shape[0] == 11
    assert heat.shape[1] == 2 * heat.shape[2]
    assert np.abs(heat).max() <= 1 + 1e-5


def test_heat_lies_where_it_is_largest():
    from evaluate.attention import overlay

    heat = np.zeros((4, 2))
    heat[3, 1] = 5
    shown = overlay(np.zeros((64, 32, 3), np.uint8), heat).astype(int)
    warm = shown[..., 0] - shown[..., 2]
    y, x = np.unravel_index(warm.argmax(), warm.shape)
    assert y > 40
    assert x > 14


def test_a_gallery_of_ones_own_grows_and_is_searched(stage: Stage, capsys):
    mine = Path("mine.parquet")
    for tracklet in ("0001C2T0001", "0002C2T0001", "0003C2T0001"):
        folder = folder_of(tracklet)
        search.main("fake", str(folder), gallery=mine, add=True, pid=int(tracklet[:4]), quiet=True)
    assert pq.read_metadata(mine).num_rows == 3
    search.main("fake", "0002C2T0001", gallery=mine, name="again", top=1)
    assert "0002C2T0001" in capsys.readouterr().out.split("distance")[1].split("written")[0]
    assert pq.read_metadata(mine).num_rows == 3


def change_model() -> None:
    weights = Path("models/fake/stage2.safetensors")
    state, about = read_safetensors(weights, "")
    save_file(state, weights, about | {"trained": "again"})


def change_version() -> None:
    table = pq.read_table("mine.parquet")
    about = table.schema.metadata | {b"schema_version": b"99"}
    pq.write_table(table.replace_schema_metadata(about), "mine.parquet")


def break_file() -> None:
    Path("mine.parquet").write_bytes(b"PAR1, but not for long")


@pytest.mark.parametrize("add", [[], ["--add"]])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_model, "was filled by another model than is trained now"),
        (change_version, "has schema version 99, this program reads"),
        (break_file, "is not a readable Parquet file"),
        (lambda: shutil.copy("data/features/fake.parquet", "mine.parquet"), "it lacks jpeg"),
    ],
)
def test_a_gallery_that_cannot_be_compared_is_one_line(
    stage, command, project, spoil, message, add
):
    search.main("fake", "0001C1T0001", gallery=Path("mine.parquet"), add=True, quiet=True)
    spoil()
    before = Path("mine.parquet").read_bytes()
    arguments = ["--run", "fake", "--query", "0002C1T0001", "--gallery", "mine.parquet", *add]
    done = command("evaluate.search", *arguments, cwd=project)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert Path("mine.parquet").read_bytes() == before


def test_features_before_and_behind_the_necks_are_never_compared(stage: Stage):
    mine, folder = Path("mine.parquet"), str(folder_of("0001C2T0001"))
    search.main("fake", folder, gallery=mine, add=True, quiet=True)
    other = "after" if stage.params.embed.neck == "before" else "before"
    for gallery, message in ((mine, r"with another embed"), (None, r"made with embed\.neck")):
        with pytest.raises(PipelineError, match=message):
            search.main("fake", folder, [f"embed.neck={other}"], gallery=gallery, quiet=True)


BOTH = ["embed.descriptor=both", "embed.skeleton_weight=0.3"]


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (["embed.descriptor=skeleton"], "descriptor"),
        (["embed.descriptor=both", "embed.skeleton_weight=0.5"], "skeleton_weight"),
    ],
)
def test_features_described_in_another_way_are_never_compared(stage: Stage, other, name):
    mine = Path("mine.parquet")
    make("embed", "fake", *BOTH)
    search.main("fake", "0001C1T0001", BOTH, gallery=mine, add=True, quiet=True)
    with pytest.raises(PipelineError, match=rf"made with embed\.{name}=.*dvc repro embed"):
        search.main("fake", "0001C1T0001", other, quiet=True)
    make("embed", "fake", *other)
    with pytest.raises(PipelineError, match=r"with another embed\.descriptor, neck or"):
        search.main("fake", "0001C1T0001", other, gallery=mine, quiet=True)


def test_a_feature_of_another_length_is_one_line():
    known = gallery_of(np.eye(3, 8, dtype=np.float32))
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(PipelineError, match="the query has 9 numbers and the gallery 8"):
        known.add(Entry("new", feature=np.ones(9), frame=frame))


def test_a_gallery_is_whole_when_writing_it_fails(stage: Stage, monkeypatch):
    mine = Path("mine.parquet")
    search.main("fake", "0001C1T0001", gallery=mine, add=True, quiet=True)
    before = mine.read_bytes()

    def full(table, file, *_, **__):
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(PipelineError, match=r"mine.parquet cannot .* No space left"):
        search.main("fake", "0002C1T0001", gallery=mine, add=True, quiet=True)
    assert mine.read_bytes() == before
    assert [file.name for file in Path().glob("*mine*") if file.suffix != ".lock"] == [
        "mine.parquet"
    ]


def test_a_name_stands_for_one_tracklet(stage: Stage):
    for expected in (None, pytest.raises(PipelineError, match="Choose another --name")):
        arguments = {"gallery": Path("mine.parquet"), "add": True, "quiet": True}
        if expected is None:
            search.main("fake", "0001C1T0001", **arguments)
        else:
            with expected:
                search.main("fake", "0001C1T0001", **arguments)


ADDING = """
import sys
from pathlib import Path
from evaluate.search import __main__ as search
print("ready", flush=True)
sys.stdin.readline()
for i in range(10):
    name = f"{sys.argv[2]}{i}"
    search.main("fake", "0001C1T0001", gallery=Path(sys.argv[1]), add=True, name=name)
"""


def test_two_projects_that_add_to_one_gallery_at_once_lose_nothing(stage: Stage, project: Path):
    other = shutil.copytree(project, project.parent / f"{project.name}-other")
    shared = project.parent / f"{project.name}-shared.parquet"
    (other / "mine.parquet").symlink_to(shared)
    script = ["-c", ADDING]
    both = [
        subprocess.Popen(
            [sys.executable, *script, str(gallery), name], cwd=folder, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for folder, gallery, name in ((project, shared, "a"), (other, "mine.parquet", "b"))
    ]  # fmt: skip
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    found = pq.read_table(shared, columns=["tracklet"])["tracklet"].to_pylist()
    assert sorted(found) == sorted(f"{name}{i}" for name in "ab" for i in range(10))
    assert (other / "mine.parquet").is_symlink()


def test_a_name_that_looks_like_a_path_stays_in_the_folder(stage: Stage):
    search.main("fake", "0001C1T0001", name="../../../out/../x", quiet=True)
    found = [file.name for file in Path("work/search").iterdir()]
    assert found == ["%2E.%2F..%2F..%2Fout%2F..%2Fx.png"]


def test_a_gallery_that_is_a_pipe_is_one_line(stage: Stage):
    os.mkfifo("mine.parquet")
    for add in (False, True):
        with pytest.raises(PipelineError, match="is a device, pipe or socket, no file"):
            search.main("fake", "0001C1T0001", gallery=Path("mine.parquet"), add=add, quiet=True)


def gallery_of(features: np.ndarray) -> Gallery:
    table = pa.table(
        {
            "tracklet": [f"{i:05}" for i in range(len(features))],
            "feature": pa.FixedSizeListArray.from_arrays(features.ravel(), features.shape[1]),
        }
    )
    return Gallery(table, "", None)


def test_nearest_of_a_large_gallery_are_exact():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10_000, 64)).astype(np.float32)
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    query = rng.normal(size=64)
    expected = np.argsort(1 - unit @ (query / np.linalg.norm(query)), kind="stable")[:20]
    found = gallery_of(features).nearest(Entry("new", feature=query), 20)
    assert [row for row, _ in found] == expected.tolist()


@given(st.lists(st.integers(0, 7), min_size=1, max_size=60), st.integers(0, 7), st.integers(1, 70))
def test_of_equally_near_tracklets_the_first_by_name_come_first(kinds, query, count):
    # Vectors of length one whose products are exact, many of them equal.
    signs = 1 - 2 * ((np.arange(8)[:, None] >> np.arange(3)) & 1)
    vectors = np.concatenate([0.5 * signs, np.full((8, 1), 0.5)], axis=1).astype(np.float32)
    known = gallery_of(vectors[kinds])
    expected = np.argsort(1 - vectors[kinds] @ vectors[query], kind="stable")[:count]
    found = known.nearest(Entry("new", feature=vectors[query]), count)
    assert [row for row, _ in found] == expected.tolist()
    turned = Gallery(known.table.take(np.arange(len(kinds))[::-1]), "", None)
    again = turned.nearest(Entry("new", feature=vectors[query]), count)
    assert [(len(kinds) - 1 - row, distance) for row, distance in again] == found


def no_video() -> None:
    # FFmpeg takes the beginning for a video, and complains in words of its own.
    Path("a.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\4\0mdat" + b"no" * 900)
    Path("walk.csv").write_text("frame,x,y,width,height\n0,0,0,5,5\n")


def box_outside() -> None:
    _, boxes = video_of(folder_of("0003C1T0001"), (40, 20))
    boxes.write_text("frame,x,y,width,height\n0,500,10,20,20\n")


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda: None, ["0001C1T0009"], "neither a file nor a test tracklet. Did you mean"),
        (lambda: None, ["photos/nobody"], "photos/nobody does not exist"),
        (lambda: Path("empty").mkdir(), ["empty"], "empty holds no images"),
        (lambda: Path("a.mp4").write_bytes(b"no"), ["a.mp4"], "say where the person is: --boxes"),
        (lambda: None, ["0001C1T0001", "--add"], "Give --gallery FILE.parquet"),
        (no_video, ["a.mp4", "--boxes", "walk.csv"], "a.mp4 does not decode as a video"),
        (box_outside, ["street.avi", "--boxes", "walk.csv"], "walk.csv:2: box 500,10,20,20 lies"),
    ],
)
def test_a_wrong_request_is_one_line(stage, command, project, prepare, arguments, message):
    prepare()
    query, *options = arguments
    done = command("evaluate.search", "--run", "fake", "--query", query, *options, cwd=project)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_images_of_a_folder_come_in_natural_order(tmp_path: Path):
    for i in range(1, 13):
        Image.new("RGB", (4, 4), (20 * i,) * 3).save(tmp_path / f"frame_{i}.png")
    assert [frame[0, 0, 0] for frame in from_folder(tmp_path)] == [20 * i for i in range(1, 13)]


def test_an_image_that_does_not_decode_is_named(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(PipelineError, match=r"a.jpg does not decode as an image"):
        from_folder(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,500,10,20,20", r"walk.csv:13: box 500,10,20,20 lies outside the 160 x 120 frame"),
        ("0,-40,10,20,20", "lies outside"),
        ("3,10,10,0,20", "lies outside"),
        ("99,1,1,9,9", r"frame 99 is asked for, but street.avi ends after 11"),
        ("1,2,3", "header (is )?frame,x,y,width,height"),
        ("a,1,1,9,9", "expected numbers"),
        ("nan,1,1,9,9", "expected numbers"),
        ("1,1,1,inf,9", "expected numbers"),
    ],
)
def test_wrong_boxes_are_named(extracted, line: str, message: str):
    extracted(PEOPLE)
    file, boxes = video_of(folder_of("0003C1T0001"), (40, 20))
    boxes.write_text(f"{boxes.read_text()}\n{line}\n")
    with pytest.raises(PipelineError, match=message):
        from_video(file, boxes)


def test_a_box_over_the_edge_is_cut_off(extracted):
    extracted(PEOPLE)
    file, boxes = video_of(folder_of("0003C1T0001"), (40, 20))
    boxes.write_text("frame,x,y,width,height\n2,-10,100,30,60\n")
    assert from_video(file, boxes)[0].shape == (20, 20, 3)


def test_a_file_that_is_no_video_is_an_error(tmp_path: Path):
    (tmp_path / "walk.csv").write_text("frame,x,y,width,height\n0,0,0,5,5\n")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(PipelineError, match=r"a.mp4 does not decode as a video"):
        from_video(tmp_path / "a.mp4", tmp_path / "walk.csv")
