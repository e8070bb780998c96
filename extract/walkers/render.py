"""Render all people of a plan, in processes, and put the dataset together."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console, paths
from pipeline.cli import Stage

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from extract.walkers.plan import Tracklet

# Measured: about what one core renders and what one crop takes on disk.
FRAMES_PER_S, BYTES_PER_FRAME = 200, 5_000


def render_person(work: Path, seed: int, planned: list["Tracklet"]) -> int:
    """Render all tracklets of one person into the work folder and return their frames.

    The truth is written last and by rename, so that its file says that the crops are there.
    """
    import cv2
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from extract.walkers.clip import film, scene
    from extract.walkers.mars_files import truth_table, write_crops
    from extract.walkers.plan import JUNK_PID

    cv2.setNumThreads(1)
    tables = []
    for tracklet in planned:
        person = tracklet.person(seed)
        where = scene(*tracklet.scene_key(seed))
        is_junk = tracklet.pid == JUNK_PID
        numbers = np.asarray(tracklet.frame_numbers)
        clip = film(person, where, numbers, tracklet.rng(seed), is_junk)
        write_crops(work / "dataset", tracklet, clip)
        tables.append(truth_table(tracklet, person, clip))
    with paths.write_atomic(truth_file(work, planned)) as path:
        pq.write_table(pa.concat_tables(tables), path)
    return sum(len(tracklet.frame_numbers) for tracklet in planned)


def truth_file(work: Path, planned: list["Tracklet"]) -> Path:
    """Return where the truth of one person's tracklets is kept until all are rendered."""
    return work / "truth" / f"{planned[0].split}-{planned[0].folder}.parquet"


def people(planned: list["Tracklet"]) -> list[list["Tracklet"]]:
    """Group the tracklets by person and split."""
    found: dict[tuple[str, str], list[Tracklet]] = {}
    for tracklet in planned:
        found.setdefault((tracklet.split, tracklet.folder), []).append(tracklet)
    return list(found.values())


def frames(planned: list["Tracklet"]) -> int:
    """Count the frames of tracklets."""
    return sum(len(tracklet.frame_numbers) for tracklet in planned)


@contextmanager
def _pool(workers: int) -> Iterator["Executor"]:
    """Yield processes of their own start: a forked one could inherit a held lock."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def render(stage: Stage, work: Path, planned: list["Tracklet"]) -> None:
    """Render the people who are missing."""
    from concurrent.futures import as_completed

    missing = [person for person in people(planned) if not truth_file(work, person).exists()]
    done = frames(planned) - sum(map(frames, missing))
    seed, workers = stage.params.walkers.seed, stage.params.runtime.workers
    with (
        console.progress(frames(planned), "frames", "walkers", done) as meter,
        _pool(min(workers, max(1, len(missing)))) as pool,
    ):
        futures = [pool.submit(render_person, work, seed, person) for person in missing]
        for future in as_completed(futures):
            meter.advance(future.result())


def finish(work: Path, planned: list["Tracklet"], seed: int, made_of: str) -> Path:
    """Write what covers the whole dataset, and return its folder, ready to be published."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from extract.walkers.mars_files import write_info
    from extract.walkers.plan import queries

    dataset = work / "dataset"
    write_info(dataset, planned, queries(planned, seed))
    truth = pa.concat_tables(
        [pq.read_table(truth_file(work, person)) for person in people(planned)]
    )
    truth = truth.replace_schema_metadata({"made_of": made_of, "layout_2d": "coco17"})
    with paths.write_atomic(dataset / "truth.parquet") as path:
        pq.write_table(truth, path)
    return dataset


def is_made(final: Path, made_of: str) -> bool:
    """Return whether the dataset stands there, made of the same knobs."""
    import pyarrow.parquet as pq

    truth = final / "truth.parquet"
    return truth.exists() and pq.read_schema(truth).metadata.get(b"made_of") == made_of.encode()
