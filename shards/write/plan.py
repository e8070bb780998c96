"""What goes into the shards of a dataset, and a fingerprint of all that decides their bytes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import paths, schema
from pipeline.cli import Stage
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Plan:
    """What goes into the shards of a dataset.

    Attributes:
        dataset: The dataset.
        root: Folder that frame paths are relative to.
        tracklets: Rows of the index, `(split, tracklet, frames)`, in the order of the shards.
        embed_frames: Whether frames go into the shards.
        truth: File of true joints that replace the found ones, or None.
        shard_bytes: Size that no shard exceeds, unless a single tracklet does.
        fingerprint: Changes with anything that decides the bytes.
        knobs: Fingerprint of the knobs alone.
    """

    dataset: str
    root: Path
    tracklets: list[tuple[str, str, int]]
    embed_frames: bool
    truth: Path | None
    shard_bytes: int
    fingerprint: str
    knobs: str

    @property
    def work(self) -> Path:
        """Folder of unfinished work."""
        return paths.work_dir("shards", self.dataset, self.fingerprint)

    @property
    def output(self) -> Path:
        """Folder of finished shards, which becomes the stage's output when all are."""
        return self.work / "output"

    @property
    def frames(self) -> int:
        """Number of frames."""
        return sum(length for _, _, length in self.tracklets)

    def by_split(self) -> Iterator[tuple[str, int, int]]:
        """Count the tracklets and frames of every split."""
        for split, rows in groupby(self.tracklets, key=lambda row: row[0]):
            lengths = [length for _, _, length in rows]
            yield split, len(lengths), sum(lengths)

    def file(self, split: str, number: int) -> Path:
        """Return where a shard is put when it is finished."""
        return self.output / f"{split}-{number:05}.parquet"

    def finished(self, split: str) -> int:
        """Count the shards of a split that an earlier run finished."""
        number = 0
        while self.file(split, number).exists():
            number += 1
        return number


def plan_shards(stage: Stage) -> Plan:
    """Read the index and fingerprint all inputs.

    Raises:
        PipelineError: If an input is missing or of another schema version.
    """
    dataset, knobs = stage.dataset, stage.params.shards
    index = paths.index_file(dataset)
    schema.check(index, schema.INDEX, stage.rebuild("index"))
    poses = []
    for name, expected in (("pose2d", schema.POSE2D), ("pose3d", schema.POSE3D)):
        folder = Path("data") / name / dataset
        files = sorted(folder.glob("*.parquet"))
        if not files:
            raise PipelineError(f"{folder} holds no joints. Run: {stage.rebuild(name)}")
        for file in files:
            schema.check(file, expected, stage.rebuild(name))
        poses += files
    table = pq.read_table(index, columns=["split", "pid", "tracklet", "frames"])
    table = table.append_column("length", pc.list_value_length(table["frames"]))
    keys = [(key, "ascending") for key in ("split", "pid", "tracklet")]
    rows = table.select(["split", "pid", "tracklet", "length"]).sort_by(keys).to_pylist()
    tracklets = [(row["split"], row["tracklet"], row["length"]) for row in rows]
    limit = stage.limit or len(tracklets)
    digest = hashlib.sha256(f"{knobs.model_dump_json()} {limit} {schema.VERSION}".encode())
    truth = paths.dataset_root(dataset) / "truth.parquet" if knobs.skeletons == "truth" else None
    true_joints = [truth] if truth and truth.exists() else []
    for file in [index, *poses, *true_joints]:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return Plan(
        dataset,
        paths.dataset_root(dataset),
        tracklets[:limit],
        knobs.embed_frames,
        truth,
        knobs.shard_mb * 2**20,
        digest.hexdigest()[:12],
        stage.params.fingerprint("shards"),
    )
