"""What a worker does for pose3d: read the 2D joints of a chunk, lift them, make a table."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from extract import tables
from extract.pose3d import gaps
from extract.pose3d.keep import keep_seen
from extract.pose3d.normalise import normalise
from pipeline import schema
from pipeline.files.tables import TableFile
from pipeline.schema import Status

if TYPE_CHECKING:
    from extract.engine.spec import LifterInput
    from extract.pose3d.lifter import Lifter
    from pipeline.params.knobs import Pose3dParams


@dataclass(frozen=True)
class Rows:
    """Whole tracklets in a file of pose2d.

    Attributes:
        file: The file.
        first: Its first row of them.
        count: How many rows.
        rebuild: The command that makes the file again.
    """

    file: Path
    first: int
    count: int
    rebuild: str

    def read(self) -> pa.Table:
        """Read them, and no more of the file than the row groups they lie in."""
        with TableFile(self.file, f"Run: {self.rebuild}") as file:
            ends = file.ends
            a, b = np.searchsorted(ends, [self.first, self.first + self.count - 1], side="right")
            table = file.groups(range(a, b + 1))
        return table.slice(self.first - (ends[a - 1] if a else 0), self.count)


@dataclass(frozen=True)
class Pose3dWork:
    """All a worker needs to know; it loads the model itself.

    Attributes:
        config: The lifter's config.
        checkpoint: Its weights.
        place: Where in the image it wants a person to stand.
        device: Where to run.
        knobs: Of the stage; `keep_2d` is empty unless it names the dataset at work.
    """

    config: Path
    checkpoint: Path
    place: "LifterInput"
    device: str
    knobs: "Pose3dParams"

    def load(self, rank: int, threads: int) -> Callable[[Rows], pa.Table]:
        """Build the model on this worker's device and return the function for chunks."""
        from extract.engine import models
        from extract.pose3d.lifter import Lifter

        models.keep_memory()
        models.set_threads(threads)
        device = models.pick_device(self.device, rank)
        lifter = Lifter(self.config, self.checkpoint, self.place, device, self.knobs.flip_test)
        return lambda rows: self._lift(lifter, rows.read())

    def _lift(self, lifter: "Lifter", poses: pa.Table) -> pa.Table:
        xy, score = tables.to_numpy(poses, "xy_px", (17, 2)), tables.to_numpy(poses, "score", (17,))
        valid = poses["status"].to_numpy() == Status.OK
        xyz = np.zeros((len(poses), 17, 3), np.float32)
        used, interpolated = valid.copy(), np.zeros(len(poses), bool)
        runs, inputs = [], []
        for a, b in _tracklets(poses):
            filled, filled_score, interpolated[a:b] = gaps.bridge(
                xy[a:b], score[a:b], valid[a:b], self.knobs.max_gap
            )
            used[a:b] |= interpolated[a:b]
            if not used[a:b].any():
                continue
            placed = normalise(filled, filled_score, self.place.root_px, self.place.height_px)
            for first, end in gaps.runs(used[a:b]):
                runs.append((a + first, a + end))
                inputs.append(tuple(part[first:end] for part in placed))
        if inputs:
            for (a, b), lifted, seen in zip(runs, lifter(inputs), inputs, strict=True):
                pose = keep_seen(lifted, *seen) if self.knobs.keep_2d else lifted
                xyz[a:b] = gaps.smooth(pose, self.knobs.smooth)
        columns = {
            "xyz": tables.fixed_lists(xyz, ~used),
            "interpolated": pa.array(interpolated),
            "status": poses["status"],
        }
        return tables.assemble(schema.POSE3D, poses, columns)


def _tracklets(poses: pa.Table) -> list[tuple[int, int]]:
    """Return first and one-past-last row of each tracklet."""
    frame = poses["frame"].to_numpy()
    starts = np.flatnonzero(frame == 0).tolist()
    return list(zip(starts, [*starts[1:], len(frame)], strict=True))
