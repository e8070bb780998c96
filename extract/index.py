"""List the tracklets of a dataset.

Run it:   python -m extract.index --dataset mars
"""

import importlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from extract.tracklets import (
    Reading,
    Tracklet,
    count,
    mismatch,
    note_missing_frames,
    write_index,
)
from pipeline import console, paths
from pipeline.cli import Dataset, DryRun, Limit, Overrides, Quiet, Stage, Verbose, run, start
from pipeline.errors import PipelineError, did_you_mean

FORMATS = (
    "mars",
    "ls_vid",
    "ilids_vid",
    "folder",
    "duke",
    "prid",
    "ccvid",
    "mevid",
    "vreid_xfd",
)
# Skeletons as text, without frames: shards.kinect makes their index and shards.
SKELETON_FORMATS = ("biwi", "ias_lab", "kgbd", "ks20")
# Raised when a parser reads the same files differently.
PARSER_VERSION = 1

AllowPartial = Annotated[
    bool,
    typer.Option("--allow-partial", help="Go on when counts differ or frames are missing."),
]
CheckFrames = Annotated[
    bool, typer.Option("--check-frames", help="Also look whether every frame is on disk.")
]


def main(
    dataset: Dataset,
    overrides: Overrides = None,
    allow_partial: AllowPartial = False,
    check_frames: CheckFrames = False,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """List the tracklets of a dataset and check their counts; output in data/index/."""
    stage = start("index", dataset, overrides, limit, dry_run, verbose, quiet)
    root = paths.dataset_root(dataset)
    out = stage.out(paths.index_file(dataset))
    if dry_run:
        console.say(f"would read {root} as {stage.params.datasets[dataset].format}, write {out}")
        return
    counts, missing = build_index(stage, root, out, allow_partial, check_frames)
    for name in missing[:20] if verbose else ():
        console.say(f"missing  {name}")
    tracklets = sum(counts[f"{split}_tracklets"] for split in ("train", "val", "query", "gallery"))
    frames = sum(counts[f"{split}_frames"] for split in ("train", "val", "query", "gallery"))
    rows = [(name.replace("_", " "), f"{number:,}") for name, number in sorted(counts.items())]
    console.table(dataset, ("what", "number"), rows)
    console.summary(
        out, f"{tracklets:,} tracklets, {frames:,} frames", f"dvc repro pose2d@{dataset}"
    )


def build_index(
    stage: Stage, root: Path, out: Path, allow_partial: bool = False, check_frames: bool = False
) -> tuple[Counter[str], list[str]]:
    """Read a dataset with its parser and write the index.

    Args:
        stage: The run, for the dataset's format and knobs.
        root: The dataset's folder.
        out: The file to write.
        allow_partial: Warn where the dataset is incomplete, instead of stopping.
        check_frames: Note frames that are listed but not on disk.

    Returns:
        Counts by split and kind, and what was missing.

    Raises:
        PipelineError: If files are missing or damaged, or counts differ from the published ones.
    """
    dataset = stage.params.datasets[stage.dataset]
    parser = find_parser(dataset.format)
    if dataset.format in SKELETON_FORMATS:
        raise PipelineError(
            f"{stage.dataset} holds skeletons and no frames: DVC's stages are not for it. "
            f"Run: python -m shards.kinect --dataset {stage.dataset}"
        )
    check_root(root, parser)
    reading = Reading(root, stage.params.index.trial, dataset.case)
    tracklets: Iterator[Tracklet] = parser.read(reading)
    if check_frames:
        tracklets = note_missing_frames(tracklets, reading)
    if stage.limit:
        tracklets = islice(tracklets, stage.limit)
    metadata = {"dataset": stage.dataset, "format": dataset.format, "parser": PARSER_VERSION}
    if parser.FORMAT.trials > 1:
        metadata["trial"] = reading.trial
    with paths.write_atomic(out) as temporary:
        write_index(temporary, count(tracklets, reading.counted), metadata, reading)
        published = {} if stage.limit or dataset.counts == "none" else parser.FORMAT.published
        judge(stage.dataset, reading, published, allow_partial)
    return reading.counted, reading.missing


def find_parser(name: str) -> ModuleType:
    """Return the parser module of a format.

    Raises:
        PipelineError: If there is none of that name.
    """
    known = (*FORMATS, *SKELETON_FORMATS)
    if name not in known:
        raise PipelineError(
            f"params.yaml: {name!r} is no dataset format. {did_you_mean(name, known)}"
        )
    return importlib.import_module(f"extract.datasets.{name}")


def check_root(root: Path, parser: ModuleType) -> None:
    """Check that a dataset's folder is there.

    Raises:
        PipelineError: If it is not.
    """
    if not root.is_dir():
        raise PipelineError(
            f"{root} is not there. Put the dataset there, or set REID_DATA_ROOT to the folder "
            f"above it. {parser.FORMAT.source}"
        )


def judge(dataset: str, reading: Reading, published: dict[str, int], allow_partial: bool) -> None:
    """Compare what was read with what the authors published.

    Raises:
        PipelineError: If it differs and the user did not allow that; else that is a warning.
    """
    faults = []
    if reading.missing:
        faults.append(
            f"{len(reading.missing):,} listed frames or tracklets are not on disk, first "
            f"{reading.missing[0]}"
        )
    if difference := mismatch(reading.counted, published):
        faults.append(f"counts differ from the published ones: {difference}")
    if not faults:
        return
    message = f"{dataset}: {'; '.join(faults)}"
    if not allow_partial:
        raise PipelineError(f"{message}. Complete the dataset, or go on with --allow-partial")
    console.warn(message)


if __name__ == "__main__":
    run(main)
