"""Render the walkers: a dataset in the layout of MARS, with the truth about every joint.

Run:   python -m extract.walkers
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console, paths
from pipeline.cli import DryRun, Limit, Overrides, Quiet, Stage, Verbose, run, start

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from extract.walker_plan import Tracklet

# Measured: about what one core renders and what one crop takes on disk.
_FRAMES_PER_S, _BYTES_PER_FRAME = 200, 5_000


def render_person(work: Path, seed: int, planned: list["Tracklet"]) -> int:
    """Render all tracklets of one person into the work folder and return their frames.

    The truth is written last and by rename, so that its file says that the crops are there.
    """
    import cv2
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from extract.walker_clip import film, scene
    from extract.walker_mars import truth_table, write_crops
    from extract.walker_plan import JUNK_PID

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
    with paths.write_atomic(_truth_file(work, planned)) as path:
        pq.write_table(pa.concat_tables(tables), path)
    return sum(len(tracklet.frame_numbers) for tracklet in planned)


def _truth_file(work: Path, planned: list["Tracklet"]) -> Path:
    return work / "truth" / f"{planned[0].split}-{planned[0].folder}.parquet"


def _people(planned: list["Tracklet"]) -> list[list["Tracklet"]]:
    people: dict[tuple[str, str], list[Tracklet]] = {}
    for tracklet in planned:
        people.setdefault((tracklet.split, tracklet.folder), []).append(tracklet)
    return list(people.values())


def _frames(planned: list["Tracklet"]) -> int:
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


def _render(stage: Stage, work: Path, planned: list["Tracklet"]) -> None:
    from concurrent.futures import as_completed

    people = _people(planned)
    missing = [person for person in people if not _truth_file(work, person).exists()]
    done = _frames(planned) - sum(map(_frames, missing))
    seed, workers = stage.params.walkers.seed, stage.params.runtime.workers
    with (
        console.progress(_frames(planned), "frames", "walkers", done) as meter,
        _pool(min(workers, max(1, len(missing)))) as pool,
    ):
        futures = [pool.submit(render_person, work, seed, person) for person in missing]
        for future in as_completed(futures):
            meter.advance(future.result())


def _finish(work: Path, planned: list["Tracklet"], seed: int, made_of: str) -> Path:
    """Write what covers the whole dataset, and return its folder, ready to be published."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from extract.walker_mars import write_info
    from extract.walker_plan import queries

    dataset = work / "dataset"
    write_info(dataset, planned, queries(planned, seed))
    truth = pa.concat_tables(
        [pq.read_table(_truth_file(work, person)) for person in _people(planned)]
    )
    truth = truth.replace_schema_metadata({"made_of": made_of, "layout_2d": "coco17"})
    with paths.write_atomic(dataset / "truth.parquet") as path:
        pq.write_table(truth, path)
    return dataset


def _is_made(final: Path, made_of: str) -> bool:
    import pyarrow.parquet as pq

    truth = final / "truth.parquet"
    return truth.exists() and pq.read_schema(truth).metadata.get(b"made_of") == made_of.encode()


def main(
    overrides: Overrides = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Render walking people as a dataset in the layout of MARS, in data/raw/walkers.

    Example: python -m extract.walkers walkers.identities_test=5
    """
    stage = start("walkers", "walkers", overrides, limit, dry_run, verbose, quiet)
    from extract.walker_plan import tracklets

    knobs = stage.params.walkers
    planned = tracklets(knobs)
    planned = planned[:limit] if limit else planned
    made_of = stage.params.fingerprint("walkers") + (f"-{limit}" if limit else "")
    work, final = (
        paths.work_dir("walkers", "walkers", made_of),
        stage.out(paths.dataset_root("walkers")),
    )
    frames = _frames(planned)
    if dry_run:
        left = [p for p in _people(planned) if not _truth_file(work, p).exists()]
        todo = 0 if _is_made(final, made_of) else sum(map(_frames, left))
        took = console.duration(todo / (_FRAMES_PER_S * stage.params.runtime.workers))
        console.say(f"{final}: {todo} of {frames} frames to render on the CPU, about {took}, "
                    f"{console.size(frames * _BYTES_PER_FRAME)}")  # fmt: skip
        return
    if not _is_made(final, made_of):
        import shutil

        _render(stage, work, planned)
        paths.publish_dir(_finish(work, planned, knobs.seed, made_of), final)
        shutil.rmtree(work)
    console.summary(
        final,
        f"{frames} frames, {len(planned)} tracklets, {knobs.identities_train} persons to train on, "
        f"{knobs.identities_test} to test on, {knobs.cameras} cameras",
        "python -m extract.index --dataset walkers",
    )


if __name__ == "__main__":
    run(main)
