"""Rank a gallery and average over queries, the one place where that is defined.

The rules are those of Market-1501 (Zheng et al., ICCV 2015, section 5) and MARS (Zheng et al.,
ECCV 2016, section 5); docs/protocol.md states each with its source.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from pipeline.errors import PipelineError, did_you_mean
from pipeline.names import DISTRACTOR, JUNK

ClothesRule = Literal["general", "same", "changing"]


class NoMatchError(PipelineError):
    """No query has a match in the gallery, so there is nothing to average."""


class Distances(Protocol):
    """A matrix of distances that can be read a few rows at a time."""

    shape: tuple[int, int]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the distances of some queries to the whole gallery."""


@dataclass(frozen=True)
class Ids:
    """Person, camera and (optionally) clothes and name, one of each per tracklet.

    Person -1 marks junk, which is never ranked; person 0 marks distractors, which are. A query is
    never ranked for itself: that is the gallery tracklet of its name.
    """

    pid: np.ndarray
    camid: np.ndarray
    clothes: np.ndarray | None = None
    tracklet: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Turn lists into arrays and refuse columns of different lengths."""
        for name, column in self._columns().items():
            object.__setattr__(self, name, np.asarray(column))
        lengths = {name: len(column) for name, column in self._columns().items()}
        if len(set(lengths.values())) > 1:
            raise PipelineError(f"Every tracklet needs one pid, one camid: lengths are {lengths}.")

    def _columns(self) -> dict[str, np.ndarray]:
        return {name: column for name, column in vars(self).items() if column is not None}

    def __len__(self) -> int:
        """Return the number of tracklets."""
        return len(self.pid)

    def __getitem__(self, keep: np.ndarray | slice) -> "Ids":
        """Return the ids of some tracklets."""
        return Ids(**{name: column[keep] for name, column in self._columns().items()})


@dataclass(frozen=True)
class Retrieval:
    """What a ranking is worth, per query (`(N,)`, NaN where not scored) and on average."""

    ap: np.ndarray
    ap_trapezoid: np.ndarray
    inp: np.ndarray
    first_rank: np.ndarray
    cmc: np.ndarray
    gallery: int

    @property
    def scored(self) -> np.ndarray:
        """Mask of the queries that have a match left in the gallery."""
        return ~np.isnan(self.ap)

    @property
    def mean_ap(self) -> float:
        """Mean of the standard average precision over the scored queries."""
        return self._mean(self.ap)

    def _mean(self, values: np.ndarray) -> float:
        # The order of the queries changes no bit of such a sum.
        return math.fsum(values[self.scored]) / int(self.scored.sum())

    def summary(self, ranks: tuple[int, ...] = (1, 5, 10, 20)) -> dict[str, float | int]:
        """Return the numbers that papers print, as fractions, and what they count."""
        rank_values = {f"rank{k}": self._mean(self.first_rank <= k) for k in ranks}
        return {
            "mAP": self.mean_ap,
            "mAP_trapezoid": self._mean(self.ap_trapezoid),
            "mINP": self._mean(self.inp),
            **rank_values,
            "queries_scored": int(self.scored.sum()),
            "queries": len(self.ap),
            "gallery": self.gallery,
        }


def cmc_and_map(
    dist: Distances,
    query: Ids,
    gallery: Ids,
    max_rank: int = 20,
    clothes_rule: ClothesRule = "general",
    same_camera_counts: bool = False,
    block_rows: int = 128,
) -> Retrieval:
    """Rank the gallery for every query and average over the valid queries.

    A gallery tracklet of the same person *and the same camera* as the query is dropped from that
    query's ranking, as in the Market-1501 and MARS protocols; so are the query itself and junk
    (person -1). Distractors (person 0) stay. A query left without any match is not scored.
    Where distances are equal, matches come last: a tie wins nothing, and no order of the gallery
    changes a number. Memory is a few blocks of rows, whatever the number of queries.

    Args:
        dist: `(N, M)`, smaller is closer.
        query: Ids of the `N` queries.
        gallery: Ids of the `M` gallery tracklets.
        max_rank: Length of the CMC curve.
        clothes_rule: `same` also drops the query's person in other clothes, `changing` the
            person in the same clothes (CCVID, Gu et al., CVPR 2022).
        same_camera_counts: Keep the query's person in the same camera (VReID-XFD).
        block_rows: Queries ranked at a time.

    Returns:
        Average precisions, first ranks and the CMC curve.

    Raises:
        PipelineError: If shapes disagree, a distance is not finite, or no query has a match.

    >>> r = cmc_and_map(np.array([[0.1, 0.2, 0.3]]), Ids([7], [0]), Ids([7, 9, 7], [0, 1, 1]))
    >>> r.cmc[:2].tolist(), round(r.mean_ap, 2)
    ([0.0, 1.0], 0.5)
    """
    ranks = list(
        map_queries(_ranks, dist, query, gallery, clothes_rule, same_camera_counts, block_rows)
    )
    row = np.repeat(np.arange(len(query)), [len(own) for own in ranks])
    ranked = int(np.count_nonzero(gallery.pid != JUNK))
    return _average(row, np.concatenate(ranks), len(query), ranked, max_rank)


def map_queries(
    work: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    dist: Distances,
    query: Ids,
    gallery: Ids,
    clothes_rule: ClothesRule = "general",
    same_camera_counts: bool = False,
    block_rows: int = 128,
) -> Iterator[np.ndarray]:
    """Call `work(values, matches, removed)` for every query, and yield what it returns.

    It is given the query's distances to the gallery without junk, which it may overwrite, the
    indices of matches in them, and of what the rules leave out. Arguments and errors are those of
    `cmc_and_map`.
    """
    _check(dist, query, gallery, clothes_rule)
    kept_columns = np.flatnonzero(gallery.pid != JUNK)
    gallery = gallery[kept_columns]
    row, column, is_match = same_person(query, gallery, clothes_rule, same_camera_counts)
    if not is_match.any():
        raise NoMatchError("No query has a match in another camera: there is nothing to score.")
    bounds = np.searchsorted(row, np.arange(len(query) + 1))

    def of_block(start: int) -> list[np.ndarray]:
        block = _block(dist, slice(start, start + block_rows))
        found = []
        for i, values in enumerate(block, start):
            mine = slice(bounds[i], bounds[i + 1])
            own, counts = column[mine], is_match[mine]
            found.append(work(values[kept_columns], own[counts], own[~counts]))
        return found

    # Threads, because sorting releases the interpreter lock: one block of rows each.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for found in pool.map(of_block, range(0, len(query), block_rows)):
            yield from found


def same_person(
    query: Ids,
    gallery: Ids,
    clothes_rule: ClothesRule = "general",
    same_camera_counts: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List all pairs of a query and a gallery tracklet of one person; distractors have none.

    Returns:
        Query of each pair (ascending), gallery tracklet, and whether it counts as a match;
        a pair that does not is left out of that query's ranking.

    Raises:
        PipelineError: If the rule is about clothes and nobody's are known.
    """
    by_person = np.argsort(gallery.pid, kind="stable")
    sorted_pid = gallery.pid[by_person]
    start = np.searchsorted(sorted_pid, query.pid, side="left")
    number = np.searchsorted(sorted_pid, query.pid, side="right") - start
    number[query.pid <= DISTRACTOR] = 0
    row = np.repeat(np.arange(len(query)), number)
    column = by_person[ranges(start, number)]
    is_match = gallery.pid[column] != JUNK
    if not same_camera_counts:
        is_match &= query.camid[row] != gallery.camid[column]
    if query.tracklet is not None and gallery.tracklet is not None:
        is_match &= query.tracklet[row] != gallery.tracklet[column]
    if clothes_rule != "general":
        if query.clothes is None or gallery.clothes is None:
            raise PipelineError(
                f"The clothes rule {clothes_rule!r} needs a clothes id per tracklet."
            )
        same_clothes = query.clothes[row] == gallery.clothes[column]
        is_match &= same_clothes if clothes_rule == "same" else ~same_clothes
    return row, column, is_match


def ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the integers of several ranges, one range after the other.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    return np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length)


def _check(dist: Distances, query: Ids, gallery: Ids, clothes_rule: str) -> None:
    if tuple(dist.shape) != (len(query), len(gallery)):
        raise PipelineError(
            f"The distances have shape {tuple(dist.shape)}, but there are {len(query)} queries "
            f"and {len(gallery)} gallery tracklets."
        )
    if clothes_rule not in get_args(ClothesRule):
        hint = did_you_mean(clothes_rule, get_args(ClothesRule))
        raise PipelineError(f"{clothes_rule!r} is no clothes rule. {hint}")


def _block(dist: Distances, rows: slice) -> np.ndarray:
    block = np.asarray(dist[rows])
    if block.dtype not in (np.float32, np.float64):
        block = block.astype(np.float32)
    if not (np.isfinite(block.min()) and np.isfinite(block.max())):
        raise PipelineError("A distance is NaN or infinite. Look for NaN in the features.")
    return block


def _ranks(values: np.ndarray, matches: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Return the sorted 1-based ranks of `matches` when `removed` are taken out of `values`.

    Only values are sorted: sorting indices costs several times as much. `values` is overwritten.
    """
    if not len(matches):
        return matches
    values[removed] = np.inf
    found = np.sort(values[matches])
    # What is farther than the last match changes no rank.
    ordered = np.sort(values[values <= found[-1]])
    others = np.searchsorted(ordered, found, "right") - np.searchsorted(found, found, "right")
    return others + np.arange(1, len(found) + 1)


def _average(
    row: np.ndarray, rank: np.ndarray, queries: int, gallery: int, max_rank: int
) -> Retrieval:
    """Turn the ranks of all matches, ordered by query and rank, into averages."""
    matches = np.bincount(row, minlength=queries)
    last = np.cumsum(matches)
    is_scored = matches > 0
    # Number of the match within its query: 1 for the best ranked, 2 for the next.
    number = np.arange(1, len(row) + 1) - np.repeat(last - matches, matches)
    precision = number / rank
    before = np.divide(number - 1, rank - 1, out=np.ones(len(rank)), where=rank > 1)

    def per_query(values: np.ndarray) -> np.ndarray:
        return np.where(is_scored, values, np.nan)

    number_of = np.maximum(matches, 1)
    first_rank = np.full(queries, np.nan)
    first_rank[is_scored] = rank[(last - matches)[is_scored]]
    inp = np.full(queries, np.nan)
    inp[is_scored] = matches[is_scored] / rank[last[is_scored] - 1]
    hits = np.bincount(first_rank[is_scored].astype(np.int64), minlength=max_rank + 1)
    return Retrieval(
        ap=per_query(np.bincount(row, precision, queries) / number_of),
        ap_trapezoid=per_query(np.bincount(row, (precision + before) / 2, queries) / number_of),
        inp=inp,
        first_rank=first_rank,
        cmc=np.cumsum(hits)[1 : max_rank + 1] / is_scored.sum(),
        gallery=gallery,
    )
