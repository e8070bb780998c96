"""Compare our metrics with the usual loop over queries, at the size of MARS.

Run it:   python -m bench.score
"""

import numpy as np

from bench.measure import (
    Json,
    clustered_features,
    compare_peak_memory,
    compare_seconds,
    finish,
)
from pipeline.cli import run
from pipeline.distances import CosineDistances
from pipeline.ranking import Ids, cmc_and_map

CHANNELS = 512
MARS = (1980, 11310)
LS_VID = (3504, 11333)


def loop_over_queries(
    dist: np.ndarray, query: Ids, gallery: Ids, max_rank: int
) -> tuple[np.ndarray, float]:
    """Sort all indices, then walk over the queries, as most projects do."""
    order = np.argsort(dist, axis=1)
    matches = (gallery.pid[order] == query.pid[:, None]).astype(np.int32)
    curves, precisions = [], []
    for i in range(len(query)):
        removed = (gallery.pid[order[i]] == query.pid[i]) & (
            gallery.camid[order[i]] == query.camid[i]
        )
        found = matches[i][~removed]
        if not found.any():
            continue
        hits = found.cumsum()
        curves.append(np.minimum(hits, 1)[:max_rank])
        # Most projects divide in a Python list; one array keeps the opponent at its best.
        precision = hits / np.arange(1, len(hits) + 1)
        precisions.append((precision * found).sum() / found.sum())
    return np.mean(curves, axis=0), float(np.mean(precisions))


def _data(queries: int, gallery: int) -> tuple[np.ndarray, np.ndarray, Ids, Ids]:
    features, pid, camid = clustered_features(queries + gallery, CHANNELS, 636)
    ids = Ids(pid, camid)
    return features[:queries], features[queries:], ids[:queries], ids[queries:]


def ours(size: tuple[int, int] = MARS) -> float:
    """Score features with our metrics."""
    query, gallery, query_ids, gallery_ids = _data(*size)
    return cmc_and_map(CosineDistances(query, gallery), query_ids, gallery_ids, 50).mean_ap


def opponent(size: tuple[int, int] = MARS) -> float:
    """Score features with the loop."""
    query, gallery, query_ids, gallery_ids = _data(*size)
    return loop_over_queries(1 - query @ gallery.T, query_ids, gallery_ids, 50)[1]


def ours_ls_vid() -> float:
    """Score features of as many tracklets as LS-VID has."""
    return ours(LS_VID)


def opponent_ls_vid() -> float:
    """Score as many with the loop."""
    return opponent(LS_VID)


def main(json_file: Json = None) -> None:
    """Compare our metrics with the usual loop over queries."""
    query, gallery, query_ids, gallery_ids = _data(*MARS)

    def from_features() -> None:
        cmc_and_map(CosineDistances(query, gallery), query_ids, gallery_ids, 50)

    def loop_from_features() -> None:
        loop_over_queries(1 - query @ gallery.T, query_ids, gallery_ids, 50)

    cases = {
        "score MARS time": compare_seconds(from_features, loop_from_features, runs=5),
        "score LS-VID memory": compare_peak_memory(ours_ls_vid, opponent_ls_vid),
    }
    finish(f"Scoring {MARS[0]} x {MARS[1]}, {CHANNELS}-d", cases, json_file)


if __name__ == "__main__":
    run(main)
