"""Score one split or ten: plain, re-ranked, by clothes, by camera, with intervals."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np

from evaluate.score.analysis import bootstrap_intervals, camera_pairs, nearest
from evaluate.score.features import Features
from evaluate.score.gates import gate
from evaluate.score.protocol import Rules, Search, headline, make_search
from evaluate.score.rerank import rerank
from evaluate.score.verification import verify
from evaluate.score.views import by_view
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
        split_id: Number of the random split.
        metrics: What scores.json says about it.
        curves: CMC curves by name: `cmc`, and `reranked` where that was asked for.
        roc: TPR by FPR.
        pairs: A row per pair of cameras.
        views: A row per way of being seen.
        queries: A row per query, with its ranked list.
    """

    split_id: int
    metrics: dict[str, Any]
    curves: dict[str, np.ndarray]
    roc: list[dict[str, float]]
    pairs: list[dict[str, Any]]
    views: list[dict[str, Any]]
    queries: list[dict[str, Any]]


def score_split(
    search: Search,
    split_id: int,
    params: ScoreParams,
    device: str = "cpu",
    dist: Distances | None = None,
) -> Scored:
    """Score one split by its features, or by distances made elsewhere (not re-ranked then).

    Args:
        search: All queries and all of the gallery.
        split_id: Number of the random split.
        params: The knobs of `score`.
        device: Where neighbours are searched.
        dist: Distances of all queries to all of the gallery, made elsewhere.
    """
    by_features, whole = dist is None, search
    search = headline(whole)
    dist = search.distances("feature") if dist is None else _picked(dist, whole, search)
    plain = search.score(dist, params.max_rank)
    metrics: dict[str, Any] = plain.summary()
    metrics["gallery_includes_queries"] = search.rules.gallery_includes_queries
    metrics["interval95"] = bootstrap_intervals(
        plain, search.query.ids.pid, params.bootstrap.samples, params.bootstrap.seed
    )
    curves = {"cmc": plain.cmc}
    metrics |= _named(whole, search, dist, params.max_rank, by_features)
    if params.rerank.enabled and by_features:
        again = search.score(_reranked(search, params, device), params.max_rank)
        metrics["reranked"] = _without(again.summary(), *COUNTS)
        curves["reranked"] = again.cmc
    if by_features and (gated := gate(search)):
        metrics["gate"] = gated
    rules = (dist, search.query.ids, search.gallery.ids, search.same_camera_counts)
    verified = verify(*rules, params.bootstrap.samples, params.bootstrap.seed)
    if verified:
        metrics["verification"] = verified.metrics
    roc = verified.curve() if verified else []
    queries = _query_rows(search, split_id, dist, plain, params.ranked_list)
    views = by_view(dist, search, plain)
    return Scored(split_id, metrics, curves, roc, camera_pairs(*rules), views, queries)


def score_baselines(features: Features, rules: Rules, limit: int) -> dict[str, dict[str, float]]:
    """Score every kind of feature in a table, averaged over its splits."""
    searches = [headline(make_search(split, rules, limit)) for _, split in features.splits()]
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
    return average(metrics) | {"splits": len(results), "std": deviations}


def named_searches(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the named searches of a protocol found, by names to read.

    >>> named_searches({"mAP": 1.0, "reranked": {"mAP": 1.0}, "clothes": {"same": {"queries": 3}}})
    {'same clothes': {'queries': 3}}
    """
    found = {}
    for key, value in metrics.items():
        if key in ("reranked", "std", "baselines") or not isinstance(value, dict):
            continue
        if "queries" in value:
            found[key] = value
        inner = {name: one for name, one in value.items() if isinstance(one, dict)}
        found |= {f"{name} {key}": one for name, one in inner.items() if "queries" in one}
    return found


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


def _named(
    whole: Search, search: Search, dist: Distances, max_rank: int, by_features: bool
) -> dict[str, Any]:
    """Score the named searches of a protocol; one by clothes may have nothing to find."""
    found: dict[str, Any] = {}
    for other in whole.others():
        if other.is_of(search):
            own = dist
        elif by_features:
            own = other.distances("feature")
        else:
            continue
        try:
            scores = other.score(own, max_rank).summary()
        except NoMatchError:
            if other.one.clothes == "general":
                raise
            continue
        place = found
        *above, last = other.one.name.split(".")
        for key in above:
            place = place.setdefault(key, {})
        place[last] = scores
    for above, names in _both_ways(whole).items():
        ways = [found.get(above, {}).get(name) for name in names]
        if all(ways):
            counted = {name: sum(way[name] for way in ways) for name in ("queries", COUNTS[0])}
            found[above]["mean"] = average([_without(way, *COUNTS) for way in ways]) | counted
    return found


def _both_ways(whole: Search) -> dict[str, list[str]]:
    """Return the searches that are each other's reverse, by the mapping that both stand in."""
    found: dict[str, list[str]] = {}
    ones = [one for one in whole.named_ones() if one.name.count(".") == 1]
    for one in ones:
        above, name = one.name.split(".")
        is_reversed = any(
            other.name.startswith(f"{above}.")
            and (other.query, other.gallery) == (one.gallery, one.query)
            for other in ones
        )
        if is_reversed and one.query != one.gallery:
            found.setdefault(above, []).append(name)
    return found


def _picked(dist: Distances, whole: Search, search: Search) -> Distances:
    """Return the distances of a part of the queries and of the gallery."""
    if search.is_of(whole):
        return dist
    rows, columns = (
        np.flatnonzero(np.isin(all_of.tracklet, part.tracklet))
        for all_of, part in ((whole.query, search.query), (whole.gallery, search.gallery))
    )
    return np.asarray(dist[rows])[:, columns]


def _reranked(search: Search, params: ScoreParams, device: str) -> np.ndarray:
    knobs = params.rerank
    query, gallery = search.query.values["feature"], search.gallery.values["feature"]
    comparison = search.query.comparisons.get("feature")
    if comparison is None:
        query, gallery = normalised(query), normalised(gallery)
    settings = (knobs.k1, knobs.k2, knobs.lambda_, device)
    return rerank(query, gallery, *settings, comparison=comparison)


def _query_rows(
    search: Search, split_id: int, dist: Distances, result: Retrieval, count: int
) -> list[dict[str, Any]]:
    query, gallery = search.query, search.gallery
    lists = nearest(
        dist, query.ids, gallery.ids, count, same_camera_counts=search.same_camera_counts
    )
    rows = []
    for i, near in enumerate(lists):
        is_scored = bool(result.scored[i])
        rows.append(
            {
                "split_id": split_id,
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
