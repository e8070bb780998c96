"""Make shards of Kinect skeletons from their text files: no frames, no 2D joints.

Run one dataset:   python -m shards.kinect --dataset biwi --source /somewhere/BIWI
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from extract.index import (
    PARSER_VERSION,
    SKELETON_FORMATS,
    AllowPartial,
    check_root,
    find_parser,
    judge,
)
from pipeline import console, paths
from pipeline.cli import Dataset, DryRun, Overrides, Quiet, Stage, Verbose, run, start
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import pyarrow as pa

    from extract.kinect import Recording
    from extract.tracklets import Reading, Tracklet

Source = Annotated[
    Path | None, typer.Option("--source", help="The dataset's folder, if not data/raw/DATASET.")
]


def main(
    dataset: Dataset,
    overrides: Overrides = None,
    source: Source = None,
    allow_partial: AllowPartial = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Turn a dataset of Kinect skeletons into an index and shards of six-frame sequences.

    Writes data/index/DATASET.parquet and data/shards/DATASET/. Each sequence is a tracklet.

    Example: python -m shards.kinect --dataset kgbd --source /somewhere/KGBD
    """
    stage = start("shards", dataset, overrides, 0, dry_run, verbose, quiet)
    format_ = stage.params.datasets[dataset].format
    parser = find_parser(format_)
    if format_ not in SKELETON_FORMATS:
        raise PipelineError(f"{dataset} has frames. Run: {stage.rebuild('shards')}")
    root = source or paths.dataset_root(dataset)
    check_root(root, parser)
    out = stage.out(paths.shards_dir(dataset))
    if dry_run:
        console.say(f"would read {root} as {format_}, write {out}/")
        return
    counts = convert(stage, parser, root, allow_partial)
    rows = [(name.replace("_", " "), f"{number:,}") for name, number in sorted(counts.items())]
    console.table(dataset, ("what", "number"), rows)
    sequences = sum(counts[f"{split}_tracklets"] for split in ("train", "query", "gallery"))
    amount = f"{sequences:,} sequences of {len(parser.JOINTS.joints)} joints"
    console.summary(f"{out}/", amount, f"python -m train.stage2 --dataset {dataset}")


def convert(
    stage: Stage, parser: ModuleType, root: Path, allow_partial: bool = False
) -> dict[str, int]:
    """Read all recordings, then publish the index and the shards.

    Returns:
        Counts by split and kind.

    Raises:
        PipelineError: If files are missing or damaged, or counts differ from the published ones.
    """
    import shutil

    from extract.tracklets import Reading, count, write_index
    from pipeline.lock import locked

    dataset, knobs = stage.dataset, stage.params.datasets[stage.dataset]
    reading = Reading(root, stage.params.index.trial)
    about = {"dataset": dataset, "format": knobs.format, "parser": PARSER_VERSION}
    if parser.FORMAT.trials > 1:
        about["trial"] = reading.trial
    out = stage.out(paths.shards_dir(dataset))
    work = paths.work_dir("shards", dataset, f"kinect-{stage.params.fingerprint('index')}")
    with locked(work, out):
        made = work / "output"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        tracklets = _write_shards(parser, reading, made, about)
        with paths.write_atomic(stage.out(paths.index_file(dataset))) as temporary:
            write_index(temporary, count(tracklets, reading.counted), about, reading)
            published = {} if knobs.counts == "none" else parser.FORMAT.published
            judge(dataset, reading, dict(published), allow_partial)
        paths.publish_dir(made, out)
        shutil.rmtree(work)
    return reading.counted


def _write_shards(
    parser: ModuleType, reading: "Reading", folder: Path, about: dict[str, object]
) -> "list[Tracklet]":
    """Write one shard per split: without pictures even the largest is small."""
    import pyarrow.parquet as pq

    from pipeline import schema

    tracklets = []
    for split, recordings in groupby(_long_enough(parser, reading), lambda one: one.split):
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
            for recording in recordings:
                table = _rows(recording, parser).cast(described)
                writer.write_table(table, schema.ROW_GROUP_FRAMES)
                tracklets += recording.tracklets(parser.TRAIN_STEP)
    if not tracklets:
        raise PipelineError(f"{reading.root} holds no six good frames. {parser.FORMAT.source}")
    return tracklets


def _long_enough(parser: ModuleType, reading: "Reading") -> "Iterator[Recording]":
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
    from pipeline.schema import INDEX, Status, shard
    from pipeline.tables import assemble, explode, fixed_lists

    tracklets = recording.tracklets(parser.TRAIN_STEP)
    keys = explode(pa.Table.from_pylist([one._asdict() for one in tracklets], INDEX))
    starts = np.array(recording.starts(parser.TRAIN_STEP))
    rows = (starts[:, None] + np.arange(len(tracklets[0].frames))).ravel()
    columns = {
        "xyz": fixed_lists(centred(recording.xyz, parser.JOINTS)[rows], np.zeros(len(rows), bool)),
        "status": pa.array(np.full(len(rows), int(Status.OK), np.int8)),
        "bridged": pa.array(np.zeros(len(rows), bool)),
    }
    columns |= {name: pa.nulls(len(rows)) for name in ("width", "height", "xy_px", "score", "jpeg")}
    return assemble(shard(parser.JOINTS), keys, columns)


if __name__ == "__main__":
    run(main)
