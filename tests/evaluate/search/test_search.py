"""Searching ranks a gallery exactly, by whatever shows a person."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import save_file

from evaluate.describe import Describer
from evaluate.search import __main__ as search
from evaluate.search.gallery import Gallery
from evaluate.search.query import from_folder, from_video
from pipeline.errors import PipelineError
from pipeline.stage import Stage, start
from tests.evaluate.search.conftest import PEOPLE, folder_of
from tests.stages import make
from train.trained import Trained
from train.weights.checkpoint import load


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
