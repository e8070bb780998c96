"""A box of a person in a frame of a video, and what is refused of those that files hold."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError

# What people are called where a file names what it found, small and without a plural's s.
_PEOPLE = ("person", "pedestrian", "people", "human", "walker")


class Box(NamedTuple):
    """One box.

    Attributes:
        frame: Number of the frame, from 0.
        track: Who, by the name the file gives them; empty where the file does not say.
        x, y: Upper left corner in pixels, or in shares of the picture's sides.
        width, height: Likewise, above 0.
        score: Of the detector, 1 where the file says none.
        label: What it is around, in the file's words.
        where: File and line, or whatever finds the box in its file.
    """

    frame: int
    track: str
    x: float
    y: float
    width: float
    height: float
    score: float
    label: str
    where: str


def number(text: object, what: str, where: str) -> float:
    """Return a number out of a file of boxes.

    Raises:
        PipelineError: If it is none, or not finite.
    """
    try:
        found = float(str(text))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise PipelineError(f"{where}: {what} is {text!r:.40}. Give a number")
    return found


def whole(text: object, what: str, where: str) -> int:
    """Return a whole number out of a file of boxes, written as 7 or as 7.0.

    Raises:
        PipelineError: If it is none.
    """
    found = number(text, what, where)
    if found != int(found):
        raise PipelineError(f"{where}: {what} is {text!r:.40}. Give a whole number")
    return int(found)


def checked(boxes: Iterable[Box]) -> Iterator[Box]:
    """Pass boxes on that have a size and stand in a frame that can be.

    Raises:
        PipelineError: At the first other one, or at two of one track in one frame.
    """
    seen: dict[tuple[int, str], str] = {}
    for box in boxes:
        if box.width <= 0 or box.height <= 0:
            raise PipelineError(
                f"{box.where}: the box is {box.width:g} wide and {box.height:g} high. "
                "Both must be above 0"
            )
        if box.frame < 0:
            raise PipelineError(f"{box.where}: there is no frame before the first")
        key = (box.frame, box.track)
        if box.track and key in seen:
            raise PipelineError(
                f"{box.where}: track {box.track} has another box in this frame, at {seen[key]}. "
                "A track is one person: delete one, or number tracks anew"
            )
        seen[key] = box.where
        yield box


def people_among(boxes: list[Box], label: str | None, file: Path, left_out: Counter) -> list[Box]:
    """Return the boxes around people.

    Args:
        boxes: All of a file.
        label: What people are called there; None takes the only label, or what sounds like people.
        file: For the error.
        left_out: Counts what is around something else.

    Raises:
        PipelineError: If nobody can tell which label is meant, or there is no such label.
    """
    labels = {box.label for box in boxes}
    if label is not None:
        kept = labels & {label}
    elif len(labels) <= 1:
        kept = labels
    else:
        kept = {one for one in labels if one.lower() in _PEOPLE}
    if not kept and boxes:
        shown = ", ".join(sorted(labels)[:8])
        raise PipelineError(f"{file} holds boxes of {shown}. Say which are people: --label NAME")
    found = [box for box in boxes if box.label in kept]
    left_out["around something else"] += len(boxes) - len(found)
    return found
