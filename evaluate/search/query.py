"""Frames of a person that is in no dataset: from a folder of images, or from boxes in a video."""

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from extract.tracklets import IMAGES
from pipeline import paths
from pipeline.errors import PipelineError
from shards.read import decode

if TYPE_CHECKING:
    from pipeline.cli import Stage

BOX_COLUMNS = ("frame", "x", "y", "width", "height")
BATCH_CLIPS = 8


def from_folder(folder: Path) -> list[np.ndarray]:
    """Return the images of a folder in the order of their names, `(H, W, 3)` RGB each.

    Raises:
        PipelineError: If there are none, or one does not decode.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES)
    if not files:
        raise PipelineError(f"{folder} holds no images ({', '.join(IMAGES)})")
    images = []
    for file in files:
        try:
            images.append(decode(file.read_bytes()))
        except PipelineError:
            raise PipelineError(f"{file} does not decode as an image. Remove it") from None
    return images


def from_video(file: Path, boxes: Path) -> list[np.ndarray]:
    """Cut a person out of a video.

    Args:
        file: Anything OpenCV reads.
        boxes: CSV with a header `frame,x,y,width,height`: frame numbers from 0, pixels from the
            upper left corner. A box that reaches over the edge is cut off there.

    Returns:
        A crop per box, in the order of the frames.

    Raises:
        PipelineError: If the video does not decode, has too few frames, or a box lies outside.
    """
    wanted = _read_boxes(boxes)
    # FFmpeg would complain on the terminal in its own words; -8 is its "quiet".
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    video = cv2.VideoCapture(str(file))
    crops: list[np.ndarray] = []
    number = 0
    try:
        while len(crops) < len(wanted):
            # Seeking is not exact with every codec; decoding in order is.
            is_read, image = video.read()
            if not is_read:
                break
            while len(crops) < len(wanted) and wanted[len(crops)][0] == number:
                line, box = wanted[len(crops)][1:]
                crops.append(_crop(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), box, boxes, line))
            number += 1
    finally:
        video.release()
    if not number:
        raise PipelineError(f"{file} does not decode as a video")
    if len(crops) < len(wanted):
        raise PipelineError(
            f"{boxes}: frame {wanted[len(crops)][0]} is asked for, but {file} ends after {number}"
        )
    return crops


def _read_boxes(file: Path) -> list[tuple[int, int, tuple[float, ...]]]:
    """Return frame number, line and box, sorted by frame."""
    try:
        with file.open(newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{file} cannot be read ({error})") from None
    found = []
    for line, row in enumerate(rows, start=2):
        try:
            frame, *box = (float(row[name]) for name in BOX_COLUMNS)
            if not np.isfinite([frame, *box]).all():
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise PipelineError(
                f"{file}:{line}: expected numbers under the header {','.join(BOX_COLUMNS)}"
            ) from None
        found.append((int(frame), line, tuple(box)))
    if not found:
        raise PipelineError(f"{file} holds no boxes. Its header is {','.join(BOX_COLUMNS)}")
    return sorted(found)


def _crop(image: np.ndarray, box: tuple[float, ...], file: Path, line: int) -> np.ndarray:
    height, width = image.shape[:2]
    x, y, w, h = box
    left, right = max(0, round(x)), min(width, round(x + w))
    top, bottom = max(0, round(y)), min(height, round(y + h))
    if right <= left or bottom <= top:
        raise PipelineError(
            f"{file}:{line}: box {x:g},{y:g},{w:g},{h:g} lies outside the {width} x {height} frame"
        )
    return image[top:bottom, left:right]


class Embedder:
    """A dataset's trained model, describing frames from anywhere.

    Attributes:
        weights: Its file.
        model: On the device, in evaluation mode.
        clip_frames: Frames of a clip.
        size: Height and width of a frame in pixels.
    """

    def __init__(self, stage: "Stage") -> None:
        """Load the model of stage 2.

        Raises:
            PipelineError: If it is not trained yet, or looks at skeletons instead of frames.
        """
        import torch

        from train.registry import MODELS
        from train.run.processes import choose_device
        from train.stage2 import configure
        from train.weights.checkpoint import load, load_part

        choose_device(stage.params.runtime.device)
        self.weights = paths.stage2_file(stage.dataset)
        if not self.weights.exists():
            raise PipelineError(f"{self.weights} is missing. Run: {stage.rebuild('stage2')}")
        if stage.params.modality != "visual":
            raise PipelineError(
                "the model looks at skeletons, and new frames have none. "
                "Make a dataset of them (docs/own_videos.md)"
            )
        state, metadata = load(self.weights)
        config = configure(stage)
        config["model"]["classes"] = metadata["about"]["classes"]
        data = config["train_dataloader"]["dataset"]
        self.clip_frames, self.size = data["clip_frames"], tuple(data["image_size"])
        self._is_dense = stage.params.embed.frames == "dense"
        model = MODELS.build(config["model"])
        load_part(model, state, "", self.weights)
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def feature(self, frames: list[np.ndarray]) -> np.ndarray:
        """Return the feature `(C,)` of a tracklet, made as `evaluate.embed` makes it."""
        import torch

        from train.data.clips import chunked, split_dense

        rows = np.arange(len(frames))
        parts = split_dense(rows, self.clip_frames) if self._is_dense else [rows]
        clips = torch.stack([self._clip(frames, chunked(part, self.clip_frames)) for part in parts])
        with torch.no_grad():
            made = [
                self.model.test_step({"inputs": self._inputs(part)}).float().cpu().numpy()
                for part in clips.split(BATCH_CLIPS)
            ]
        weights = [len(part) for part in parts]
        return np.average(np.concatenate(made), axis=0, weights=weights).astype(np.float32)

    def resemblance(self, frames: list[np.ndarray]) -> np.ndarray:
        """Return how much each place of each frame resembles its class token, `(N, h, w)`.

        It is the cosine between tokens of the visual encoder. Where the class token is the mean of
        the others, as in a convolutional encoder, that is how much a place adds to it.
        """
        import torch
        import torch.nn.functional as F

        clip = self._clip(frames, np.arange(len(frames)))[None]
        with torch.no_grad():
            inputs = self.model.data_preprocessor({"inputs": self._inputs(clip)})["inputs"]
            tokens = F.normalize(self.model.frame_tokens(inputs)[0][0].float(), dim=-1)
        cosine = (tokens[:, 1:] @ tokens[:, :1].mT)[..., 0].cpu().numpy()
        rows = round((cosine.shape[1] * self.size[0] / self.size[1]) ** 0.5)
        return cosine.reshape(len(frames), rows, -1)

    def _clip(self, frames: list[np.ndarray], rows: np.ndarray) -> Any:
        import torch

        resized = [
            frame
            if frame.shape[:2] == self.size
            else cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_AREA)
            for frame in (frames[row] for row in rows)
        ]
        return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()

    def _inputs(self, clips: Any) -> dict[str, Any]:
        import torch

        count, length = clips.shape[:2]
        return {
            "frames": clips,
            "frame_mask": torch.ones(count, length, dtype=torch.bool),
            "camids": torch.zeros(count, dtype=torch.int64),
        }
