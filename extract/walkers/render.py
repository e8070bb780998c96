"""Render all people of a plan, in processes, and put the dataset together."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from extract.walkers.processes import each
from pipeline import console, machine, paths
from pipeline.code.fingerprint import fingerprint, is_done, note_done
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

    from extract.walkers.plan import PlannedTracklet
    from pipeline.params.knobs import WalkersParams

# Measured: about what one core renders and what one crop takes on disk.
_FRAMES_PER_S, _BYTES_PER_FRAME = 200, 5_000


class Rendering:
    """One run of the stage.

    Attributes:
        output: The dataset's folder.
        then: The stage to run next.
    """

    then = "index"

    def __init__(self, stage: Stage) -> None:
        """Plan all tracklets."""
        from extract.walkers.plan import tracklets

        self._stage, self._knobs = stage, stage.params.walkers
        planned = tracklets(self._knobs)
        self._planned = planned[: stage.limit] if stage.limit else planned
        self._made_of = fingerprint(
            code=digest(stage.name, stage.key, stage.params),
            knobs=self._knobs.model_dump(mode="json"),
            limit=stage.limit,
        )
        self._work = stage.work(self._made_of)
        self.output = stage.out(paths.dataset_root("walkers"))

    def is_done(self) -> bool:
        """Return whether the dataset stands there, made of the same knobs and code."""
        return is_done(self._made_of, self.output)

    def plan(self) -> None:
        """Print how much is left to render and how long that takes."""
        frames = _frames(self._planned)
        todo = 0 if self.is_done() else sum(map(_frames, self._missing()))
        workers = max(1, self._stage.params.runtime.workers)
        took = console.duration(todo / (_FRAMES_PER_S * workers))
        console.say(
            f"{self.output}: {todo} of {frames} frames to render on the CPU, about {took}, "
            f"{console.size(frames * _BYTES_PER_FRAME)}"
        )

    def make(self) -> str:
        """Render who is missing, and publish the dataset."""
        self._render()
        paths.publish_dir(self._finish(), self.output)
        note_done(self._made_of, self.output)
        paths.discard(self._work)
        knobs = self._knobs
        return (
            f"{_frames(self._planned)} frames, {len(self._planned)} tracklets, "
            f"{knobs.identities_train} persons to train on, {knobs.identities_test} to test on, "
            f"{knobs.cameras} cameras"
        )

    def _missing(self) -> list[list["PlannedTracklet"]]:
        people = _people(self._planned)
        return [person for person in people if not _is_rendered(self._work, person)]

    def _render(self) -> None:
        missing, total = self._missing(), _frames(self._planned)
        done = total - sum(map(_frames, missing))
        jobs = [(self._work, self._knobs, person) for person in missing]
        bytes_left = sum(map(_frames, missing)) * _BYTES_PER_FRAME
        machine.check_space(self._work, bytes_left, f"what is left of {self.output}")
        with console.progress(total, "frames", "walkers", done) as meter:
            for _, frames in each(render_person, jobs, self._stage.params.runtime.workers):
                meter.advance(frames)

    def _finish(self) -> Path:
        """Write what covers the whole dataset, and return its folder, ready to be published."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from extract.walkers.captions import write_captions
        from extract.walkers.mars_files import write_info
        from extract.walkers.plan import queries

        dataset = self._work / "dataset"
        write_info(dataset, self._planned, queries(self._planned, self._knobs.seed))
        truth = pa.concat_tables(
            [_read_truth(_truth_file(self._work, one)) for one in _people(self._planned)],
            promote_options="default",
        )
        if self._knobs.captions:
            write_captions(dataset / "captions.jsonl", self._planned, self._knobs)
        if "silhouette" in truth.column_names:
            with paths.write_atomic(dataset / "silhouettes.parquet") as path:
                pq.write_table(truth.select(["path", "silhouette"]), path, compression="zstd")
            truth = truth.drop_columns(["silhouette"])
        truth = truth.replace_schema_metadata({"layout_2d": "coco17"})
        with paths.write_atomic(dataset / "truth.parquet") as path:
            pq.write_table(truth, path)
        return dataset


def render_person(work: Path, knobs: "WalkersParams", planned: list["PlannedTracklet"]) -> int:
    """Render all tracklets of one person into the work folder and return their frames.

    The truth is written last and by rename, so that its file says that no crop is half written.
    """
    import cv2
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from extract.walkers.clip import film
    from extract.walkers.frame import scene
    from extract.walkers.mars_files import truth_table, write_crops
    from pipeline.names import JUNK

    cv2.setNumThreads(1)
    tables = []
    for tracklet in planned:
        person = tracklet.person(knobs)
        altitude_m = knobs.altitude_m if tracklet.is_aerial(knobs) else None
        where = scene(*tracklet.scene_key(knobs), altitude_m=altitude_m)
        is_junk = tracklet.pid == JUNK
        numbers = np.asarray(tracklet.frame_numbers)
        rng, effects = tracklet.rng(knobs.seed), tracklet.effects(knobs)
        clip = film(person, where, numbers, rng, is_junk, effects)
        write_crops(work / "dataset", tracklet, clip)
        has_views = knobs.spectrum or knobs.aerial
        view = tracklet.view(knobs, where.camera) if has_views else None
        tables.append(truth_table(tracklet, person, clip, view))
    with paths.write_atomic(_truth_file(work, planned)) as path:
        pq.write_table(pa.concat_tables(tables), path)
    return sum(len(tracklet.frame_numbers) for tracklet in planned)


def _truth_file(work: Path, planned: list["PlannedTracklet"]) -> Path:
    return work / "truth" / f"{planned[0].split}-{planned[0].folder}.parquet"


def _is_rendered(work: Path, planned: list["PlannedTracklet"]) -> bool:
    """Return whether a person's truth and crops are there: a killed run may leave either alone."""
    from extract.walkers.mars_files import crop_path

    crops = (crop_path(tracklet, crop) for tracklet in planned for crop in tracklet.crops)
    dataset = work / "dataset"
    truth = _truth_file(work, planned)
    return is_sound(truth) and all((dataset / crop).exists() for crop in crops)


def is_sound(truth: Path) -> bool:
    """Return whether a person's truth can be read; what is damaged is removed, to be made again."""
    if not truth.exists() and not truth.is_symlink():
        return False
    try:
        _read_truth(truth)
    except PipelineError:
        shutil.rmtree(truth) if truth.is_dir() and not truth.is_symlink() else truth.unlink()
        return False
    return True


def _read_truth(file: Path) -> "pa.Table":
    from pipeline.files import tables

    return tables.read(file, "Remove it, and run the same command again")


def _people(planned: list["PlannedTracklet"]) -> list[list["PlannedTracklet"]]:
    found: dict[tuple[str, str], list[PlannedTracklet]] = {}
    for tracklet in planned:
        found.setdefault((tracklet.split, tracklet.folder), []).append(tracklet)
    return list(found.values())


def _frames(planned: list["PlannedTracklet"]) -> int:
    return sum(len(tracklet.frame_numbers) for tracklet in planned)
