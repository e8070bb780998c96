"""Rank a gallery and average over queries, the one place where that is defined.

The rules are those of Market-1501 (Zheng et al., ICCV 2015, section 5) and MARS (Zheng et al.,
ECCV 2016, section 5); docs/protocol.md states each with its source.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from pipeline.errors import PipelineError, did_you_mean

JUNK = -1
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
    """Person, camera and (optionally) clothes ids, one of each per tracklet.

    Person -1 marks junk, which is never ranked; person 0 marks distractors, which are.
    """

    pid: np.ndarray
    camid: np.ndarray
    clothes: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Turn lists into arrays and refuse columns of different lengths."""
        for name in ("pid", "camid", "clothes"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        lengths = {name: len(column) for name, column in vars(self).items() if column is not None}
        if len(set(lengths.values())) > 1:
            raise PipelineError(f"Every tracklet needs one pid, one camid: lengths are {lengths}.")

    def __len__(self) -> int:
        """Return the number of tracklets."""
        return len(self.pid)

    def __getitem__(self, keep: np.ndarray | slice) -> "Ids":
        """Return the ids of some tracklets."""
        clothes = None if self.clothes is None else self.clothes[keep]
        return Ids(self.pid[keep], self.camid[keep], clothes)


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
        return float(np.nanmean(self.ap))

    def summary(self, ranks: tuple[int, ...] = (1, 5, 10, 20)) -> dict[str, float | int]:
        """Return the numbers that papers print, as fractions, and what they count."""
        rank_values = {
            f"rank{k}": float(np.nanmean(self.first_rank <= k, where=self.scored)) for k in ranks
        }
        return {
            "mAP": self.mean_ap,
            "mAP_trapezoid": float(np.nanmean(self.ap_trapezoid)),
            "mINP": float(np.nanmean(self.inp)),
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
    block_rows: int = 256,
) -> Retrieval:
    """Rank the gallery for every query and average over the valid queries.

    A gallery tracklet of the same person *and the same camera* as the query is dropped from that
    query's ranking, as in the Market-1501 and MARS protocols; so is junk (person -1).
    Distractors (person 0) stay. A query left without any match is not scored.
    Memory is a few blocks of rows, whatever the number of queries.

    Args:
        dist: `(N, M)`, smaller is closer. Ties are broken by gallery order.
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
    _check(dist, query, gallery, clothes_rule)
    kept_columns = np.flatnonzero(gallery.pid != JUNK)
    gallery = gallery[kept_columns]
    row, column, is_match = same_person(query, gallery, clothes_rule, same_camera_counts)
    if not is_match.any():
        raise NoMatchError("No query has a match in another camera: there is nothing to score.")
    bounds = np.searchsorted(row, np.arange(len(query) + 1))

    def ranks_of(start: int) -> list[np.ndarray]:
        block = _block(dist, slice(start, start + block_rows))
        ranks = []
        for i, values in enumerate(block, start):
            mine = slice(bounds[i], bounds[i + 1])
            kept = values[kept_columns]
            ranks.append(_ranks(kept, column[mine][is_match[mine]], column[mine][~is_match[mine]]))
        return ranks

    # Threads, because sorting releases the interpreter lock: one block of rows each.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        blocks = pool.map(ranks_of, range(0, len(query), block_rows))
        ranks = np.concatenate([ranks for block in blocks for ranks in block])
    return _average(row[is_match], ranks, len(query), len(gallery), max_rank)


def same_person(
    query: Ids,
    gallery: Ids,
    clothes_rule: ClothesRule = "general",
    same_camera_counts: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List all pairs of a query and a gallery tracklet of one person.

    Returns:
        Query of each pair (ascending), gallery tracklet, and whether it counts as a match;
        a pair that does not is left out of that query's ranking.
    """
    by_person = np.argsort(gallery.pid, kind="stable")
    sorted_pid = gallery.pid[by_person]
    start = np.searchsorted(sorted_pid, query.pid, side="left")
    number = np.searchsorted(sorted_pid, query.pid, side="right") - start
    row = np.repeat(np.arange(len(query)), number)
    column = by_person[ranges(start, number)]
    is_match = gallery.pid[column] != JUNK
    if not same_camera_counts:
        is_match &= query.camid[row] != gallery.camid[column]
    if clothes_rule != "general":
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
    if clothes_rule != "general" and (query.clothes is None or gallery.clothes is None):
        raise PipelineError(f"The clothes rule {clothes_rule!r} needs a clothes id per tracklet.")


def _block(dist: Distances, rows: slice) -> np.ndarray:
    block = np.asarray(dist[rows])
    if block.dtype not in (np.float32, np.float64):
        block = block.astype(np.float32)
    if not (np.isfinite(block.min()) and np.isfinite(block.max())):
        raise PipelineError("A distance is NaN or infinite. Look for NaN in the features.")
    return block


def _ranks(values: np.ndarray, matches: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Return the sorted 1-based ranks of `matches` when `removed` are taken out of `values`.

    Only values are sorted: sorting indices costs several times as much, and the rank of a value
    is its place among the sorted values unless there are ties. `values` is overwritten.
    """
    if not len(matches):
        return matches
    values[removed] = np.inf
    found = values[matches]
    # What is farther than the last match changes no rank.
    ordered = np.sort(values[values <= found.max()])
    before = np.searchsorted(ordered, found, side="left")
    equal = np.searchsorted(ordered, found, side="right") - before
    for j in np.flatnonzero(equal > 1):
        before[j] += np.count_nonzero(values[: matches[j]] == found[j])
    return np.sort(before) + 1


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
