"""Draw silhouettes from 2D joints, for datasets that have none of their own.

Run one dataset:   python -m extract.silhouettes --dataset walkers silhouettes.draw=true

A body is drawn as capsules around its bones, as thick as those of people are on average. It is an
honest second best: clothes, bags and hair are not in it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline import console, paths, schema
from pipeline.code.fingerprint import fingerprint, is_done, note_done
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.files import checked
from pipeline.files.tables import TableFile
from pipeline.names import listed
from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Bones by their COCO-17 joints, and their radius as a share of the body's height; chosen on
# rendered people of another seed.
_LIMBS = (
    ((5, 7), 0.034), ((7, 9), 0.030), ((6, 8), 0.034), ((8, 10), 0.030),
    ((11, 13), 0.052), ((13, 15), 0.038), ((12, 14), 0.052), ((14, 16), 0.038),
)  # fmt: skip
_TRUNK, _TRUNK_RADIUS = (5, 6, 12, 11), 0.042
_HEAD, _HEAD_RADIUS, _HEAD_UP = (0, 1, 2, 3, 4), 0.055, 0.02
_HAND, _FOOT = 0.030, 0.030
# From the ankles to the eyes, as a share of the height.
_ANKLES_TO_EYES = 0.89
_FRAMES_PER_S, _BYTES_PER_FRAME = 7_000, 250


def silhouettes(stage: Stage) -> "Drawing":
    """Draw the silhouettes that a dataset lacks, from its 2D joints.

    Example: python -m extract.silhouettes --dataset walkers silhouettes.draw=true
    """
    return Drawing(stage)


class Drawing:
    """One run of the stage."""

    then = "pose3d"

    def __init__(self, stage: Stage) -> None:
        """Look whether there is anything to draw.

        Raises:
            PipelineError: If there are no 2D joints.
        """
        self._stage = stage
        folder = stage.read(paths.pose2d_dir(stage.dataset))
        self._files = listed(folder, "*.parquet")
        if not self._files:
            raise PipelineError(f"{folder} holds no joints. Run: {stage.rebuild('pose2d')}")
        for file in self._files:
            schema.check(file, schema.POSE2D, stage.rebuild("pose2d"))
        has_own = (paths.dataset_root(stage.dataset) / "silhouettes.parquet").exists()
        self._draws = stage.params.silhouettes.draw and not has_own
        self.output = stage.out(paths.silhouettes_file(stage.dataset))
        self._made_of = fingerprint(
            *(self._files if self._draws else ()),
            code=digest(stage.name, stage.key, stage.params),
            draws=self._draws,
            min_score=stage.params.silhouettes.min_score,
            limit=stage.limit,
        )

    def is_done(self) -> bool:
        """Return whether the silhouettes are there."""
        return is_done(self._made_of, self.output)

    def plan(self) -> None:
        """Print how many frames there are to draw."""
        if not self._draws:
            console.say("nothing to draw: silhouettes.draw is false, or the dataset has its own")
            return
        frames = self._frames
        took = console.duration(frames / _FRAMES_PER_S)
        console.say(
            f"{self.output}: {frames} frames, about {took}, "
            f"{console.size(frames * _BYTES_PER_FRAME)}"
        )

    @property
    def _frames(self) -> int:
        fix = f"Run: {self._stage.rebuild('pose2d')}"
        return sum(len(TableFile(file, fix)) for file in self._files) if self._draws else 0

    def make(self) -> str:
        """Draw them all and write the table; without anything to draw it has no rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = pa.schema([("path", pa.string()), ("silhouette", pa.binary())])
        drawn = 0
        with (
            paths.write_atomic(self.output) as temporary,
            pq.ParquetWriter(temporary, kind, compression="zstd") as writer,
            console.progress(self._frames, "frames", "silhouettes") as meter,
        ):
            for paths_, pictures in self._pictures():
                writer.write_table(pa.table([paths_, pa.array(pictures, pa.binary())], schema=kind))
                drawn += sum(picture is not None for picture in pictures)
                meter.advance(len(pictures))
        note_done(self._made_of, self.output)
        return f"{drawn:,} silhouettes"

    def _pictures(self) -> Iterator[tuple["pa.Array", list[bytes | None]]]:
        import numpy as np

        columns = ["frame", "path", "width", "height", "xy_px", "score", "status"]
        left = self._stage.limit or np.inf
        for file in self._files if self._draws else ():
            fix = f"Run: {self._stage.rebuild('pose2d')}"
            with TableFile(file, fix) as opened:
                for table in opened.batches(4096):
                    checked.check_rows(table, file, fix)
                    checked.check_found(table, file, fix)
                    batch = table.select(columns).combine_chunks()
                    left -= int((batch["frame"].to_numpy() == 0).sum())
                    yield (
                        batch["path"].combine_chunks(),
                        [self._one(row) for row in batch.to_pylist()],
                    )
                    if left < 0:
                        return

    def _one(self, row: dict) -> bytes | None:
        import numpy as np

        if row["status"] != schema.Status.OK:
            return None
        xy = np.array(row["xy_px"], float).reshape(17, 2)
        is_seen = np.array(row["score"]) >= self._stage.params.silhouettes.min_score
        mask = body(xy, is_seen, (row["width"], row["height"]))
        return None if mask is None else png(mask)


