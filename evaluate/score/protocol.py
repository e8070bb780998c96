"""Which tracklets are ranked for which queries: the rules of docs/protocol.md, applied."""

from dataclasses import dataclass

import numpy as np

from evaluate.score.features import Features
from pipeline.distances import CosineDistances
from pipeline.errors import PipelineError
from pipeline.ranking import ClothesRule, Distances, Ids, Retrieval, cmc_and_map


@dataclass(frozen=True)
class Rules:
    """How a dataset is scored.

    Attributes:
        gallery_includes_queries: Rank the queries too, each for all others.
        same_camera_counts: Rank the query's person in the query's own camera.
        is_official: Whether these are the rules of the dataset's authors.
        both_ways: Score the search of the queries for the gallery's tracklets too.
    """

    gallery_includes_queries: bool = False
    same_camera_counts: bool = False
    is_official: bool = False
    both_ways: bool = False


@dataclass(frozen=True)
class Search:
    """One split's queries and gallery, ready to be ranked by any of their features."""

    query: Features
    gallery: Features
    rules: Rules

    def reversed(self) -> "Search":
        """Return the search of the queries for the gallery's tracklets."""
        return Search(self.gallery, self.query, self.rules)

    def distances(self, feature: str) -> CosineDistances:
        """Return the cosine distances of one kind of feature."""
        return CosineDistances(self.query.values[feature], self.gallery.values[feature])

    def score(
        self, dist: Distances, max_rank: int, clothes_rule: ClothesRule = "general"
    ) -> Retrieval:
        """Rank the gallery by distances and average over the queries."""
        return cmc_and_map(
            dist,
            self.query.ids,
            self.gallery.ids,
            max_rank,
            clothes_rule,
            self.rules.same_camera_counts,
        )

    def words(self, trials: int = 1) -> str:
        """Say in one sentence what is ranked."""
        queries_are = "in" if self.rules.gallery_includes_queries else "not in"
        own_camera = "ranked" if self.rules.same_camera_counts else "left out"
        return (
            f"{'official' if self.rules.is_official else 'chosen'} rules: queries {queries_are} "
            f"the gallery, same person and camera {own_camera}, the query itself and junk left "
            "out, distractors ranked, matches last among equals"
            f"{f', mean of {trials} splits' if trials > 1 else ''}"
        )


def make_search(features: Features, rules: Rules, limit: int = 0) -> Search:
    """Split features into queries and the gallery that the rules ask for.

    Queries that are ranked come first in the gallery, in the order of the table, unless the table
    lists them as gallery tracklets itself.

    Args:
        features: The tracklets of one random split.
        rules: What belongs to the gallery.
        limit: Score the first queries only; 0 for all.

    Raises:
        PipelineError: If only some of the queries are listed as gallery tracklets, or one of them
            as another person or in another camera.
    """
    is_query = features.split == "query"
    query, gallery = features[is_query], features[~is_query]
    listed = np.isin(gallery.tracklet, query.tracklet)
    if listed.any() and not np.isin(query.tracklet, gallery.tracklet).all():
        raise PipelineError(
            f"{listed.sum()} of {len(query)} queries are also gallery tracklets. List all or none."
        )
    _check_listed(query.ids, gallery.ids[listed])
    if rules.gallery_includes_queries and not listed.any():
        gallery = features[np.concatenate([np.flatnonzero(is_query), np.flatnonzero(~is_query)])]
    if not rules.gallery_includes_queries:
        gallery = gallery[~listed]
    return Search(query[slice(limit or None)], gallery, rules)


def _check_listed(query: Ids, listed: Ids) -> None:
    known = {name: own for name, *own in zip(query.tracklet, query.pid, query.camid, strict=True)}
    for name, pid, camid in zip(listed.tracklet, listed.pid, listed.camid, strict=True):
        if known[name] != [pid, camid]:
            raise PipelineError(
                f"{name} is a query of person {known[name][0]} in camera {known[name][1]}, and a "
                f"gallery tracklet of person {pid} in camera {camid}. Give each its own name."
            )
