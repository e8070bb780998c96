"""List the tracklets of a dataset.

Run it:   python -m extract.index --dataset mars
"""

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from extract.cameras import note_cameras
from extract.rules import written
from extract.tracklets import (
    ParserInput,
    Tracklet,
    count,
    mismatch,
    note_missing_frames,
    write_index,
)
from pipeline import console, paths, schema
from pipeline.cli import verbose
from pipeline.errors import PipelineError, did_you_mean
from pipeline.stage import Stage, run_stage

# One file, one format.
PARSERS = Path(__file__).parent / "datasets"

CheckFrames = Annotated[
    bool, typer.Option("--check-frames", help="Also look whether every frame is on disk.")
]


def index(stage: Stage, check_frames: CheckFrames = False) -> "Listing":
    """List the tracklets of a dataset and check their counts; output in data/index/.

    Example: python -m extract.index --dataset mars --check-frames
    """
    return Listing(stage, check_frames)


class Listing:
    """One run of the stage.

    Attributes:
        output: The index.
        then: The stage to run next.
    """

    then = "pose2d"

    def __init__(self, stage: Stage, check_frames: bool) -> None:
        """Look where the dataset is."""
        self._stage, self._check_frames = stage, check_frames
        self._root = paths.dataset_root(stage.dataset)
        self.output = stage.out(paths.index_file(stage.dataset))

    def is_done(self) -> bool:
        """Return False: to know it, the dataset has to be read."""
        return False

    def plan(self) -> None:
        """Print what would be read."""
        find_parser(self._stage.on_disk.format)
        console.say(f"would read {self._root} as {self._stage.on_disk.format}, write {self.output}")

    def make(self) -> str:
        """Read the dataset and write the index."""
        counts, missing = build_index(self._stage, self._root, self.output, self._check_frames)
        for name in missing[:20] if verbose() else ():
            console.say(f"missing  {name}")
        rows = [(name.replace("_", " "), f"{number:,}") for name, number in sorted(counts.items())]
        console.table(self._stage.dataset, ("what", "number"), rows)
        tracklets, frames = (
            sum(counts[f"{split}_{what}"] for split in schema.SPLITS)
            for what in ("tracklets", "frames")
        )
        return f"{tracklets:,} tracklets, {frames:,} frames"


def build_index(
    stage: Stage, root: Path, out: Path, check_frames: bool = False
) -> tuple[Counter[str], list[str]]:
    """Read a dataset with its parser and write the index.

    Args:
        stage: The run, for the dataset's format and knobs.
        root: The dataset's folder.
        out: The file to write.
        check_frames: Note frames that are listed but not on disk.

    Returns:
        Counts by split and kind, and what was missing.

    Raises:
        PipelineError: If files are missing or damaged, or what was read is not as `judge` asks.
    """
    dataset = stage.params.datasets[stage.dataset]
    parser = find_parser(dataset.format)
    if holds_skeletons(parser):
        raise PipelineError(
            f"params.yaml: {dataset.format} is a format of skeletons without pictures. "
            f"Put the line of {stage.dataset} under kinect"
        )
    check_root(root, parser)
    reading = ParserInput(root, stage.params.index.split_id, dataset.case)
    tracklets: Iterator[Tracklet] = parser.read(reading)
    if check_frames:
        tracklets = note_missing_frames(tracklets, reading)
    tracklets = note_cameras(tracklets, reading.cameras, parser.FACTS.camera)
    if stage.limit:
        tracklets = islice(tracklets, stage.limit)
    with paths.write_atomic(out) as temporary:
        write_index(temporary, count(tracklets, reading), about(stage, parser), reading)
        judge(stage, reading, parser)
    return reading.counted, reading.missing


def about(stage: Stage, parser: ModuleType) -> dict[str, object]:
    """Return what an index says about itself, for the stages that do not know its format."""
    described: dict[str, object] = {
        "dataset": stage.dataset,
        "format": stage.on_disk.format,
        "rules": written(parser.FACTS.rules),
    }
    if parser.FACTS.random_splits > 1:
        described["split_id"] = stage.params.index.split_id
    return described


def formats() -> list[str]:
    """Return the names of all formats."""
    return sorted(file.stem for file in PARSERS.glob("*.py") if file.stem != "__init__")


def holds_skeletons(parser: ModuleType) -> bool:
    """Return whether a format holds skeletons as text and no pictures."""
    return hasattr(parser, "recordings")


def find_parser(name: str) -> ModuleType:
    """Return the parser module of a format.

    Raises:
        PipelineError: If there is none of that name.
    """
    known = formats()
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
            f"above it. {parser.FACTS.source}"
        )


def judge(stage: Stage, reading: ParserInput, parser: ModuleType) -> None:
    """Compare what was read with what the authors published, and look who is where.

    Raises:
        PipelineError: If counts differ and its line does not allow that, or people of the training
            set are tested and must not be; else that is a warning.
    """
    is_whole = stage.on_disk.counts != "none" and not stage.limit
    _judge_counts(stage, reading, parser.FACTS.published if is_whole else {})
    _judge_people(reading, parser.FACTS.shared_people)


def _judge_counts(stage: Stage, reading: ParserInput, published: Mapping[str, int]) -> None:
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
    message = f"{reading.root}: {'; '.join(faults)}"
    if stage.on_disk.counts != "partial":
        raise PipelineError(
            f"{message}. Complete the dataset, or go on with it as it is: say counts: partial in "
            f"the line {stage.dataset} of params.yaml"
        )
    console.warn(message)


def _judge_people(reading: ParserInput, shared_people: str) -> None:
    """Say who is both trained on and tested, unless that is usual."""
    shared = sorted(reading.tested_and_trained())
    if not shared or shared_people == "usual":
        return
    some = ", ".join(map(str, shared[:3])) + (", ..." if len(shared) > 3 else "")
    message = f"{reading.root}: {len(shared)} persons of train are in query or gallery too ({some})"
    if shared_people == "error":
        raise PipelineError(
            f"{message}. If they are the same people, take them out of train; else number them anew"
        )
    console.warn(message)


if __name__ == "__main__":
    run_stage("index", index)
