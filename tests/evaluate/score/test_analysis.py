"""Intervals, camera pairs and ranked lists."""

import numpy as np
import pytest

from evaluate.score.analysis import bootstrap_intervals, camera_pairs, nearest
from pipeline.ranking import Ids, cmc_and_map


def test_the_interval_of_a_rate_is_that_of_the_binomial() -> None:
    queries = 400
    pid = np.arange(1, queries + 1)
    # Every fourth query has its match on rank 2, behind somebody else.
    dist = np.full((queries, queries + 1), 2.0)
    dist[np.arange(queries), np.arange(queries)] = 1.0
    dist[::4, queries] = 0.5
    gallery = Ids(np.append(pid, 9999), np.ones(queries + 1))
    result = cmc_and_map(dist, Ids(pid, np.zeros(queries)), gallery)
    interval = bootstrap_intervals(result, pid, samples=4000, seed=1)["rank1"]
    half_width = 1.96 * np.sqrt(0.75 * 0.25 / queries)
    assert interval["low"] == pytest.approx(0.75 - half_width, abs=0.005)
    assert interval["high"] == pytest.approx(0.75 + half_width, abs=0.005)


def test_the_same_seed_draws_the_same_interval() -> None:
    rng = np.random.default_rng(0)
    pid = rng.integers(1, 20, 60)
    result = cmc_and_map(rng.random((60, 60)), Ids(pid, np.zeros(60)), Ids(pid, np.ones(60)))
    assert bootstrap_intervals(result, pid, seed=3) == bootstrap_intervals(result, pid, seed=3)
    assert bootstrap_intervals(result, pid, seed=3) != bootstrap_intervals(result, pid, seed=4)


def test_queries_of_one_person_count_as_one_draw() -> None:
    """Nine copies of every query know no more than the query does."""
    rng = np.random.default_rng(0)
    pid = np.arange(1, 41)
    dist, gallery = rng.random((40, 40)), Ids(pid, np.ones(40))
    once = cmc_and_map(dist, Ids(pid, np.zeros(40)), gallery)
    often = np.repeat(pid, 9)
    copied = cmc_and_map(np.repeat(dist, 9, axis=0), Ids(often, np.zeros(360)), gallery)
    for name, interval in bootstrap_intervals(copied, often).items():
        assert interval == pytest.approx(bootstrap_intervals(once, pid)[name])


def test_a_pair_of_cameras_ranks_only_its_own_gallery() -> None:
    dist = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    query = Ids([7, 7], [0, 2])
    gallery = Ids([9, 7, 9, 7], [1, 1, 2, 2])
    pairs = {(p["query_camid"], p["gallery_camid"]): p for p in camera_pairs(dist, query, gallery)}
    # Camera 2 to camera 2 holds only the query's own camera, which is left out.
    assert set(pairs) == {(0, 1), (0, 2), (2, 1)}
    assert pairs[0, 1]["mAP"] == 1 / 2
    assert pairs[0, 2]["rank1"] == 0
    assert pairs[2, 1]["mAP"] == 1


def test_ranked_lists_hold_the_wanted_number_beside_the_junk_between() -> None:
    dist = np.array([[0.0, 0.5, 0.1, 0.3, 0.3, 0.9]])
    gallery = Ids([7, 7, -1, 9, 7, 8], [0, 1, 1, 1, 2, 1])
    (near,) = nearest(dist, Ids([7], [0]), gallery, count=3)
    assert near["row"].tolist() == [0, 2, 3, 4, 1]
    assert near["is_junk"].tolist() == [True, True, False, False, False]
    assert near["is_match"].tolist() == [False, False, False, True, True]
    assert near["distance"].tolist() == sorted(dist[0])[:5]


def test_among_equals_matches_come_last_and_names_decide() -> None:
    gallery = Ids([7, 9, 8, 7], [1, 1, 1, 1], tracklet=["a", "d", "c", "b"])
    (near,) = nearest(np.ones((1, 4)), Ids([7], [0], tracklet=["q"]), gallery)
    assert gallery.tracklet[near["row"]].tolist() == ["c", "d", "a", "b"]
    assert cmc_and_map(np.ones((1, 4)), Ids([7], [0]), gallery).first_rank[0] == 3


def test_a_short_gallery_gives_a_short_list() -> None:
    (near,) = nearest(np.array([[0.2, 0.1]]), Ids([7], [0]), Ids([7, 8], [1, 1]), count=20)
    assert near["row"].tolist() == [1, 0]


def test_lists_of_many_queries_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(5)
    dist = rng.random((300, 50))
    query = Ids(rng.integers(1, 9, 300), rng.integers(0, 3, 300))
    gallery = Ids(rng.integers(-1, 9, 50), rng.integers(0, 3, 50))
    lists = nearest(dist, query, gallery, count=10)
    for i in (0, 255, 256, 299):
        (alone,) = nearest(dist[i : i + 1], query[i : i + 1], gallery, count=10)
        assert lists[i]["row"].tolist() == alone["row"].tolist()
        assert (np.diff(alone["distance"]) >= 0).all()
        assert (~alone["is_junk"]).sum() == 10
