"""Pictures of shards: contact sheets, moving walks, histograms of quality."""

import io
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import PipelineError
from pipeline.names import camera_name
from pipeline.schema import Status
from shards import draw, quality
from shards.quality import Truth
from shards.read import Shards

ZOOM = 2
WALK_FPS = 15
# Height of every frame and figure of a sheet; a crop of 256 x 128 comes out at twice its size.
CELL = (512, 256)
# Lifters give metres; the figure of a two-metre person still fits.
SPAN_M = 2.1


def spread(rows: np.ndarray, number: int) -> np.ndarray:
    """Pick `number` rows at even distances, first and last among them."""
    return rows[
        np.unique(np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(int))
    ]


def span_of(xyz: np.ndarray) -> float:
    """Return how much of space a figure has to show for some skeletons `(F, J, 3)`.

    It is that of a tall person in metres; skeletons that are much larger or smaller are not in
    metres, and get what they fill.
    """
    extent = np.ptp(xyz[..., 1], axis=-1)
    height = float(np.nanmedian(extent)) if np.isfinite(extent).any() else 0.0
    return SPAN_M if 0.5 < height < SPAN_M or not height else 1.35 * height


def contact_sheet(
    shards: Shards, position: int, frames: int = 8, truth: Truth | None = None
) -> bytes:
    """Return a PNG of some frames of a tracklet with their skeletons below, from two views."""
    rows = shards.rows(position)
    span = span_of(shards.xyz[rows])
    rows = spread(rows, frames)
    columns = list(zip(*(_cells(shards, row, span, truth) for row in rows), strict=True))
    one = shards.tracklets.iloc[position]
    camera = camera_name(shards.cameras, one.camid)
    title = (
        f"{one.tracklet}   person {one.pid}   camera {camera}   {one.split}   "
        f"{one.length} frames   orange left, blue right   joints: red 0, green 1"
    )
    picture = draw.tiled(columns)
    heading = draw.blank((28, max(picture.shape[1], 9 * len(title))))
    heading = draw.labelled(heading, title)
    return draw.png(draw.tiled([[heading], [picture]], gap=0))


def gif(shards: Shards, position: int, truth: Truth | None = None) -> bytes:
    """Return a moving GIF of a tracklet: frame, front view and side view beside each other."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in _walk(shards, position, truth)]
    out = io.BytesIO()
    images[0].save(
        out, "GIF", save_all=True, append_images=images[1:], duration=1000 // WALK_FPS, loop=0
    )
    return out.getvalue()


def write_mp4(shards: Shards, position: int, file: Path, truth: Truth | None = None) -> None:
    """Write the walk of `gif` as MP4.

    Raises:
        PipelineError: If this OpenCV cannot write MP4.
    """
    pictures = _walk(shards, position, truth)
    height, width = pictures[0].shape[:2]
    # OpenCV takes the container from the suffix, which a temporary file does not have.
    named = file.with_suffix(".mp4")
    writer = cv2.VideoWriter(
        str(named), cv2.VideoWriter.fourcc(*"mp4v"), WALK_FPS, (width // 2 * 2, height // 2 * 2)
    )
    if not writer.isOpened():
        raise PipelineError("this OpenCV cannot write MP4. Use --walk for a GIF")
    for picture in pictures:
        even = picture[: height // 2 * 2, : width // 2 * 2]
        writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
    writer.release()
    named.replace(file)


def _walk(shards: Shards, position: int, truth: Truth | None) -> list[np.ndarray]:
    rows = shards.rows(position)
    span = span_of(shards.xyz[rows])
    return [draw.tiled([_cells(shards, row, span, truth)]) for row in rows]


def _cells(shards: Shards, row: int, span: float, truth: Truth | None) -> list[np.ndarray]:
    """Draw one frame: with 2D joints, and its 3D joints from two views."""
    status = Status(int(shards.status[row]))
    caption = f"frame {shards.frame_number[row]}"
    if status != Status.OK:
        caption += f"  {status.name.lower().replace('_', ' ')}"
    elif shards.interpolated[row]:
        caption += "  interpolated"
    xyz, xyz_truth = shards.xyz[row], None if truth is None else truth.xyz[row]
    return [
        draw.captioned(draw.fitted(skeleton_on_frame(shards, row, truth), CELL), caption),
        *(
            draw.captioned(draw.figure(xyz, view, CELL, span, xyz_truth, shards.layout), name)
            for view, name in (("front", "3D, from the camera"), ("side", "3D, from its left"))
        ),
    ]


def skeleton_on_frame(shards: Shards, row: int, truth: Truth | None = None) -> np.ndarray:
    """Return a frame, enlarged, with its 2D joints; a word where there is no frame."""
    (jpeg,) = shards.jpeg([row])
    if jpeg is None:
        word = Status(int(shards.status[row])).name.lower() if shards.has_frames else "no frames"
        return draw.blank(CELL, word)
    frame = shards.decoded(row, jpeg)
    picture = draw.on_frame(frame, shards.xy_px[row], shards.score[row], ZOOM)
    if truth is None:
        return picture
    lines = draw.on_frame(np.zeros_like(frame), truth.xy_px[row], None, ZOOM)
    return np.maximum(picture, lines)


def whole_bins(counts: np.ndarray, number: int = 30) -> np.ndarray:
    """Return edges of about `number` bins that each hold equally many whole numbers.

    >>> whole_bins(np.array([8, 10]))
    array([ 7.5,  8.5,  9.5, 10.5])
    """
    low, high = int(counts.min()), int(counts.max())
    step = max(1, round((high - low) / number))
    return np.arange(low, high + step + 1, step) - 0.5


def quality_png(shards: Shards) -> bytes:
    """Return histograms: lengths, scores, bone stability, bad frames by camera."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    (lengths, scores), (bones, cameras) = figure.subplots(2, 2)
    lengths.hist(
        shards.tracklets["length"],
        bins=whole_bins(shards.tracklets["length"].to_numpy()),
        color="#4a7fb5",
    )
    lengths.set(title="Frames per tracklet", xlabel="frames", ylabel="tracklets")
    seen = shards.score[np.isfinite(shards.score)]
    scores.hist(seen, bins=np.linspace(0, 1, 41), color="#4a7fb5")
    scores.set(title="Scores of 2D joints", xlabel="score", ylabel="joints")
    stability = quality.bone_stability(shards)
    bones.barh(list(stability), [100 * value for value in stability.values()], color="#d98032")
    bones.invert_yaxis()
    bones.tick_params(axis="y", labelsize=7)
    bones.set(title="Variation of 3D bone lengths within a person", xlabel="%, median of persons")
    bad = quality.bad_by_camera(shards)
    cameras.bar(
        [camera_name(shards.cameras, c) for c in bad],
        [100 * share for share in bad.values()],
        color="#b5504a",
    )
    top = max(1.0, *(110 * share for share in bad.values()))
    cameras.set(title="Bad frames", xlabel="camera", ylabel="%", ylim=(0, top))
    if not any(bad.values()):
        middle = {"ha": "center", "va": "center", "transform": cameras.transAxes}
        cameras.text(0.5, 0.5, "no bad frames", **middle)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
