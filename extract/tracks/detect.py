"""Find people in the frames of a video with a published detector; goes on where a run was killed.

Detectors are files of conf/weights/ with a `detector`: models of torchvision, or folders that
transformers reads (RT-DETR, D-FINE and their like), an extra: docs/own_videos.md.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extract.tracks.boxes import Box
from extract.tracks.video import Looks, Video
from pipeline import console, paths
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files.arrays import read_npy

if TYPE_CHECKING:
    from extract.engine.spec import DetectorSpec, Spec

# BGR frames to a row of x, y, width, height and score for each person of each frame.
Find = Callable[[list[np.ndarray]], list[np.ndarray]]

# Part of the fingerprint of what was found: raise it when the same weights find other boxes.
VERSION = 1
# Boxes that are less sure help nobody; a tracker joins unsure ones to what it knows.
_MIN_SCORE = 0.2
_CHUNK, _BATCH = 64, 4


def detect(video: Video, looks: Looks, name: str, device: str = "auto") -> list[Box]:
    """Return the boxes of people in those frames of a video that are looked at.

    Args:
        video: The video.
        looks: Which frames.
        name: A file of conf/weights/.
        device: Where the detector runs.

    Raises:
        PipelineError: If there is no such detector, or its weights are missing.
    """
    from extract.engine import spec as specs

    spec = specs.load(name)
    part = _detector(spec)
    folder = _folder(video, looks, spec, part)
    whole = folder / "whole.txt"
    if _drop_damaged(folder):
        whole.unlink(missing_ok=True)
    if not whole.exists():
        end = _run(video, looks, folder, build(spec, device))
        with paths.write_atomic(whole) as temporary:
            temporary.write_text(str(end))
    rows = [row for file in _chunks(folder) for row in _read(file).tolist()]
    return [
        Box(int(frame), "", *xywh, score, "", f"{video.path}: frame {int(frame)}")
        for frame, *xywh, score in rows
    ]


def _detector(spec: "Spec") -> "DetectorSpec":
    from extract.engine import spec as specs

    if spec.detector is None:
        files = (file.stem for file in sorted(specs.FOLDER.glob("*.yaml")))
        known = [name for name in files if specs.load(name).detector]
        raise PipelineError(f"{spec.file} has no detector. {did_you_mean(spec.name, known)}")
    return spec.detector


def _folder(video: Video, looks: Looks, spec: "Spec", part: "DetectorSpec") -> Path:
    """Return where what is found in a video is kept.

    Raises:
        PipelineError: If the weights are missing.
    """
    from pipeline.code.fingerprint import fingerprint

    weights = paths.weights_dir(spec.name) / part.checkpoint
    if not weights.is_file():
        raise PipelineError(
            f"{weights} is missing. Run: python -m extract.weights --model {spec.name}; offline, "
            "put that file there by hand, or give --boxes from elsewhere"
        )
    made_of = fingerprint(
        weights, *([] if video.is_folder else [video.path]),
        pictures=video.stats(), every=looks.every, limit=looks.limit, version=VERSION,
        model=part.model,
    )  # fmt: skip
    return paths.work_dir("detections", video.camera, made_of)


def _run(video: Video, looks: Looks, folder: Path, find: Find) -> int:
    """Look at all chunks of frames that are not there yet; return how many frames there are."""
    total = min(looks.limit or video.told_frames, video.told_frames) or looks.limit
    number, waiting = -1, []
    with console.progress(total, "frames", "detector") as meter:
        for number, image in video.frames(_Missing(looks, folder)):
            if looks.limit and number >= looks.limit:
                break
            if image is not None:
                waiting.append((number, image))
            if number % _CHUNK == _CHUNK - 1:
                _write(_chunk(folder, number), waiting, find)
                waiting = []
            meter.advance(1)
    if waiting:
        _write(_chunk(folder, waiting[-1][0]), waiting, find)
    return number + 1


class _Missing:
    """The frames to look at of chunks that are not there yet."""

    def __init__(self, looks: Looks, folder: Path) -> None:
        self._looks, self._folder = looks, folder
        self._known: dict[int, bool] = {}

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, int)
        if number not in self._looks:
            return False
        chunk = number // _CHUNK
        if chunk not in self._known:
            self._known[chunk] = _chunk(self._folder, number).exists()
        return not self._known[chunk]


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number // _CHUNK:06d}.npy"


def _chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob("chunk-*.npy"))


def _read(file: Path) -> np.ndarray:
    """Return the rows of a chunk, `(n, 6)`: frame, x, y, width, height and score.

    Raises:
        PipelineError: If it is damaged.
    """
    fix = "Remove it, and run the same command again"
    found = read_npy(file, fix)
    if found.ndim != 2 or found.shape[1] != 6 or not np.isfinite(found).all():
        raise PipelineError(f"{file} holds no boxes of people. {fix}")
    return found


def _drop_damaged(folder: Path) -> bool:
    """Remove chunks of unfinished work that cannot be read; return whether there were any."""
    found = False
    for file in _chunks(folder):
        try:
            _read(file)
        except PipelineError:
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
            found = True
    return found


def _write(file: Path, frames: list[tuple[int, np.ndarray]], find: Find) -> None:
    if file.exists() and not frames:
        return
    rows = [np.empty((0, 6), np.float32)]
    for start in range(0, len(frames), _BATCH):
        batch = frames[start : start + _BATCH]
        found = find([image for _, image in batch])
        for (number, _), boxes in zip(batch, found, strict=True):
            rows.append(np.insert(boxes, 0, number, axis=1).astype(np.float32))
    with paths.write_atomic(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, np.concatenate(rows))


def build(spec: "Spec", device: str) -> Find:
    """Return a detector of conf/weights/, ready to run."""
    from extract.engine.models import pick_device

    part = _detector(spec)
    device = pick_device(device)
    if part.model == "transformers":
        return _of_transformers(paths.weights_dir(spec.name), device)
    return _of_torchvision(part, paths.weights_dir(spec.name) / part.checkpoint, device)


def _of_torchvision(part: "DetectorSpec", checkpoint: Path, device: str) -> Find:
    """Return a detector of torchvision, whose person is class 1."""
    import torch
    from torchvision.models import detection, get_model, list_models

    from extract.engine.models import read_state

    known = list_models(detection)
    if part.model not in known:
        hint = did_you_mean(part.model, known)
        raise PipelineError(f"{part.model} is no detector of torchvision. {hint}")
    model = get_model(part.model, weights=None, weights_backbone=None)
    try:
        model.load_state_dict(read_state(checkpoint))
    except RuntimeError:
        raise PipelineError(f"{checkpoint} does not hold the weights of {part.model}") from None
    model = model.to(device).eval()

    def find(images: list[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            tensors = [_tensor(image).to(device) for image in images]
            return [
                _rows(one["boxes"], one["scores"], one["labels"] == 1) for one in model(tensors)
            ]

    return find


def _of_transformers(folder: Path, device: str) -> Find:
    """Return a detector that transformers reads from a folder; its person is called so."""
    import torch

    try:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection
    except ModuleNotFoundError:
        raise PipelineError(
            "transformers is not installed. Run: python -m pip install transformers==5.24.0"
        ) from None
    model = AutoModelForObjectDetection.from_pretrained(folder, local_files_only=True)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    model = model.to(device).eval()
    people = {number for number, name in model.config.id2label.items() if name == "person"}
    if not people:
        raise PipelineError(f"{folder} holds a detector that knows no person")

    def find(images: list[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            rgb = [np.ascontiguousarray(image[..., ::-1]) for image in images]
            output = model(**processor(images=rgb, return_tensors="pt").to(device))
            sizes = [image.shape[:2] for image in images]
            found = processor.post_process_object_detection(output, _MIN_SCORE, sizes)
            return [
                _rows(one["boxes"], one["scores"], sum(one["labels"] == p for p in people) > 0)
                for one in found
            ]

    return find


def _tensor(image: np.ndarray) -> Any:
    import torch

    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(rgb).float().div_(255)


def _rows(xyxy: Any, scores: Any, is_person: Any) -> np.ndarray:
    """Return `(n, 5)` x, y, width, height and score of the people that are sure enough."""
    kept = is_person & (scores >= _MIN_SCORE)
    boxes = xyxy[kept].float().cpu().numpy()
    size = boxes[:, 2:] - boxes[:, :2]
    rows = np.concatenate([boxes[:, :2], size, scores[kept].float().cpu().numpy()[:, None]], 1)
    return rows[(size > 0).all(1)]
