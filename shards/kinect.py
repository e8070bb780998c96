"""Make shards of Kinect skeletons from their text files: no frames, no 2D joints.

Run one dataset:   python -m shards.kinect --dataset biwi
"""

from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from extract.captions import write_none
from extract.index import (
    about,
    check_root,
    find_parser,
    holds_skeletons,
    judge,
)
from pipeline import console, paths, schema
from pipeline.errors import PipelineError
from pipeline.stage import Stage, run_stage
from shards.splits import write_splits
from shards.write.plan import first_training

if TYPE_CHECKING:
    import pyarrow as pa

    from extract.kinect import Recording
    from extract.tracklets import ParserInput, Tracklet


def kinect(stage: Stage) -> "Conversion":
    """Turn a dataset of Kinect skeletons into an index and shards of six-frame sequences.

    Writes data/index/DATASET.parquet and data/shards/DATASET/. Each sequence is a tracklet; the
    table of sentences about them, data/captions/DATASET.parquet, has no rows.

    Example: python -m shards.kinect --dataset kgbd
    """
    return Conversion(stage)


class Conversion:
    """One run of the stage.

    Attributes:
        output: The folder of shards.
        index: The index.
        then: What to run next.
    """

    def __init__(self, stage: Stage) -> None:
        """Look where the dataset is.

        Raises:
            PipelineError: If the format is unknown or holds pictures, or the folder is missing.
        """
        self._stage = stage
        self._parser = find_parser(stage.on_disk.format)
        if not holds_skeletons(self._parser):
            raise PipelineError(
                f"params.yaml: {stage.on_disk.format} is a format of pictures. "
                f"Put the line of {stage.key} under datasets"
            )
        self._root = paths.dataset_root(stage.dataset)
        self.output = stage.out(paths.shards_dir(stage.dataset))
        self.index = stage.out(paths.index_file(stage.dataset))
        self._captions = stage.out(paths.captions_file(stage.dataset))
        self.then = first_training(stage)
        check_root(self._root, self._parser)

    def is_done(self) -> bool:
        """Return False: to know it, the dataset has to be read."""
        return False

    def plan(self) -> None:
        """Print what would be read."""
        console.say(
            f"would read {self._root} as {self._stage.on_disk.format}, write {self.output}/"
        )

    def make(self) -> str:
        """Read all recordings, then publish the index and the shards.

        Raises:
            PipelineError: If files are missing or damaged, or counts differ from the published.
        """
        import shutil

        from extract.cameras import note_cameras
        from extract.tracklets import ParserInput, count, write_index

        stage, parser = self._stage, self._parser
        reading = ParserInput(self._root, stage.params.index.split_id)
        described = about(stage, parser)
        work = stage.work("output")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        tracklets = _write_shards(parser, reading, work, described, stage.limit)
        with paths.write_atomic(self.index) as temporary:
            named = note_cameras(tracklets, reading.cameras, parser.FACTS.camera)
            write_index(temporary, count(named, reading), described, reading)
            judge(stage, reading, parser)
        write_splits(work)
        write_none(self._captions, stage.dataset)
        paths.publish_dir(work, self.output)
        rows = [(name.replace("_", " "), f"{n:,}") for name, n in sorted(reading.counted.items())]
        console.table(stage.dataset, ("what", "number"), rows)
        sequences = sum(reading.counted[f"{split}_tracklets"] for split in schema.SPLITS)
        return f"{sequences:,} sequences of {len(parser.JOINTS.joints)} joints"


def _write_shards(
    parser: ModuleType, reading: "ParserInput", folder: Path, about: dict[str, object], limit: int
) -> "list[Tracklet]":
    """Write one shard per split: without pictures even the largest is small."""
    import pyarrow.parquet as pq

    from extract.cameras import told_cameras

    tracklets: list[Tracklet] = []
    found = islice(_long_enough(parser, reading), limit or None)
    for split, recordings in groupby(found, lambda one: one.split):
        described = schema.with_metadata(
            schema.shard(parser.JOINTS),
            **about,
            split=split,
            layout2d="none",
            layout3d=parser.JOINTS.name,
            axes="x right, y down, z away; root at the origin",
            embed_frames="none",
        )
        with pq.ParquetWriter(
            folder / f"{split}-00000.parquet",
            described,
            compression="zstd",
            use_dictionary=["tracklet", "split", "path"],
        ) as writer:
            cameras: dict[str, int] = {}
            for recording in recordings:
                cameras[parser.FACTS.camera(recording.camid)] = recording.camid
                table = _rows(recording, parser).cast(described)
                writer.write_table(table, schema.ROW_GROUP_FRAMES)
                tracklets += recording.tracklets(parser.TRAIN_STEP)
            writer.add_key_value_metadata(told_cameras(cameras))
    if not tracklets:
        raise PipelineError(f"{reading.root} holds no six good frames. {parser.FACTS.source}")
    return tracklets


def _long_enough(parser: ModuleType, reading: "ParserInput") -> "Iterator[Recording]":
    for recording in parser.recordings(reading):
        if recording.starts(parser.TRAIN_STEP):
            yield recording
        else:
            reading.counted["short_recordings"] += 1


def _rows(recording: "Recording", parser: ModuleType) -> "pa.Table":
    """Return the frames of all sequences of a recording."""
    import numpy as np
    import pyarrow as pa

    from extract.kinect import centred
    from extract.tables import assemble, explode, fixed_lists
    from pipeline.schema import INDEX, VIEW, Status, shard

    tracklets = recording.tracklets(parser.TRAIN_STEP)
    keys = explode(pa.Table.from_pylist([one._asdict() for one in tracklets], INDEX))
    starts = np.array(recording.starts(parser.TRAIN_STEP))
    rows = (starts[:, None] + np.arange(len(tracklets[0].frames))).ravel()
    columns = {
        "xyz": fixed_lists(centred(recording.xyz, parser.JOINTS)[rows], np.zeros(len(rows), bool)),
        "status": pa.array(np.full(len(rows), int(Status.OK), np.int8)),
        "interpolated": pa.array(np.zeros(len(rows), bool)),
    }
    unknown = (*VIEW, "width", "height", "xy_px", "score", "jpeg", "silhouette")
    columns |= {name: pa.nulls(len(rows)) for name in unknown}
    return assemble(shard(parser.JOINTS), keys, columns)


if __name__ == "__main__":
    run_stage("kinect", kinect)
