"""What a report shows beside the averages: intervals, camera pairs, ranked lists."""

from typing import Any

import numpy as np

from pipeline.distances import smallest
from pipeline.ranking import (
    JUNK,
    Distances,
    Ids,
    NoMatchError,
    Retrieval,
    cmc_and_map,
    same_person,
)

BLOCK_ROWS = 256


def camera_pairs(
    dist: Distances, query: Ids, gallery: Ids, same_camera_counts: bool = False
) -> list[dict[str, float | int]]:
    """Score every pair of cameras: queries of one against the gallery of the other alone.

    Distractors seen by the gallery camera stay. Pairs without a scored query are left out.
    """
    pairs = []
    for query_camera in np.unique(query.camid):
        rows = np.flatnonzero(query.camid == query_camera)
        block = np.asarray(dist[rows])
        for gallery_camera in np.unique(gallery.camid):
            columns = np.flatnonzero(gallery.camid == gallery_camera)
            try:
                result = cmc_and_map(
                    block[:, columns],
                    query[rows],
                    gallery[columns],
                    max_rank=1,
                    same_camera_counts=same_camera_counts,
                )
            except NoMatchError:
                continue
            pairs.append(
                {
                    "query_camid": int(query_camera),
                    "gallery_camid": int(gallery_camera),
                    "queries_scored": int(result.scored.sum()),
                    "mAP": result.mean_ap,
                    "rank1": float(result.cmc[0]),
                }
            )
    return pairs


def nearest(
    dist: Distances,
    query: Ids,
    gallery: Ids,
    count: int = 20,
    same_camera_counts: bool = False,
) -> list[dict[str, np.ndarray]]:
    """List the first gallery tracklets of every query, those that are not ranked included.

    Of those at equal distance matches come last, as in `cmc_and_map`, and names decide the rest.

    Args:
        dist: `(N, M)`, smaller is closer.
        query: Ids of the `N` queries.
        gallery: Ids of the `M` gallery tracklets.
        count: How many ranked tracklets a list should hold, if the gallery has as many.
        same_camera_counts: As in `cmc_and_map`.

    Returns:
        For every query `row`, `distance`, `is_match` and `is_junk` of its nearest tracklets.
    """
    row, column, counts = same_person(query, gallery, "general", same_camera_counts)
    bounds = np.searchsorted(row, np.arange(len(query) + 1))
    names = np.arange(len(gallery)) if gallery.tracklet is None else gallery.tracklet.astype(str)
    lists = []
    for i in range(len(query)):
        mine = slice(bounds[i], bounds[i + 1])
        is_match = np.zeros(len(gallery), dtype=bool)
        is_match[column[mine]] = counts[mine]
        is_junk = gallery.pid == JUNK
        is_junk[column[mine]] = ~counts[mine]
        if i % BLOCK_ROWS == 0:
            block = np.asarray(dist[i : i + BLOCK_ROWS])
        row_dist = block[i % BLOCK_ROWS]
        order = smallest(row_dist, count + int(is_junk.sum()), is_match, names)
        ranked = np.cumsum(~is_junk[order])
        order = order[: np.searchsorted(ranked, count) + 1]
        lists.append(
            {
                "row": order,
                "distance": row_dist[order],
                "is_match": is_match[order],
                "is_junk": is_junk[order],
            }
        )
    return lists


def bootstrap_intervals(
    result: Retrieval, persons: np.ndarray, samples: int = 1000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Draw persons with replacement and return where 95 % of the averages fall.

    A person is drawn with all of its queries, because they are not independent (the cluster
    bootstrap: Davison and Hinkley, 1997, section 3.8). The interval is the percentile interval
    (Efron and Tibshirani, 1993, chapter 13). It tells how far the choice of persons moves a number,
    not how far another training seed would.

    Args:
        result: What is known about the `N` queries.
        persons: Person `(N,)` of each.
        samples: Draws of as many persons as there are.
        seed: Of the draws.
    """
    scored = result.scored
    values = {
        "mAP": result.ap[scored],
        "mAP_trapezoid": result.ap_trapezoid[scored],
        "mINP": result.inp[scored],
        "rank1": result.first_rank[scored] <= 1,
        "rank5": result.first_rank[scored] <= 5,
    }
    _, person, queries = np.unique(persons[scored], return_inverse=True, return_counts=True)
    drawn = draw_persons(len(queries), samples, seed)
    number = drawn @ queries
    # A sum of floats, so not for BLAS: its order of summing depends on the number of threads.
    averages = {
        name: np.einsum("sp,p->s", drawn, np.bincount(person, value)) / number
        for name, value in values.items()
    }
    return {name: interval95(average) for name, average in averages.items()}


def draw_persons(persons: int, samples: int, seed: int) -> np.ndarray:
    """Return how often each of `P` persons is drawn in each of `S` samples, `(S, P)`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(persons, np.full(persons, 1 / persons), size=samples).astype(float)


def interval95(averages: np.ndarray) -> dict[str, float]:
    """Return where 95 % of the averages of all samples fall."""
    low, high = np.quantile(averages, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def rounded(content: Any) -> Any:
    """Return what is written as JSON with all numbers rounded."""
    # Six digits: the rest would make every diff noisy.
    if isinstance(content, float):
        return round(content, 6)
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    return [rounded(value) for value in content] if isinstance(content, list) else content
