"""Rank a gallery and average over queries, the one place where that is defined.

The rules are those of Market-1501 (Zheng et al., ICCV 2015, section 5) and MARS (Zheng et al.,
ECCV 2016, section 5); docs/protocol.md states each with its source.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from pipeline.errors import PipelineError, did_you_mean

JUNK = -1
ClothesRule = Literal["general", "same", "changing"]


class Distances(Protocol):
    """A matrix of distances that can be read a few rows at a time."""

    shape: tuple[int, int]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the distances of some queries to the whole gallery."""


class CosineDistances:
    """Cosine distances between features, computed block by block when they are read.

    Equivalent to ranking by Euclidean distance on L2-normalised features.
    """

    def __init__(self, query: np.ndarray, gallery: np.ndarray) -> None:
        """Normalise `(N, C)` query and `(M, C)` gallery features."""
        self._query, self._gallery = normalised(query), normalised(gallery)
        self.shape = (len(query), len(gallery))

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the distances of some queries to the whole gallery."""
        block = self._query[rows] @ self._gallery.T
        return np.subtract(1, block, out=block)


def normalised(features: np.ndarray) -> np.ndarray:
    """Scale every row of `(N, C)` features to unit length; a zero row stays zero."""
    features = np.asarray(features, dtype=np.float32)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(norms, np.finfo(np.float32).tiny)


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
        rank_values = {f"rank{k}": float(np.nanmean(self.first_rank <= k, where=self.scored))
                       for k in ranks}
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
    Memory is one block of rows, whatever the number of queries.

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
    all_rows, all_ranks = [], []
    for start in range(0, len(query), block_rows):
        rows = slice(start, start + block_rows)
        block = _block(dist, rows, kept_columns)
        is_match, row, column = _same_person(
            query[rows], gallery, clothes_rule, same_camera_counts
        )
        block[row[~is_match], column[~is_match]] = np.inf
        all_ranks.append(_ranks(block, row[is_match], column[is_match]))
        all_rows.append(row[is_match] + start)
    return _average(
        np.concatenate(all_rows), np.concatenate(all_ranks), len(query), len(gallery), max_rank
    )
