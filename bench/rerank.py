"""Compare sparse re-ranking with the usual dense NumPy code, at the size of MARS.

Run it:   python -m bench.rerank
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

QUERIES, GALLERY, CHANNELS, PERSONS = 1980, 11310, 512, 636
K1, K2, LAMBDA = 20, 6, 0.3


def dense_rerank(
    query: np.ndarray,
    gallery: np.ndarray,
    k1: int,
    k2: int,
    lambda_: float,
    dtype: type = np.float16,
) -> np.ndarray:
    """Re-rank with matrices over all pairs and a loop per tracklet, as most projects do."""
    features = np.concatenate([query, gallery])
    count, queries = len(features), len(query)
    squares = (features**2).sum(axis=1)
    dist = squares[:, None] + squares[None, :] - 2 * features @ features.T
    dist = (dist / dist.max(axis=0)).T
    order = np.argsort(dist).astype(np.int32)
    encoding = np.zeros((count, count), dtype=dtype)
    for i in range(count):
        near = _reciprocal(order, i, k1)
        expanded = near
        for candidate in near:
            its = _reciprocal(order, candidate, round(k1 / 2))
            if len(np.intersect1d(its, near)) > 2 / 3 * len(its):
                expanded = np.append(expanded, its)
        expanded = np.unique(expanded)
        weight = np.exp(-dist[i, expanded])
        encoding[i, expanded] = weight / weight.sum()
    dist = dist[:queries]
    if k2 > 1:
        averaged = np.zeros_like(encoding)
        for i in range(count):
            averaged[i] = encoding[order[i, :k2]].mean(axis=0)
        encoding = averaged
    having = [np.flatnonzero(encoding[:, i]) for i in range(count)]
    jaccard = np.zeros_like(dist, dtype=dtype)
    for i in range(queries):
        shared = np.zeros(count, dtype=dtype)
        for column in np.flatnonzero(encoding[i]):
            rows = having[column]
            shared[rows] += np.minimum(encoding[i, column], encoding[rows, column])
        jaccard[i] = 1 - shared / (2 - shared)
    return (jaccard * (1 - lambda_) + dist * lambda_)[:, queries:]


def _reciprocal(order: np.ndarray, i: int, k: int) -> np.ndarray:
    forward = order[i, : k + 1]
    backward = order[forward, : k + 1]
    return forward[np.where(backward == i)[0]]


def _features() -> tuple[np.ndarray, np.ndarray]:
    features, _, _ = clustered_features(QUERIES + GALLERY, CHANNELS, PERSONS)
    return features[:QUERIES], features[QUERIES:]


def ours() -> np.ndarray:
    """Re-rank with sparse matrices."""
    from evaluate.score.rerank import rerank

    return rerank(*_features(), K1, K2, LAMBDA)


def opponent() -> np.ndarray:
    """Re-rank with dense matrices."""
    return dense_rerank(*_features(), K1, K2, LAMBDA)


def main(json_file: Json = None) -> None:
    """Compare sparse re-ranking with the usual dense NumPy code."""
    cases = {
        "rerank MARS time": compare_seconds(ours, opponent, runs=3, opponent_runs=1),
        "rerank MARS memory": compare_peak_memory(ours, opponent),
    }
    finish(f"Re-ranking {QUERIES} x {GALLERY}, {CHANNELS}-d", cases, json_file)


if __name__ == "__main__":
    run(main)
