"""What a report shows beside the averages: intervals, camera pairs, ranked lists."""

import numpy as np

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
        order = _first(row_dist, count + int(is_junk.sum()))
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
    result: Retrieval, samples: int = 1000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Draw queries with replacement and return where 95 % of the averages fall.

    The interval is the percentile interval (Efron and Tibshirani, 1993, chapter 13). It tells how
    far the choice of queries moves a number, not how far another training seed would.
    """
    scored = result.scored
    values = {
        "mAP": result.ap[scored],
        "mAP_trapezoid": result.ap_trapezoid[scored],
        "mINP": result.inp[scored],
        "rank1": result.first_rank[scored] <= 1,
        "rank5": result.first_rank[scored] <= 5,
    }
    number = int(scored.sum())
    rng = np.random.default_rng(seed)
    times_drawn = rng.multinomial(number, np.full(number, 1 / number), size=samples)
    averages = times_drawn @ np.stack(list(values.values()), axis=1) / number
    low, high = np.quantile(averages, [0.025, 0.975], axis=0)
    return {name: {"low": float(low[i]), "high": float(high[i])} for i, name in enumerate(values)}


def _first(values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` smallest values in order, ties by index."""
    count = min(count, len(values))
    limit = np.partition(values, count - 1)[count - 1]
    candidates = np.flatnonzero(values <= limit)
    return candidates[np.argsort(values[candidates], kind="stable")][:count]
