"""What a worker does for pose2d: read the frames of a chunk, find their joints, make a table."""

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from extract import tables
from extract.engine.frames import STAMP, FrameFiles
from pipeline import images, schema
from pipeline.errors import PipelineError
from pipeline.files import texts
from pipeline.paths import below
from pipeline.schema import Status

if TYPE_CHECKING:
    from extract.pose2d.estimator import Estimator
    from pipeline.params.knobs import Pose2dParams

_AGAIN = "Delete it and run the same command again"
AUTO_TOLERANCE_PX = 1.0
DECODE_THREADS = 8


@dataclass(frozen=True)
class Pose2dWork:
    """All a worker needs to know; it loads the model itself.

    Attributes:
        config: The MMPose config.
        checkpoint: Its weights.
        root: The dataset's folder.
        sample: Frames on which `precision: auto` is decided.
        decision: File that holds the decision, so that every worker and every run follows it.
        device: As in params.yaml.
        batch_frames: Frames per forward pass.
        compiled: Whether to run torch.compile.
        knobs: The section of params.yaml.
        min_score: Mean joint score below which a frame is marked.
    """

    config: Path
    checkpoint: Path
    root: Path
    sample: tuple[Path, ...]
    decision: Path
    device: str
    batch_frames: int
    compiled: bool
    knobs: "Pose2dParams"
    min_score: float

    def load(self, rank: int, threads: int) -> Callable[[pa.Table], pa.Table]:
        """Build the model on this worker's device and return the function for chunks."""
        import cv2

        from extract.engine import models
        from extract.pose2d.estimator import Estimator

        models.keep_memory()
        models.set_threads(threads)
        cv2.setNumThreads(0)
        device = models.pick_device(self.device, rank)
        estimator = Estimator(
            self.config, self.checkpoint, device, self.knobs.flip_test, self.compiled
        )
        estimator.precision = self._precision(estimator)
        readers = DECODE_THREADS if device.startswith("cuda") else 1
        pool = ThreadPoolExecutor(readers)
        return lambda tracklets: self._extract(estimator, pool, tracklets)

    def _precision(self, estimator: "Estimator") -> str:
        if self.knobs.precision != "auto":
            decided = {"precision": self.knobs.precision, "why": "params.yaml says so"}
        elif self.decision.exists() and (known := _known(self.decision)):
            return known
        else:
            decided = _decide(estimator, self.sample)
        return _agree(self.decision, decided)

    def _extract(
        self, estimator: "Estimator", pool: ThreadPoolExecutor, tracklets: pa.Table
    ) -> pa.Table:
        """Find the joints of whole tracklets, rows of the index."""
        stamp = FrameFiles(self.root).stamp(tracklets)
        keys = tables.explode(tracklets)
        found = Found(len(keys))
        files = [below(self.root, name) for name in keys["path"].to_pylist()]
        batch: list[tuple[int, np.ndarray]] = []
        for i, frame in enumerate(_ahead(pool, _reader(estimator), files, 2 * self.batch_frames)):
            crop, found.size[i], found.status[i] = frame
            if crop is not None:
                batch.append((i, crop))
            if len(batch) == self.batch_frames:
                found.fill(estimator, batch)
                batch = []
        if batch:
            found.fill(estimator, batch)
        return found.table(keys, self.min_score).replace_schema_metadata({STAMP: stamp})


class Found:
    """What is known about the `N` frames of a chunk."""

    def __init__(self, frames: int) -> None:
        """Know nothing yet."""
        self.size = np.zeros((frames, 2), np.int16)
        self.status = np.zeros(frames, np.int8)
        self.xy = np.zeros((frames, 17, 2), np.float32)
        self.score = np.zeros((frames, 17), np.float32)

    def fill(self, estimator: "Estimator", batch: list[tuple[int, np.ndarray]]) -> None:
        """Find the joints of a batch: rows of this chunk with their crops."""
        rows = [i for i, _ in batch]
        self.xy[rows], self.score[rows] = estimator([crop for _, crop in batch], self.size[rows])

    def table(self, keys: pa.Table, min_score: float) -> pa.Table:
        """Return it as rows of pose2d; a frame that scores below `min_score` is marked.

        One in which nothing is to be seen is marked already, whatever it scores.
        """
        low = (self.status == Status.OK) & (self.score.mean(axis=1) < min_score)
        self.status[low] = Status.LOW_SCORE
        bad = (self.status == Status.MISSING) | (self.status == Status.UNREADABLE)
        columns = {
            "width": pa.array(self.size[:, 0], mask=bad),
            "height": pa.array(self.size[:, 1], mask=bad),
            "xy_px": tables.fixed_lists(self.xy, bad),
            "score": tables.fixed_lists(self.score, bad),
            "status": pa.array(self.status),
        }
        return tables.assemble(schema.POSE2D, keys, columns)


def _reader(
    estimator: "Estimator",
) -> Callable[[Path], tuple[np.ndarray | None, tuple[int, int], Status]]:
    def read(path: Path) -> tuple[np.ndarray | None, tuple[int, int], Status]:
        image, status = images.read(path)
        if image is None:
            return None, (0, 0), status
        if images.is_blank(image):
            status = Status.LOW_SCORE
        return estimator.crop(image), image.shape[1::-1], status

    return read


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[Path], Any], paths: list[Path], depth: int
) -> Iterator[Any]:
    """Yield what `read` returns for each path, read in threads up to `depth` paths ahead."""
    waiting: deque = deque()
    for path in paths:
        waiting.append(pool.submit(read, path))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _decide(estimator: "Estimator", sample: tuple[Path, ...]) -> dict[str, object]:
    """Choose bfloat16 where the device is fast in it and joints of real frames hardly move."""
    from extract.engine import models

    if not models.fast_bfloat16(estimator.device):
        return {"precision": "float32", "why": "the device has no bfloat16 arithmetic"}
    frames = [image for image in (images.read(path)[0] for path in sample) if image is not None]
    if not frames:
        return {"precision": "float32", "why": "no frame could be read to compare"}
    crops = [estimator.crop(image) for image in frames]
    sizes = np.array([image.shape[1::-1] for image in frames])
    exact, _ = estimator(crops, sizes)
    estimator.precision = "bfloat16"
    rounded, _ = estimator(crops, sizes)
    moved_px = float(np.quantile(np.linalg.norm(exact - rounded, axis=-1), 0.99))
    chosen = "bfloat16" if moved_px <= AUTO_TOLERANCE_PX else "float32"
    return {"precision": chosen, "why": f"bfloat16 moves 1 % of joints by {moved_px:.2f} px"}


def _known(file: Path) -> str | None:
    """Return the precision that was decided on; a damaged file is removed, and decided anew."""
    try:
        return precision_of(file)
    except PipelineError:
        file.unlink(missing_ok=True)
        return None


def _agree(file: Path, decided: dict[str, object]) -> str:
    """Write the decision unless another worker was first, and return the one that holds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    mine = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    mine.write_text(json.dumps(decided))
    try:
        os.link(mine, file)
    except FileExistsError:
        pass
    finally:
        mine.unlink()
    return precision_of(file)


def precision_of(file: Path) -> str:
    """Return the precision that was decided on."""
    found = texts.mapping(file, texts.read_json(file, _AGAIN), _AGAIN)
    if found.get("precision") not in ("float32", "bfloat16"):
        raise PipelineError(f"{file} does not say which precision was decided on. {_AGAIN}")
    return found["precision"]
