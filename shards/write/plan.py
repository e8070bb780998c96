"""What goes into the shards of a dataset, and a fingerprint of all that decides their bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import paths, schema
from pipeline.code.fingerprint import fingerprint
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.files import checked
from pipeline.files.reading import is_plain
from pipeline.names import camera_names, listed
from pipeline.stage import Stage


@dataclass(frozen=True)
class Plan:
    """What goes into the shards of a dataset.

    Attributes:
        dataset: The dataset.
        output: Where the shards go.
        poses: Folders of 2D and of 3D joints.
        root: Folder that frame paths are relative to.
        tracklets: Rows of the index, `(split, tracklet, frames)`, in the order of the shards.
        embed_frames: Whether frames go into the shards.
        cameras: What the index says cameras are called, by `camid`.
        views: How each was seen, a row of `pipeline.schema.VIEW` for each of `tracklets`.
        truth: File of true joints that replace the found ones, or None.
        silhouettes: File of silhouettes, the dataset's own or drawn ones, or None.
        shard_bytes: Size that no shard exceeds, unless a single tracklet does.
        fingerprint: Changes with anything that decides the bytes.
        work: Folder of unfinished work.
        knobs: Fingerprint of the knobs alone.
    """

    dataset: str
    output: Path
    poses: dict[str, Path]
    root: Path
    tracklets: list[tuple[str, str, int]]
    cameras: dict[int, str]
    views: pa.Table
    embed_frames: bool
    truth: Path | None
    silhouettes: Path | None
    shard_bytes: int
    fingerprint: str
    work: Path
    knobs: str

    @property
    def finished_dir(self) -> Path:
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
        return paths.below(self.finished_dir, f"{split}-{number:05}.parquet")

    def finished(self, split: str) -> int:
        """Count the shards of a split that an earlier run finished."""
        number = 0
        while is_plain(self.file(split, number)):
            number += 1
        return number


def plan_shards(stage: Stage) -> Plan:
    """Read the index and fingerprint all inputs.

    Raises:
        PipelineError: If an input is missing or of another schema version.
    """
    dataset, knobs = stage.dataset, stage.params.shards
    index = stage.read(paths.index_file(dataset))
    poses = {"pose2d": paths.pose2d_dir(dataset), "pose3d": paths.pose3d_dir(dataset)}
    poses = {name: stage.read(folder) for name, folder in poses.items()}
    table = _tracklets(index, stage.limit, stage.rebuild("index"))
    columns = [table[name].to_pylist() for name in ("split", "tracklet", "length")]
    tracklets = list(zip(*columns, strict=True))
    silhouettes = _silhouettes(stage)
    truth = paths.dataset_root(dataset) / "truth.parquet" if knobs.skeletons == "truth" else None
    made_of = fingerprint(
        index,
        *_pose_files(stage, poses),
        *(file for file in (truth, silhouettes) if file and file.exists()),
        code=digest(stage.name, stage.key, stage.params),
        schema=schema.VERSION,
        knobs=knobs.model_dump(mode="json"),
        limit=len(tracklets),
    )
    return Plan(
        dataset=dataset,
        output=stage.out(paths.shards_dir(dataset)),
        poses=poses,
        root=paths.dataset_root(dataset),
        tracklets=tracklets,
        cameras=_cameras(index, stage.rebuild("index")),
        views=table.select(schema.VIEW),
        embed_frames=knobs.embed_frames,
        truth=truth,
        silhouettes=silhouettes,
        shard_bytes=knobs.shard_mb * 2**20,
        fingerprint=made_of,
        work=stage.work(made_of),
        knobs=stage.params.fingerprint("shards"),
    )


def _silhouettes(stage: Stage) -> Path | None:
    """Return where silhouettes are: the dataset's own before those that were drawn."""
    own = paths.dataset_root(stage.dataset) / "silhouettes.parquet"
    drawn = stage.read(paths.silhouettes_file(stage.dataset))
    return next((file for file in (own, drawn) if file.exists()), None)


def _pose_files(stage: Stage, poses: dict[str, Path]) -> list[Path]:
    """Return the tables of 2D joints, then of 3D joints."""
    found: list[Path] = []
    for name, expected in (("pose2d", schema.POSE2D), ("pose3d", schema.POSE3D)):
        files = listed(poses[name], "*.parquet")
        if not files:
            raise PipelineError(f"{poses[name]} holds no joints. Run: {stage.rebuild(name)}")
        for file in files:
            schema.check(file, expected, stage.rebuild(name))
        found += files
    return found


def _cameras(index: Path, rebuild: str) -> dict[int, str]:
    about = schema.metadata(schema.check(index, schema.INDEX, rebuild))
    return camera_names(about, index, f"Run: {rebuild}")


def _tracklets(index: Path, limit: int, rebuild: str) -> pa.Table:
    """Return the rows of an index in the order of shards, with the `length` of each."""
    table = checked.read_index(index, rebuild)
    table = table.append_column("length", pc.list_value_length(table["frames"]))
    keys = [(key, "ascending") for key in ("split", "pid", "tracklet")]
    return table.drop_columns(["frames", "frame_numbers"]).sort_by(keys)[: limit or None]


def first_training(stage: Stage) -> str:
    """Return what to run next: the first training on these shards."""
    for section, name in (("pretraining", "stage1"), ("runs", "stage2")):
        for run, line in getattr(stage.params, section).items():
            if line.train == stage.dataset:
                return stage.then(name, run)
    return "add a line under runs in params.yaml, then: dvc repro"