def body(xy: "np.ndarray", is_seen: "np.ndarray", size: tuple[int, int]) -> "np.ndarray | None":
    """Draw a body around its joints.

    Args:
        xy: COCO-17 joints in pixels of the frame, `(17, 2)`.
        is_seen: Which of them to trust, `(17,)`.
        size: Width and height of the frame.

    Returns:
        `(H, W)` uint8, 255 where the body is; None without a trunk to start from.
    """
    import cv2
    import numpy as np

    tall = height_px(xy, is_seen)
    if tall is None or not is_seen[list(_TRUNK)].all():
        return None
    mask = np.zeros((size[1], size[0]), np.uint8)

    def capsule(one: "np.ndarray", other: "np.ndarray", radius: float) -> None:
        thick = max(1, round(2 * radius * tall))
        ends = [tuple(np.rint(end).astype(int).tolist()) for end in (one, other)]
        cv2.line(mask, *ends, 255, thick, cv2.LINE_8)
        for end in ends:
            cv2.circle(mask, end, max(1, thick // 2), 255, -1)

    trunk = np.rint(xy[list(_TRUNK)]).astype(np.int32)
    cv2.fillPoly(mask, [trunk], 255)
    for start, end in zip(_TRUNK, (*_TRUNK[1:], _TRUNK[0]), strict=True):
        capsule(xy[start], xy[end], _TRUNK_RADIUS)
    for (start, end), radius in _LIMBS:
        if is_seen[start] and is_seen[end]:
            capsule(xy[start], xy[end], radius)
    for wrist in (9, 10):
        if is_seen[wrist]:
            capsule(xy[wrist], xy[wrist], _HAND)
    for ankle in (15, 16):
        if is_seen[ankle]:
            capsule(xy[ankle], xy[ankle] + [0, 0.03 * tall], _FOOT)
    seen_head = [joint for joint in _HEAD if is_seen[joint]]
    if seen_head:
        head = xy[seen_head].mean(0) - [0, _HEAD_UP * tall]
        capsule(head, head, _HEAD_RADIUS)
        capsule(head, xy[[5, 6]].mean(0), 0.035)
    return mask


def height_px(xy: "np.ndarray", is_seen: "np.ndarray") -> float | None:
    """Return about how high a standing body is, or None when too little of it is seen."""
    import numpy as np

    upper = [joint for joint in _HEAD if is_seen[joint]] or [5, 6]
    if not is_seen[upper].all():
        return None
    shares = {15: _ANKLES_TO_EYES, 13: 0.64, 11: 0.40}
    top = 0.0 if upper != [5, 6] else 0.12
    for left, share in shares.items():
        pair = [joint for joint in (left, left + 1) if is_seen[joint]]
        if pair:
            reach = np.linalg.norm(xy[pair].mean(0) - xy[upper].mean(0))
            return float(reach / (share - top))
    return None


def png(mask: "np.ndarray") -> bytes:
    """Return a mask `(H, W)` uint8 as a PNG of one bit."""
    import cv2

    return cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def overlap(one: "np.ndarray", other: "np.ndarray") -> float:
    """Return intersection over union of two masks; 1 of two empty ones."""
    union = ((one > 0) | (other > 0)).sum()
    return float(((one > 0) & (other > 0)).sum() / union) if union else 1.0


if __name__ == "__main__":
    run_stage("silhouettes", silhouettes)
