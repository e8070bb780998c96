"""From the plan of a stage of extraction to its published tables; what pose2d and pose3d share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, machine, paths
from pipeline.code.fingerprint import is_done, note_done
from pipeline.errors import PipelineError
from pipeline.files import texts
from pipeline.stage import Stage

if TYPE_CHECKING:
    from extract.engine.chunks import ChunkStore
    from extract.engine.cluster import Work
    from extract.engine.frames import FrameFiles

BAD_SHOWN = 3
# What joints and keys of a frame take on disk at least.
FRAME_BYTES = 150


@dataclass(frozen=True)
class Job:
    """Everything one run of one stage is going to do.

    Attributes:
        stage: The command as the user gave it.
        output: Where the tables go.
        fingerprint: Changes with whatever changes the tables.
        chunks: Frames and input of each chunk, in the order of the tables.
        work: What to do with a chunk.
        metadata: Text metadata of the tables, known when all chunks are done.
        max_bad: Share of missing and unreadable frames above which nothing is published; None
            where frames are not read.
        then: What to run next.
        files: The frames, whose files may change unnoticed by the fingerprint; None where the
            fingerprint covers all that is read.
    """

    stage: Stage
    output: Path
    fingerprint: str
    chunks: Sequence[tuple[int, Any]]
    work: "Work"
    metadata: Callable[[], dict[str, object]]
    max_bad: float | None
    then: str
    files: "FrameFiles | None" = None

    @property
    def folder(self) -> Path:
        """Where unfinished work lies."""
        return self.stage.work(self.fingerprint)

    @property
    def frames(self) -> int:
        """Frames in all."""
        return sum(frames for frames, _ in self.chunks)

    def is_done(self) -> bool:
        """Return whether the tables are there, and no frame that was bad has been mended since."""
        return is_done(self.fingerprint, self.output) and not _repaired(self)

    def plan(self) -> None:
        """Print what is left to do."""
        from extract.engine.chunks import ChunkStore

        _announce(self, ChunkStore(self.folder, len(self.chunks)))

    def make(self) -> str:
        """Make what is missing of the tables and publish them.

        Raises:
            PipelineError: If too many frames are bad, or the disk is full.
        """
        from extract.engine.chunks import ChunkStore

        store = ChunkStore(self.folder, len(self.chunks))
        self.folder.mkdir(parents=True, exist_ok=True)
        store.clean()
        if damaged := store.drop_damaged():
            console.say(f"{len(damaged)} finished chunks are damaged: making them again")
        _drop_changed(self, store)
        _make_missing(self, store)
        bad = _check_bad(self, store) if self.max_bad is not None else 0
        metadata = self.metadata() | {"bad_frames": bad}
        size = store.publish(self.output, lambda split: metadata)
        note_done(self.fingerprint, self.output)
        store.remove()
        return f"{self.frames} frames, {bad} bad, {console.size(size)}"


def _repaired(job: Job) -> bool:
    """Return whether frames that were bad when the tables were made can be read now."""
    name = next(job.files.repaired(job.output), None) if job.files else None
    if name:
        console.say(f"{name} was bad and is not any more: making the tables again")
    return name is not None


def _drop_changed(job: Job, store: "ChunkStore") -> None:
    """Forget the chunks of a stopped run whose frames were replaced since."""
    if job.files is None:
        return
    changed = [
        number
        for number, stamp in store.stamps()
        if stamp != job.files.stamp(job.chunks[number][1])
    ]
    if changed:
        console.say(f"{len(changed)} finished chunks hold frames that changed: making them again")
        store.drop(changed)


def _announce(job: Job, store: "ChunkStore") -> None:
    left = sum(job.chunks[number][0] for number in store.missing())
    runtime = job.stage.params.runtime
    where = runtime.scheduler or f"{runtime.workers} workers here, device {runtime.device}"
    console.say(f"{job.stage.name}: {job.frames} frames, {job.frames - left} done, {left} left")
    console.say(f"where    {where}")
    rate = _rate_file(job)
    if speed := texts.read_number(rate):
        console.say(f"eta      {console.duration(left / speed)} at the last run's frames/s")
    console.say(f"output   {job.output}")


def _rate_file(job: Job) -> Path:
    return job.folder.parent / "frames_per_s"


def _make_missing(job: Job, store: "ChunkStore") -> None:
    from extract.engine import cluster

    todo = store.missing()
    if not todo:
        return
    # Chunks are joined before they are removed.
    frames = sum(job.chunks[i][0] for i in todo) + job.frames
    machine.check_space(job.folder, frames * FRAME_BYTES, f"what is left of {job.output}")
    chunks = (
        cluster.Chunk(i, job.chunks[i][0], store.path(i).absolute(), job.chunks[i][1]) for i in todo
    )
    left = sum(job.chunks[i][0] for i in todo)
    name = f"{job.stage.name}-{job.fingerprint}"
    with (
        cluster.connect(job.stage.params.runtime) as client,
        cluster.loaded(client, name, job.work),
        console.progress(job.frames, "frames", job.stage.name, job.frames - left) as meter,
    ):
        bad = 0
        for chunk in cluster.run(client, name, chunks):
            bad += chunk.bad
            meter.advance(chunk.frames, bad=bad)
        with paths.write_atomic(_rate_file(job)) as temporary:
            temporary.write_text(f"{meter.rate:.3f}\n")


def _check_bad(job: Job, store: "ChunkStore") -> int:
    """List the missing and unreadable frames, and refuse to publish too many of them."""
    from extract.engine.chunks import bad_frames

    bad = list(bad_frames(store))
    listing = job.folder.parent / "bad_frames.txt"
    listing.unlink(missing_ok=True)
    if not bad:
        return 0
    with paths.write_atomic(listing) as temporary:
        temporary.write_text("".join(f"{status}\t{path}\n" for _, path, status in bad))
    shown = ", ".join(f"{path} ({status})" for _, path, status in bad[:BAD_SHOWN])
    what = (
        f"{len(bad)} of {job.frames} frames are missing or unreadable, as {shown}; all: {listing}"
    )
    if len(bad) > job.max_bad * job.frames:
        store.drop({number for number, _, _ in bad})
        raise PipelineError(
            f"{what}. Repair them and run the same command, or raise pose2d.max_bad_frames "
            f"({job.max_bad:g}) in params.yaml"
        )
    console.warn(what)
    return len(bad)
