"""What the command of tracks does before it cuts: boxes from files or from a detector, linked."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from extract.tracks.boxes import Box
from extract.tracks.dataset import Cutting, Filmed, Wanted
from extract.tracks.link import link
from extract.tracks.read import read_boxes
from extract.tracks.video import Video
from pipeline import console
from pipeline.errors import PipelineError, did_you_mean
from pipeline.lock import locked


@dataclass(frozen=True)
class Source:
    """Where boxes come from: the options of the command of these names."""

    format: str = ""
    label: str | None = None
    detector: str = ""
    tracker: str = "bytetrack"
    device: str = "auto"

    def decides(self) -> dict[str, object]:
        """Return what of it decides the result."""
        return {name: value for name, value in asdict(self).items() if name != "device"}


def carry_out(
    wanted: Wanted, paths_of: list[Path], boxes: list[Path], source: Source, dry_run: bool
) -> None:
    """Do what the command line asks for, once; the arguments are those of `prepare`."""
    if dry_run:
        prepare(wanted, paths_of, boxes, source, dry_run).plan()
        return
    with locked(wanted.out):
        run = prepare(wanted, paths_of, boxes, source)
        if run.is_done():
            console.say(f"{wanted.out} is up to date")
            return
        amount = run.make()
        console.summary(wanted.out, amount, f"python -m pipeline.params --enable {wanted.out.name}")


def prepare(
    wanted: Wanted, paths_of: list[Path], boxes: list[Path], source: Source, dry_run: bool = False
) -> Cutting:
    """Read or find all boxes, link those without a track, and plan the crops.

    Args:
        wanted: The command line.
        paths_of: The videos.
        boxes: A file of boxes for each; none where a detector is to find people.
        source: How boxes are read or found.
        dry_run: Whether to detect nobody.

    Raises:
        PipelineError: If files are broken, or do not belong together.
    """
    videos = [Video(path) for path in paths_of]
    _check(wanted, videos, boxes, source)
    filmed = []
    for i, video in enumerate(videos):
        left_out: Counter[str] = Counter()
        if boxes:
            found = read_boxes(boxes[i], video, left_out, source.format, source.label)
        elif dry_run:
            console.say(f"{video.path}: {source.detector} would look at its frames")
            found = []
        else:
            found = _detect(wanted, video, source)
        refuse_behind_the_end(video, [box for box in found if box.frame in wanted.looks])
        filmed.append(Filmed(video, _linked(found, wanted, video, source, left_out), left_out))
    return Cutting(wanted, filmed, [file for path in boxes for file in _files(path)])


def _check(wanted: Wanted, videos: list[Video], boxes: list[Path], source: Source) -> None:
    if boxes and source.detector:
        raise PipelineError("Give --boxes, or a --detector that finds them, not both")
    if not boxes and not source.detector:
        raise PipelineError(
            "Say where people are: --boxes FILE, from any tracker; or who finds them: "
            "--detector fasterrcnn_mobilenet"
        )
    if boxes and len(boxes) != len(videos):
        raise PipelineError(f"{len(videos)} videos and {len(boxes)} --boxes. Give one for each")
    cameras = Counter(video.camera for video in videos)
    twice = [name for name, number in cameras.items() if number > 1]
    if twice:
        raise PipelineError(f"Two videos are called {twice[0]}: cameras are named so. Rename one")
    for video in videos:
        _ = video.size
    if wanted.query and wanted.query not in cameras:
        raise PipelineError(
            f"--query {wanted.query} is no camera. {did_you_mean(wanted.query, cameras)}"
        )


def _detect(wanted: Wanted, video: Video, source: Source) -> list[Box]:
    from extract.tracks.detect import detect

    return detect(video, wanted.looks, source.detector, source.device)


def _linked(
    found: list[Box], wanted: Wanted, video: Video, source: Source, left_out: Counter
) -> list[Box]:
    """Return boxes that all have a track: those that have none are linked if nobody has one."""
    loose = [box for box in found if not box.track]
    if not loose:
        return found
    if len(loose) < len(found):
        left_out["without a track"] += len(loose)
        return [box for box in found if box.track]
    # Only frames that are looked at have boxes: one is as long as `every` of the video.
    kept = [box for box in found if box.frame in wanted.looks]
    near = [box._replace(frame=box.frame // wanted.looks.every) for box in kept]
    linked = link(near, video.fps / wanted.looks.every, source.tracker)
    left_out["of nobody: in one frame alone"] += len(kept) - len(linked)
    return [box._replace(frame=box.frame * wanted.looks.every) for box in linked]


def refuse_behind_the_end(video: Video, boxes: list[Box]) -> None:
    """Raise where a box is in a frame behind the end of a video: it is of another one.

    Those behind a break, up to the length that the video says it has, are no mistake of theirs.
    """
    if not any(box.frame >= video.told_frames for box in boxes):
        return
    # What a video says about its length may be a guess.
    end = max(video.told_frames, video.count())
    behind = (box for box in boxes if box.frame >= end)
    if first := min(behind, key=lambda box: box.frame, default=None):
        raise PipelineError(
            f"{first.where}: frame {first.frame} (from 0) is behind the end of {video.path}, which "
            f"has {end} frames. Are these the boxes of another video?"
        )


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.txt")) if path.is_dir() else [path]
