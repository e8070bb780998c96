"""Make a test dataset of a real street: seven people who come back, in PETS 2009.

Run it:   python -m extract.street --from DIR

DIR holds PETS 2009 S2.L1, view 1, and its boxes in the text format of MOTChallenge: `vtest.avi` and
`vtest_gt.txt`, or `img1/*.jpg` and `gt/gt.txt`, as MOT15 has them. The crops are test data alone: a
track is one visit of a person, and a visit counts as a camera. Four pieces of it are in the
gallery, the first and the third also search. Tracks of people who do not come back are distractors.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from pipeline import cli, console, images, paths
from pipeline.errors import PipelineError
from pipeline.names import DISTRACTOR

DATASET = "street"
# Which tracks show the same person, seen by eye. Tracks 7, 16 and 17 are of people who do not
# come back.
PEOPLE = ((1, 19), (2, 13), (3, 11), (4, 12), (5, 9), (6, 10), (8, 14, 15, 18))
TRACKS = 19
PIECES, QUERIES, FRAMES = 4, (0, 2), 12
_COLUMNS = ("path", "split", "pid", "camid", "tracklet", "frame")


@dataclass(frozen=True)
class Box:
    """Where a track is in a frame, which counts from 1, in pixels."""

    frame: int
    left: float
    top: float
    width: float
    height: float

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Return the part of a frame; a box that reaches over the edge is cut off there."""
        left, top = max(0, round(self.left)), max(0, round(self.top))
        return image[top : round(self.top + self.height), left : round(self.left + self.width)]


def main(
    source: Annotated[
        Path, typer.Option("--from", help="The folder with the film or its frames, and the boxes.")
    ],
    quiet: cli.Quiet = False,
) -> None:
    """Cut the people of a real street out of its frames, as the dataset `street`."""
    cli.set_output(False, quiet)
    tracks = read_boxes(_first(source, "vtest_gt.txt", "gt/gt.txt"))
    made = paths.WORK / DATASET
    if made.exists():
        paths.discard(made)
    made.mkdir(parents=True)
    wanted: dict[int, list[tuple[str, Box]]] = {}
    with (made / "frames.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        for track, boxes in tracks.items():
            for row, box in _rows(track, boxes):
                rows.writerow(row)
                wanted.setdefault(box.frame, []).append((row[0], box))
    for number, image in _frames(_first(source, "vtest.avi", "img1"), max(wanted)):
        for name, box in dict(wanted.get(number, ())).items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(made / name), box.crop(image), [cv2.IMWRITE_JPEG_QUALITY, 95])
    root = paths.dataset_root(DATASET)
    paths.publish_dir(made, root)
    crops = len(list(root.rglob("*.jpg")))
    console.summary(root, f"{crops} crops", "python -m pipeline.params --enable street")


def _first(folder: Path, *names: str) -> Path:
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        raise PipelineError(f"{folder} holds neither {' nor '.join(names)}. Name it by --from")
    return found


def read_boxes(file: Path) -> dict[int, list[Box]]:
    """Return the boxes of each track, in the order of frames, without those marked as not counting.

    Raises:
        PipelineError: If it is no such file, or not of this film.
    """
    tracks: dict[int, list[Box]] = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            frame, track, left, top, width, height, counts = map(float, line.split(",")[:7])
        except ValueError:
            raise PipelineError(
                f"{file}:{number}: expected frame,track,left,top,width,height,counts"
            ) from None
        if counts:
            box = Box(int(frame), left - 1, top - 1, width, height)
            tracks.setdefault(int(track), []).append(box)
    if sorted(tracks) != list(range(1, TRACKS + 1)):
        raise PipelineError(
            f"{file} holds {len(tracks)} tracks, and PETS 2009 S2.L1 {TRACKS}, numbered from 1. "
            "Who is who is known for these alone"
        )
    return {key: sorted(tracks[key], key=lambda box: box.frame) for key in sorted(tracks)}


def _rows(track: int, boxes: list[Box]) -> Iterator[tuple[tuple, Box]]:
    """Yield the lines of `frames.csv` for a track, each with its box."""
    visits = next((one for one in PEOPLE if track in one), ())
    pid = PEOPLE.index(visits) + 1 if visits else DISTRACTOR
    camera = visits.index(track) if visits else 0
    for piece in range(PIECES):
        # In the middle of each quarter, so that two pieces are some seconds apart.
        middle = len(boxes) * (2 * piece + 1) // (2 * PIECES)
        start = max(0, middle - FRAMES // 2)
        name = f"track{track:02d}_{piece}"
        splits = {"gallery": name}
        if visits and piece in QUERIES:
            splits["query"] = f"{name}_query"
        for split, tracklet in splits.items():
            for box in boxes[start : start + FRAMES]:
                path = f"track{track:02d}/{box.frame:06d}.jpg"
                yield (path, split, pid, f"visit{camera + 1}", tracklet, box.frame), box


def _frames(source: Path, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield numbers from 1 and frames, BGR, up to the last one that is wanted.

    Raises:
        PipelineError: If the film or a picture does not decode, or the film ends before.
    """
    if source.is_dir():
        for number in range(1, last + 1):
            file = source / f"{number:06d}.jpg"
            image, _ = images.read(file)
            if image is None:
                raise PipelineError(f"{file} is missing or does not decode. Get it again")
            yield number, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return
    film = cv2.VideoCapture(str(source))
    try:
        for number in range(1, last + 1):
            is_read, image = film.read()
            if not is_read:
                raise PipelineError(f"{source} ends before frame {number}, {last} are needed")
            yield number, image
    finally:
        film.release()


if __name__ == "__main__":
    cli.run(main)
