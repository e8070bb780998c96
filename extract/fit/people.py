"""People to fit pose models to: rendered into memory, and in no dataset."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extract.walkers.processes import each
from pipeline import console, images

# The first number of their generators. Those of the dataset are its seed, 0 and upwards.
_SEED = 20_261_121


@dataclass(frozen=True)
class Sampling:
    """Which clips make up a set.

    Attributes:
        name: What progress calls it.
        key: Second number of the generators: sets with different keys share no person or camera.
        cameras: Number of cameras; the clips are shared out among them.
        clips: Number of clips, each of another person.
        frames: Shortest and longest clip.
        apart: Smallest and largest distance between frames, at 15 per second.
        wide: Whether the cameras stand at any height and distance, or as those of the dataset.
    """

    name: str
    key: int
    cameras: int
    clips: int
    frames: tuple[int, int]
    apart: tuple[int, int] = (1, 1)
    wide: bool = True


@dataclass(frozen=True)
class Clips:
    """Frames of many clips, one after the other: `N` frames in all.

    Attributes:
        crops: What the estimator sees, `(N, H, W, 3)` uint8 BGR.
        xy_px: COCO-17 joints in pixels of the frames, `(N, 17, 2)`.
        visibility: 2 seen, 1 behind the own body, 0 hidden or outside, `(N, 17)`.
        xyz: H36M-17 joints in metres, camera axes, pelvis at the origin, `(N, 17, 3)`.
        root: Position of the pelvis in camera axes, `(N, 3)`.
        ends: Number of frames up to the end of each clip.
    """

    crops: np.ndarray
    xy_px: np.ndarray
    visibility: np.ndarray
    xyz: np.ndarray
    root: np.ndarray
    ends: np.ndarray

    def clips(self) -> list[slice]:
        """Return the frames of each clip."""
        starts = np.concatenate([[0], self.ends[:-1]])
        return [slice(a, b) for a, b in zip(starts.tolist(), self.ends.tolist(), strict=True)]


def render(sampling: Sampling, matrix: np.ndarray, size: tuple[int, int], workers: int) -> Clips:
    """Render a set of clips.

    Args:
        sampling: Which.
        matrix: Affine map `(2, 3)` from the frame to the estimator's input.
        size: Width and height of that input.
        workers: Number of processes; 0 renders in this one.
    """
    jobs = [(sampling, camera, matrix, size) for camera in range(sampling.cameras)]
    parts: dict[int, Clips] = {}
    with console.progress(sampling.clips, "clips", f"render {sampling.name}") as meter:
        for camera, part in each(_camera, jobs, workers):
            parts[camera] = part
            meter.advance(len(part.ends))
    return _joined([parts[camera] for camera in sorted(parts)])


def camera_heights(sampling: Sampling) -> np.ndarray:
    """Return how high the camera of each clip of `render` stands, in metres, `(clips,)`."""
    from extract.walkers.camera import Camera

    heights = []
    for camera in range(sampling.cameras):
        rng = np.random.default_rng((_SEED, sampling.key, 0, camera))
        height = Camera.sample(rng, sampling.wide).position[2]
        heights += [height] * len(range(camera, sampling.clips, sampling.cameras))
    return np.array(heights)


def walk(sampling: Sampling) -> Clips:
    """Return clips of joints alone, each before a camera of its own: without crops, and all seen.

    They cost a hundredth of rendered ones.

    Args:
        sampling: Which; `cameras` does not count.
    """
    from extract.walkers.camera import Camera
    from extract.walkers.clip import SEEN, pose_only
    from extract.walkers.person import distractor

    parts = []
    for index in range(sampling.clips):
        rng = np.random.default_rng([_SEED, sampling.key, 2, index])
        camera = Camera.sample(rng, sampling.wide)
        numbers = _numbers(sampling, rng)
        xy_px, xyz, root = pose_only(distractor(rng), camera, numbers, rng)
        seen, ends = np.full(xy_px.shape[:2], SEEN, np.int8), np.array([len(numbers)])
        parts.append(Clips(np.empty((len(numbers), 0), np.uint8), xy_px, seen, xyz, root, ends))
    return _joined(parts)


def _numbers(sampling: Sampling, rng: np.random.Generator) -> np.ndarray:
    """Draw the frame numbers of a clip, at 15 per second, `(T,)`."""
    steps = rng.integers(sampling.apart[0], sampling.apart[1] + 1, sampling.frames[1])
    length = rng.integers(sampling.frames[0], sampling.frames[1] + 1)
    return np.cumsum(steps)[:length]


def _joined(parts: list[Clips]) -> Clips:
    names = ("crops", "xy_px", "visibility", "xyz", "root")
    arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    lengths = np.concatenate([np.diff(part.ends, prepend=0) for part in parts])
    return Clips(*arrays, np.cumsum(lengths))


def _camera(sampling: Sampling, camera: int, matrix: np.ndarray, size: tuple[int, int]) -> Clips:
    """Render the clips of one camera."""
    import cv2

    from extract.walkers.clip import film
    from extract.walkers.frame import scene
    from extract.walkers.person import distractor

    cv2.setNumThreads(1)
    where = scene(_SEED, sampling.key, 0, camera, wide=sampling.wide)
    crops, filmed = [], []
    for index in range(camera, sampling.clips, sampling.cameras):
        rng = np.random.default_rng([_SEED, sampling.key, 1, index])
        numbers = _numbers(sampling, rng)
        clip = film(distractor(rng), where, numbers, rng)
        filmed.append(clip)
        for jpeg in clip.jpegs:
            crop = cv2.warpAffine(images.decode(jpeg), matrix, size, flags=cv2.INTER_LINEAR)
            crops.append(crop[..., ::-1])
    names = ("xy_px", "visibility", "xyz", "root")
    arrays = [np.concatenate([getattr(clip, name) for clip in filmed]) for name in names]
    ends = np.cumsum([len(clip.jpegs) for clip in filmed])
    return Clips(np.stack(crops), *arrays, ends)


def shuffled(
    items: int, batch: int, batches: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield `batches` index arrays `(batch,)`; every item comes once before any comes again."""
    made = 0
    while made < batches:
        order = rng.permutation(items)
        for start in range(0, items - batch + 1, batch):
            if made < batches:
                yield order[start : start + batch]
                made += 1


def input_map(config: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the affine map from a walker's frame to an estimator's input, and the input's size.

    Args:
        config: The estimator's MMPose config.
    """
    from extract.engine.models import read_config
    from extract.walkers.frame import CROP_HEIGHT, CROP_WIDTH

    steps = {step["type"]: step for step in read_config(config).val_pipeline}
    from mmpose.structures.bbox import get_warp_matrix

    size = tuple(steps["TopdownAffine"]["input_size"])
    extent = np.array([CROP_WIDTH, CROP_HEIGHT]) * steps["GetBBoxCenterScale"]["padding"]
    centre = np.array([CROP_WIDTH, CROP_HEIGHT]) / 2
    return get_warp_matrix(centre, extent, 0.0, output_size=size), size
