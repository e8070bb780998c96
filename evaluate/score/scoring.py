"""Score one split or ten: plain, re-ranked, by clothes, by camera, with intervals."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np

from evaluate.score.analysis import bootstrap_intervals, camera_pairs, nearest
from evaluate.score.features import Features
from evaluate.score.protocol import Rules, Search, make_search
from evaluate.score.rerank import rerank
from evaluate.score.verification import verify
from pipeline.distances import normalised
from pipeline.params.knobs import ScoreParams
from pipeline.ranking import Distances, NoMatchError, Retrieval

COUNTS = (
    "queries_scored", "queries", "gallery", "persons", "genuine_pairs", "impostor_pairs",
    "gallery_includes_queries",
)  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """Everything that is known about one split's ranking.

    Attributes:
        trial: Number of the random split.
        metrics: What scores.json says about it.
        curves: CMC curves by name: `cmc`, and `reranked` where that was asked for.
        roc: TPR by FPR.
        pairs: A row per pair of cameras.
        queries: A row per query, with its ranked list.
    """

    trial: int
    metrics: dict[str, Any]
    curves: dict[str, np.ndarray]
    roc: list[dict[str, float]]
    pairs: list[dict[str, Any]]
    queries: list[dict[str, Any]]


def score_split(
    search: Search,
    trial: int,
    params: ScoreParams,
    device: str = "cpu",
    dist: Distances | None = None,
) -> Scored:
    """Score one split by its features, or by distances made elsewhere (not re-ranked then)."""
    by_features = dist is None
    dist = search.distances("feature") if by_features else dist
    plain = search.score(dist, params.max_rank)
    metrics: dict[str, Any] = plain.summary()
    metrics["gallery_includes_queries"] = search.rules.gallery_includes_queries
    metrics["interval95"] = bootstrap_intervals(
        plain, search.query.ids.pid, params.bootstrap.samples, params.bootstrap.seed
    )
    curves = {"cmc": plain.cmc}
    if by_clothes := _by_clothes(search, dist, params.max_rank):
        metrics["clothes"] = by_clothes
    if search.rules.both_ways and by_features:
        other = search.reversed()
        again = other.score(other.distances("feature"), params.max_rank)
        metrics["reversed"] = again.summary()
    if params.rerank.enabled and by_features:
        knobs = params.rerank
        query, gallery = search.query.values["feature"], search.gallery.values["feature"]
        mixed = rerank(
            normalised(query), normalised(gallery), knobs.k1, knobs.k2, knobs.lambda_, device
        )
        again = search.score(mixed, params.max_rank)
        metrics["reranked"] = _without(again.summary(), *COUNTS)
        curves["reranked"] = again.cmc
    rules = (dist, search.query.ids, search.gallery.ids, search.rules.same_camera_counts)
    verified = verify(*rules, params.bootstrap.samples, params.bootstrap.seed)
    if verified:
        metrics["verification"] = verified.metrics
    roc = verified.curve() if verified else []
    queries = _query_rows(search, trial, dist, plain, params.ranked_list)
    return Scored(trial, metrics, curves, roc, camera_pairs(*rules), queries)


def score_baselines(features: Features, rules: Rules, limit: int) -> dict[str, dict[str, float]]:
    """Score every kind of feature in a table, averaged over its splits."""
    searches = [make_search(split, rules, limit) for _, split in features.trials()]
    return {
        name: average(_without(s.score(s.distances(name), 20).summary(), *COUNTS) for s in searches)
        for name in features.values
    }


def average(metrics: Iterable[dict[str, Any]], how: Any = mean) -> dict[str, Any]:
    """Average what all of several splits have; what is the same in all stays as it is."""
    metrics = list(metrics)
    found: dict[str, Any] = {}
    for key, first in metrics[0].items():
        if not all(key in one for one in metrics):
            continue
        values = [one[key] for one in metrics]
        if isinstance(first, dict):
            found[key] = average(values, how)
        elif all(value == first for value in values) and how is mean:
            found[key] = first
        else:
            found[key] = float(how(values))
    return found


def summarise(results: list[Scored]) -> dict[str, Any]:
    """Return the metrics of one split, or the mean and standard deviation over several."""
    if len(results) == 1:
        return results[0].metrics
    # Bootstrap intervals speak of one split's persons; over splits the deviation tells the same.
    metrics = [_without(result.metrics, "interval95") for result in results]
    deviations = average((_without(one, *COUNTS) for one in metrics), stdev)
    return average(metrics) | {"trials": len(results), "std": deviations}


def mean_roc(results: list[Scored]) -> list[dict[str, float]]:
    """Return TPR by FPR, averaged over splits where all have it (Fawcett, 2006: vertically)."""
    curves = [{row["fpr"]: row["tpr"] for row in result.roc} for result in results]
    rates = sorted(set.intersection(*map(set, curves)))
    return [{"fpr": rate, "tpr": mean(curve[rate] for curve in curves)} for rate in rates]


def _without(metrics: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out entries, at every depth."""
    return {
        key: _without(value, *names) if isinstance(value, dict) else value
        for key, value in metrics.items()
        if key not in names
    }


def _by_clothes(search: Search, dist: Distances, max_rank: int) -> dict[str, dict[str, Any]]:
    if search.query.ids.clothes is None:
        return {}
    found = {}
    for rule in ("same", "changing"):
        try:
            found[rule] = search.score(dist, max_rank, rule).summary()
        except NoMatchError:
            continue
    return found


def _query_rows(
    search: Search, trial: int, dist: Distances, result: Retrieval, count: int
) -> list[dict[str, Any]]:
    query, gallery = search.query, search.gallery
    lists = nearest(
        dist, query.ids, gallery.ids, count, same_camera_counts=search.rules.same_camera_counts
    )
    rows = []
    for i, near in enumerate(lists):
        is_scored = bool(result.scored[i])
        rows.append(
            {
                "trial": trial,
                "tracklet": query.tracklet[i],
                "pid": query.ids.pid[i],
                "camid": query.ids.camid[i],
                "ap": result.ap[i] if is_scored else None,
                "ap_trapezoid": result.ap_trapezoid[i] if is_scored else None,
                "inp": result.inp[i] if is_scored else None,
                "first_rank": int(result.first_rank[i]) if is_scored else None,
                "gallery": gallery.tracklet[near["row"]].tolist(),
                "gallery_pid": gallery.ids.pid[near["row"]].tolist(),
                "gallery_camid": gallery.ids.camid[near["row"]].tolist(),
                "distance": near["distance"].tolist(),
                "is_match": near["is_match"].tolist(),
                "is_junk": near["is_junk"].tolist(),
            }
        )
    return rows
