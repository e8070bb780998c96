"""Pictures of ranked lists: a query, its nearest gallery tracklets, and everybody's skeleton."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline import console, paths
from pipeline.names import camera_name
from pipeline.schema import Status
from shards import draw
from shards.read import Shards
from shards.sheets import span_of

if TYPE_CHECKING:
    from pipeline.stage import Stage

CELL = (208, 104)
FIGURE = (150, 104)
MATCH, WRONG, JUNK, QUERY = (46, 160, 67), (207, 58, 52), (120, 124, 132), (150, 110, 220)


@dataclass(frozen=True)
class Ranked:
    """One tracklet of a ranked list.

    Attributes:
        tracklet: Its name.
        pid: Its person.
        camid: Its camera.
        distance: From the query.
        is_match: Whether it is the person the query asks for.
        is_junk: Whether the protocol leaves it out of the ranking.
    """

    tracklet: str
    pid: int
    camid: int
    distance: float
    is_match: bool
    is_junk: bool


@dataclass(frozen=True)
class Cell:
    """One place of a ranked list.

    Attributes:
        frame: A picture in a frame of its colour.
        figure: The skeleton, drawn, as wide.
        place: Its rank, or what it is.
        said: Who, where, and how far.
    """

    frame: np.ndarray
    figure: np.ndarray
    place: str
    said: list[str]


class Album:
    """Finds a picture and a skeleton of every tracklet of some shards."""

    def __init__(self, shards: Shards | None) -> None:
        """Use these shards, if there are any."""
        self.shards = shards

    @classmethod
    def of_stage(cls, stage: "Stage") -> "Album":
        """Use the shards of the stage's dataset, if there are any."""
        folder = stage.read(paths.shards_dir(stage.dataset))
        return cls(Shards(folder) if folder.is_dir() else None)

    @property
    def cameras(self) -> dict[int, str]:
        """What the dataset's files call its cameras, by `camid`."""
        return {} if self.shards is None else self.shards.cameras

    @cached_property
    def _positions(self) -> dict[str, int]:
        names = [] if self.shards is None else self.shards.tracklets["tracklet"]
        return {name: i for i, name in enumerate(names)}

    def portrait(self, tracklet: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the frame in the middle of a tracklet and its 3D joints, drawn.

        Of the frames that are fine the one next to the middle is taken. A tracklet that is in no
        shard, or has no readable frame, gets a word in its place.
        """
        if tracklet not in self._positions:
            return draw.blank(CELL, "no frame"), draw.blank(FIGURE)
        rows = self.shards.rows(self._positions[tracklet])
        status = np.asarray(self.shards.status[rows])
        distance = np.abs(np.arange(len(rows)) - len(rows) // 2)
        row = int(rows[np.lexsort((distance, status != Status.OK))[0]])
        (jpeg,) = self.shards.jpeg([row])
        frame = draw.blank(CELL, "no frame") if jpeg is None else self.shards.decoded(row, jpeg)
        span = 0.95 * span_of(self.shards.xyz[rows])
        figure = draw.figure(self.shards.xyz[row], "front", FIGURE, span)
        return draw.fitted(frame, CELL), figure

    def cells(self, query: Ranked, nearest: list[Ranked]) -> list[Cell]:
        """Return a query and its nearest tracklets, best first.

        Green frames are matches and red ones other persons. Grey ones are tracklets that the
        protocol leaves out, most of all those of the same person in the same camera; they carry no
        rank. Colour is not the only sign: the same stands in words.
        """
        cells = [self._cell(query, QUERY, "query", [])]
        rank = 0
        for one in nearest:
            rank += not one.is_junk
            colour = JUNK if one.is_junk else MATCH if one.is_match else WRONG
            word = "left out" if one.is_junk else "match" if one.is_match else "other"
            place = "-" if one.is_junk else f"{rank}"
            distance = console.fixed(one.distance)
            cells.append(self._cell(one, colour, f"{place}  {word}", [distance]))
        return cells

    def _cell(self, one: Ranked, colour: draw.Colour, place: str, below: list[str]) -> Cell:
        frame, figure = self.portrait(one.tracklet)
        if one.is_junk:
            frame = _faded(frame)
        said = [f"{one.pid}, cam {camera_name(self.cameras, one.camid)}", *below]
        return Cell(draw.framed(frame, colour), draw.framed(figure, draw.BACKGROUND), place, said)


def picture_of(cells: list[Cell]) -> np.ndarray:
    """Draw a row of cells beside each other, with what is said of them."""
    columns = []
    for one in cells:
        width = one.frame.shape[1]
        lines = [draw.labelled(draw.blank((18, width)), text) for text in [*one.said, ""][:2]]
        label = draw.labelled(draw.blank((20, width)), one.place)
        columns.append(np.concatenate([label, one.frame, *lines, one.figure]))
    return draw.tiled([columns], gap=6)


def _faded(picture: np.ndarray) -> np.ndarray:
    grey = picture.mean(axis=2, keepdims=True) * 0.6 + 40
    return np.repeat(grey, 3, axis=2).astype(np.uint8)


def search_picture(cells: list[tuple[np.ndarray, list[str]]]) -> np.ndarray:
    """Draw frames beside each other with lines of text below, six to a row."""
    pictures = []
    for frame, text in cells:
        lines = [draw.labelled(draw.blank((18, 150)), line[:21]) for line in [*text, "", ""][:3]]
        pictures.append(np.concatenate([draw.fitted(frame, (CELL[0], 150)), *lines]))
    return draw.tiled([pictures[at : at + 6] for at in range(0, len(pictures), 6)], gap=6)


def choose(ap: np.ndarray, hardest: int = 20) -> dict[str, int]:
    """Choose queries to show: the best, the median and the hardest ones.

    Args:
        ap: Average precision of the `N` queries, NaN where not scored.
        hardest: How many of the hardest to name.

    Returns:
        Positions by name: `best`, `median`, `hardest-01` and on. Ties go to the earlier query.

    >>> choose(np.array([0.5, 1.0, np.nan, 0.1]), hardest=2)
    {'best': 1, 'median': 0, 'hardest-01': 3, 'hardest-02': 0}
    """
    scored = np.flatnonzero(~np.isnan(ap))
    if not len(scored):
        return {}
    order = scored[np.argsort(ap[scored], kind="stable")]
    best = scored[np.argmax(ap[scored])]
    chosen = {"best": int(best), "median": int(order[len(order) // 2])}
    return chosen | {f"hardest-{i + 1:02}": int(at) for i, at in enumerate(order[:hardest])}


def shorten(nearest: list[Ranked], ranked: int = 10, shown: int = 14) -> list[Ranked]:
    """Keep the first tracklets of a list: `ranked` that count, `shown` in all at most."""
    kept = []
    for one in nearest[:shown]:
        kept.append(one)
        if sum(not other.is_junk for other in kept) == ranked:
            break
    return kept
