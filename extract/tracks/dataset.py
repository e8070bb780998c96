"""Crops and `frames.csv` of some videos: one run of the command, resumable."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from extract.tracks.boxes import Box
from extract.tracks.cut import Crop, Shape, cut, jpeg, plan
from extract.tracks.video import Looks, Video
from pipeline import console, paths
from pipeline.code.fingerprint import fingerprint, is_done, note_done
from pipeline.errors import PipelineError
from pipeline.names import natural, person_numbers
from pipeline.paths import file_name

# Part of the fingerprint of unfinished work: raise it when the same input gives other crops.
VERSION = 1
ABOUT = "tracks.json"
COLUMNS = ("path", "split", "pid", "camid", "tracklet", "frame")
# Frames between two notes of how far a video was cut.
_NOTE = 100


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        out: The dataset's folder.
        shape: How crops are cut.
        looks: Which frames are looked at.
        query: The camera whose tracklets are queries; the others are the gallery.
        shared: Whether a track's name is that of a person, the same in all videos.
        made_by: What else decides the result: formats, detector, tracker.
    """

    out: Path
    shape: Shape
    looks: Looks = field(default_factory=Looks)
    query: str = ""
    shared: bool = False
    made_by: dict[str, object] = field(default_factory=dict)


@dataclass
class Filmed:
    """A video and the people in it.

    Attributes:
        video: The video.
        boxes: Who is where.
        counted: What was clipped and what was left out.
        crops: What is to be cut, in the order of frames.
    """

    video: Video
    boxes: list[Box]
    counted: Counter[str]
    crops: list[Crop] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The number behind the last frame that is looked at."""
        return self.crops[-1].frame + 1 if self.crops else 0


class Cutting:
    """One run of the command.

    Attributes:
        output: The dataset's folder.
        filmed: All videos.
    """

    def __init__(self, wanted: Wanted, filmed: list[Filmed], sources: list[Path]) -> None:
        """Plan all crops.

        Args:
            wanted: The command line.
            filmed: Videos and boxes; frames that are not looked at are left out.
            sources: Files that decide the result beside the videos.

        Raises:
            PipelineError: If the folder holds something else, or two tracks would be one.
        """
        self.wanted, self.filmed, self.output = wanted, filmed, wanted.out
        _refuse_foreign(wanted.out)
        for one in filmed:
            kept = [box for box in one.boxes if box.frame in wanted.looks]
            one.crops = plan(kept, one.video.size, wanted.shape, one.counted)
        self._refuse_one_name_for_two()
        self._made_of = fingerprint(
            *sources, *_videos(filmed), version=VERSION, wanted=asdict(wanted),
            pictures=[one.video.stats() for one in filmed],
        )  # fmt: skip
        self._work = paths.work_dir("tracks", file_name(str(wanted.out)), self._made_of)

    def is_done(self) -> bool:
        """Return whether the dataset stands there, made of the same files and knobs."""
        return is_done(self._made_of, self.output)

    def plan(self) -> None:
        """Print how much is to be cut."""
        todo = 0 if self.is_done() else sum(len(one.crops) for one in self.filmed)
        people = len({(one.video.camera, crop.track) for one in self.filmed for crop in one.crops})
        console.say(
            f"{self.output}: {todo} crops of {people} tracks to cut from "
            f"{sum(one.end for one in self.filmed)} frames of {len(self.filmed)} videos"
        )

    def make(self) -> str:
        """Cut what is missing, and publish the dataset."""
        frames = sum(one.end for one in self.filmed)
        with console.progress(frames, "frames", "tracks", 0) as meter:
            ends = [self._cut(one, meter.advance) for one in self.filmed]
        rows = sorted(self._rows(ends), key=lambda row: [natural(str(part)) for part in row[:1]])
        if not rows:
            raise PipelineError("no crop is left. Look at --min-height, or at the boxes")
        folder = self._work / "dataset"
        _write_table(folder / "frames.csv", rows)
        counted = sum((one.counted for one in self.filmed), Counter())
        tracklets = len({row[4] for row in rows})
        about = {"crops": len(rows), "tracklets": tracklets, **dict(sorted(counted.items()))}
        (folder / ABOUT).write_text(
            json.dumps({"asked": self._about(), "counted": about}, indent=1)
        )
        paths.publish_dir(folder, self.output)
        note_done(self._made_of, self.output)
        paths.discard(self._work)
        shown = [("crops", len(rows)), ("tracklets", tracklets)]
        shown += [(f"boxes {what}", number) for what, number in sorted(counted.items()) if number]
        console.table(str(self.output), ("what", "number"), shown)
        return f"{len(rows)} crops, {tracklets} tracklets, {len(self.filmed)} cameras"

    def _cut(self, one: Filmed, advance: Callable[[int], None]) -> int:
        """Cut a video, from where a killed run ended; return how many frames could be read."""
        note = self._work / f"{one.video.camera}.frames"
        done = int(note.read_text()) if note.exists() else 0
        by_frame: dict[int, list[Crop]] = defaultdict(list)
        for crop in one.crops:
            if crop.frame >= done:
                by_frame[crop.frame].append(crop)
        if not by_frame:
            advance(one.end)
            return max(done, one.end)
        number = -1
        for number, image in one.video.frames(by_frame):
            for crop in by_frame.get(number, ()):
                if image is not None:
                    self._write(one.video, crop, image)
            advance(1)
            if number + 1 == one.end:
                break
            if number >= done and number % _NOTE == _NOTE - 1:
                _note(note, number + 1)
        if number + 1 < one.end:
            self._say_broken(one, number + 1)
        else:
            _note(note, number + 1)
        return number + 1

    def _write(self, video: Video, crop: Crop, image: np.ndarray) -> None:
        file = self._work / "dataset" / crop_path(video, crop)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(cut(image, crop.window)))

    def _say_broken(self, one: Filmed, read: int) -> None:
        lost = sum(crop.frame >= read for crop in one.crops)
        one.counted["behind a break of the video"] += lost
        console.warn(
            f"{one.video.path} breaks after {read} of {one.video.told_frames} frames: what came "
            f"before is kept, {lost} boxes behind it are left out"
        )

    def _rows(self, ends: list[int]) -> Iterator[tuple[str, str, int, str, str, int]]:
        """Yield the lines of frames.csv: of crops that are on disk."""
        pids = self._people()
        for one, end in zip(self.filmed, ends, strict=True):
            camera = one.video.camera
            split = "query" if camera == self.wanted.query else "gallery"
            for crop in one.crops:
                path = crop_path(one.video, crop)
                if crop.frame >= end:
                    continue
                if not (self._work / "dataset" / path).exists():
                    one.counted["in a picture that does not decode"] += 1
                    continue
                pid = pids[self._person(camera, crop.track)]
                yield path, split, pid, camera, tracklet_of(camera, crop.track), crop.frame

    def _person(self, camera: str, track: str) -> str:
        return track if self.wanted.shared else f"{camera}_{track}"

    def _refuse_one_name_for_two(self) -> None:
        """Raise where two tracks of two videos would be one tracklet."""
        names: dict[str, tuple[str, str]] = {}
        for one in self.filmed:
            for crop in one.crops:
                key = (one.video.camera, crop.track)
                if names.setdefault(tracklet_of(*key), key) != key:
                    raise PipelineError(
                        f"Track {crop.track} of {one.video.path} and another of another video "
                        f"would both be {tracklet_of(*key)}. Rename a video"
                    )

    def _people(self) -> dict[str, int]:
        names = {
            self._person(one.video.camera, crop.track) for one in self.filmed for crop in one.crops
        }
        return person_numbers(names, self.output)

    def _about(self) -> dict[str, object]:
        videos = {one.video.camera: one.video.path.name for one in self.filmed}
        knobs = asdict(self.wanted) | {"out": self.output.name}
        return {"version": VERSION, "videos": videos} | knobs


def tracklet_of(camera: str, track: str) -> str:
    """Return the name of a track among those of all cameras."""
    return f"{camera}_{file_name(track)}"


def crop_path(video: Video, crop: Crop) -> str:
    """Return where a crop lies in the dataset."""
    return f"{video.camera}/{file_name(crop.track)}/{crop.frame:06d}.jpg"


def _note(file: Path, frames: int) -> None:
    with paths.write_atomic(file) as temporary:
        temporary.write_text(str(frames))


def _write_table(file: Path, rows: list[tuple]) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _refuse_foreign(out: Path) -> None:
    """Raise where the folder to be made holds what this command did not make."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / ABOUT).exists()):
        raise PipelineError(
            f"{out} is there already, and was not made by this command. Name another folder"
        )


def _videos(filmed: list[Filmed]) -> list[Path]:
    return [one.video.path for one in filmed if not one.video.is_folder]
