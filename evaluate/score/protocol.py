"""Which tracklets are ranked for which queries: the rules of docs/protocol.md, applied."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluate.score.features import Features
from extract.rules import ALL, BY_CLOTHES, BY_SPECTRUM, NamedSearch
from pipeline.distances import distances_of
from pipeline.errors import PipelineError
from pipeline.ranking import Distances, Ids, Retrieval, cmc_and_map


@dataclass(frozen=True)
class Rules:
    """How a dataset is scored.

    Attributes:
        gallery_includes_queries: Rank the queries too, each for all others.
        same_camera_counts: Rank the query's person in the query's own camera.
        is_official: Whether these are the rules of the dataset's authors.
        searches: What is searched for where.
    """

    gallery_includes_queries: bool = False
    same_camera_counts: bool = False
    is_official: bool = False
    searches: tuple[NamedSearch, ...] = BY_CLOTHES


@dataclass(frozen=True)
class Search:
    """One split's queries and gallery, ready to be ranked by any of their features.

    Attributes:
        query: The queries.
        gallery: The gallery.
        rules: How the dataset is scored.
        one: Which of its searches this is.
    """

    query: Features
    gallery: Features
    rules: Rules
    one: NamedSearch = ALL

    @property
    def same_camera_counts(self) -> bool:
        """Whether the query's person in the query's own camera is ranked."""
        own = self.one.same_camera_counts
        return self.rules.same_camera_counts if own is None else own

    def others(self) -> list["Search"]:
        """Return the named searches that can be made out of all queries and gallery."""
        return [self.named(one) for one in self.named_ones()]

    def named_ones(self) -> list[NamedSearch]:
        """Return what the named searches are."""
        knows_clothes = self.query.ids.clothes is not None
        return [
            one
            for one in (*self.rules.searches, *self._by_spectrum())
            if one.name and (one.clothes == "general" or knows_clothes)
        ]

    def _by_spectrum(self) -> tuple[NamedSearch, ...]:
        """Return the searches across spectra, where both are on both sides and none is a rule."""
        own = [{*one.query, *one.gallery} for one in self.rules.searches]
        sides = [set(side.views.get("spectrum", ())) for side in (self.query, self.gallery)]
        is_both = all(side >= {"visible", "infrared"} for side in sides)
        return BY_SPECTRUM if is_both and not any("spectrum" in one for one in own) else ()

    def named(self, one: NamedSearch) -> "Search":
        """Return another search of these queries and this gallery.

        Raises:
            PipelineError: If the table does not hold what it filters by, or nothing is left.
        """
        query, gallery = self.query, self.gallery
        if one.is_reversed:
            query, gallery = gallery, query
        query, gallery = _filtered(query, one.query, one), _filtered(gallery, one.gallery, one)
        return replace(self, query=query, gallery=gallery, one=one)

    def is_of(self, other: "Search") -> bool:
        """Return whether queries and gallery are those of another search."""
        return self.query is other.query and self.gallery is other.gallery

    def distances(self, feature: str) -> Distances:
        """Return the distances of one kind of feature, by what the table says of it."""
        comparison = self.query.comparisons.get(feature)
        values = (self.query.values[feature], self.gallery.values[feature])
        return distances_of(comparison, *values)

    def score(self, dist: Distances, max_rank: int) -> Retrieval:
        """Rank the gallery by distances and average over the queries."""
        return cmc_and_map(
            dist,
            self.query.ids,
            self.gallery.ids,
            max_rank,
            self.one.clothes,
            self.same_camera_counts,
        )

    def words(self, splits: int = 1) -> str:
        """Say in one sentence what is ranked."""
        queries_are = "in" if self.rules.gallery_includes_queries else "not in"
        own_camera = "ranked" if self.same_camera_counts else "left out"
        return (
            f"{'official' if self.rules.is_official else 'chosen'} rules: queries {queries_are} "
            f"the gallery, same person and camera {own_camera}, the query itself and junk left "
            "out, distractors ranked, matches last among equals"
            f"{_said('queries', self.one.query)}{_said('gallery', self.one.gallery)}"
            f"{f', mean of {splits} splits' if splits > 1 else ''}"
        )


def _said(what: str, conditions: Mapping[str, str]) -> str:
    return f", {what} {' '.join(conditions.values())} alone" if conditions else ""


def _filtered(features: Features, conditions: Mapping[str, str], one: NamedSearch) -> Features:
    for column, value in conditions.items():
        if column not in features.views:
            raise PipelineError(
                f"the search {one.name or 'of the protocol'} asks for {column} {value}, and the "
                f"table of features has no column {column}. Run: dvc repro embed"
            )
        is_kept = features.views[column] == value
        if not is_kept.any():
            raise PipelineError(
                f"the search {one.name or 'of the protocol'} asks for {column} {value}, and no "
                "tracklet is such. Look into the index of the dataset"
            )
        features = features[is_kept]
    return features


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


def headline(search: Search) -> Search:
    """Return the search of a protocol that has no name: all of it, if there is none."""
    main = next((one for one in search.rules.searches if not one.name), None)
    return search.named(main) if main else search


def _check_listed(query: Ids, listed: Ids) -> None:
    known = {name: own for name, *own in zip(query.tracklet, query.pid, query.camid, strict=True)}
    for name, pid, camid in zip(listed.tracklet, listed.pid, listed.camid, strict=True):
        if known[name] != [pid, camid]:
            raise PipelineError(
                f"{name} is a query of person {known[name][0]} in camera {known[name][1]}, and a "
                f"gallery tracklet of person {pid} in camera {camid}. Give each its own name."
            )
