"""Scores by how query and gallery were seen: spectrum, platform, altitude, distance, angle."""

from itertools import pairwise
from typing import Any

import numpy as np

from evaluate.score.protocol import Search
from pipeline.ranking import Distances, NoMatchError, Retrieval, cmc_and_map

# Both sides are told apart by these,
_NAMED = ("spectrum", "platform")
# and by these the queries, in bins that begin at these numbers.
_BINS = {
    "altitude_m": (0, 10, 20, 30, 50, 80, 120),
    "distance_m": (0, 10, 20, 40, 80, 120, 160),
    "angle_deg": (0, 15, 30, 45, 60, 75),
}


def by_view(dist: Distances, search: Search, plain: Retrieval) -> list[dict[str, Any]]:
    """Score every pair of spectra and of platforms, and the queries of every bin of a distance.

    Args:
        dist: Distances of the search.
        search: Queries and gallery.
        plain: What they are worth together.

    Returns:
        Rows of `column`, `query`, `gallery` (`all` for bins), `queries_scored`, `mAP`, `rank1`;
        none of a column that the table does not have.
    """
    rows = []
    for column in _NAMED:
        rows += _pairs(dist, search, column)
    for column, edges in _BINS.items():
        rows += _bins(search, plain, column, edges)
    return rows


def _pairs(dist: Distances, search: Search, column: str) -> list[dict[str, Any]]:
    query, gallery = (side.views.get(column) for side in (search.query, search.gallery))
    if query is None or gallery is None:
        return []
    rows = []
    for asked in _values(query):
        of_query = np.flatnonzero(query == asked)
        block = np.asarray(dist[of_query])
        for found in _values(gallery):
            of_gallery = np.flatnonzero(gallery == found)
            try:
                scores = cmc_and_map(
                    block[:, of_gallery],
                    search.query.ids[of_query],
                    search.gallery.ids[of_gallery],
                    max_rank=1,
                    same_camera_counts=search.same_camera_counts,
                )
            except NoMatchError:
                continue
            rows.append(_row(column, asked, found, scores.ap, scores.first_rank))
    return rows


def _bins(
    search: Search, plain: Retrieval, column: str, edges: tuple[int, ...]
) -> list[dict[str, Any]]:
    values = search.query.views.get(column)
    if values is None:
        return []
    at = np.digitize(np.array(values, float), edges)
    # NaN, where nobody knows, lies behind the last edge.
    at[np.isnan(np.array(values, float))] = 0
    ends = [f"{a}-{b}" for a, b in pairwise(edges)] + [f"{edges[-1]}-"]
    return [
        _row(column, name, "all", plain.ap[at == i], plain.first_rank[at == i])
        for i, name in enumerate(ends, 1)
        if plain.scored[at == i].any()
    ]


def _row(
    column: str, query: str, gallery: str, ap: np.ndarray, first_rank: np.ndarray
) -> dict[str, Any]:
    scored = ~np.isnan(ap)
    return {
        "column": column,
        "query": query,
        "gallery": gallery,
        "queries_scored": int(scored.sum()),
        "mAP": float(ap[scored].mean()),
        "rank1": float((first_rank[scored] <= 1).mean()),
    }


def _values(column: np.ndarray) -> list[str]:
    return sorted({value for value in column if isinstance(value, str)})
