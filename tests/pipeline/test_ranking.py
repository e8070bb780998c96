"""Ranking against the reference numbers, scikit-learn, closed forms and invariants."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score

from pipeline.errors import PipelineError
from pipeline.ranking import Ids, cmc_and_map, same_person

# Ranks of the matches -> standard AP, trapezoid AP, mINP.
CLOSED_FORMS = [
    ({1}, 1, 1, 1),
    ({2}, 1 / 2, 1 / 4, 1 / 2),
    ({1, 3}, 5 / 6, 19 / 24, 2 / 3),
    ({2, 4, 5}, 8 / 15, 0.405556, 3 / 5),
    ({10}, 1 / 10, 1 / 20, 1 / 10),
]


def one_query(ranks: set[int], gallery: int = 12) -> tuple[np.ndarray, Ids, Ids]:
    pid = [7 if rank in ranks else 100 + rank for rank in range(1, gallery + 1)]
    return np.arange(gallery, dtype=float)[None], Ids([7], [0]), Ids(pid, [1] * gallery)


def random_search(seed: int, queries: int = 12, gallery: int = 40) -> tuple[np.ndarray, Ids, Ids]:
    rng = np.random.default_rng(seed)
    dist = rng.permutation(queries * gallery).reshape(queries, gallery) / (queries * gallery)
    query = Ids(rng.integers(1, 6, queries), rng.integers(0, 3, queries))
    return dist, query, Ids(rng.integers(-1, 6, gallery), rng.integers(0, 3, gallery))


@pytest.mark.golden
def test_the_reference_numbers_are_met(golden_dir: Path) -> None:
    golden = load_file(golden_dir / "retrieval.safetensors")
    count = int(golden["in.num_query"][0])
    query, gallery = golden["in.features"][:count], golden["in.features"][count:]
    # The reference counts people from 0, which here is nobody.
    ids = Ids(golden["in.pids"] + 1, golden["in.camids"])
    dist = (query**2).sum(1)[:, None] + (gallery**2).sum(1)[None] - 2 * query @ gallery.T
    result = cmc_and_map(dist, ids[:count], ids[count:], max_rank=len(golden["out.cmc"]))
    np.testing.assert_allclose(result.mean_ap, golden["out.mAP"][0], rtol=1e-5)
    np.testing.assert_allclose(result.cmc, golden["out.cmc"], rtol=1e-5)
    assert result.summary()["queries_scored"] == count - 1


@pytest.mark.parametrize(("ranks", "ap", "trapezoid", "inp"), CLOSED_FORMS)
def test_known_ranks_give_their_closed_forms(
    ranks: set[int], ap: float, trapezoid: float, inp: float
) -> None:
    result = cmc_and_map(*one_query(ranks))
    assert result.ap[0] == pytest.approx(ap)
    assert result.ap_trapezoid[0] == pytest.approx(trapezoid, abs=1e-6)
    assert result.inp[0] == pytest.approx(inp)
    assert result.first_rank[0] == min(ranks)
    assert result.cmc.tolist() == [float(k >= min(ranks)) for k in range(1, 21)]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    dist, query, gallery = random_search(seed)
    result = cmc_and_map(dist, query, gallery, block_rows=5)
    for i in range(len(query)):
        same = gallery.pid == query.pid[i]
        keep = (gallery.pid != -1) & ~(same & (gallery.camid == query.camid[i]))
        if same[keep].any():
            expected = average_precision_score(same[keep], -dist[i][keep])
            assert result.ap[i] == pytest.approx(expected)
        else:
            assert np.isnan(result.ap[i])


@given(seed=st.integers(0, 10_000), levels=st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_gallery_does_not_matter(seed: int, levels: int) -> None:
    dist, query, gallery = random_search(seed)
    dist = np.floor(dist * levels)
    order = np.random.default_rng(seed + 1).permutation(len(gallery))
    plain = cmc_and_map(dist, query, gallery)
    permuted = cmc_and_map(dist[:, order], query, gallery[order])
    np.testing.assert_array_equal(plain.ap, permuted.ap)
    np.testing.assert_array_equal(plain.cmc, permuted.cmc)


@given(seed=st.integers(0, 10_000), distance=st.floats(-1, 2))
@settings(max_examples=40, deadline=None)
def test_another_distractor_never_raises_a_score(seed: int, distance: float) -> None:
    dist, query, gallery = random_search(seed)
    wider = np.concatenate([dist, np.full((len(query), 1), distance)], axis=1)
    more = Ids(np.append(gallery.pid, 0), np.append(gallery.camid, 0))
    before, after = cmc_and_map(dist, query, gallery), cmc_and_map(wider, query, more)
    scored = before.scored
    assert (after.ap[scored] <= before.ap[scored]).all()
    assert (after.inp[scored] <= before.inp[scored]).all()
    assert (after.cmc <= before.cmc).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_perfect_ranking_scores_one(seed: int) -> None:
    dist, query, gallery = random_search(seed)
    dist = dist + 10 * (query.pid[:, None] != gallery.pid[None, :])
    metrics = cmc_and_map(dist, query, gallery).summary()
    for name in ("mAP", "mAP_trapezoid", "mINP", "rank1", "rank20"):
        assert metrics[name] == 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_trapezoid_form_is_never_above_the_standard_one(seed: int) -> None:
    result = cmc_and_map(*random_search(seed))
    assert (result.ap_trapezoid <= result.ap + 1e-12)[result.scored].all()


@given(seed=st.integers(0, 10_000), levels=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_tie_wins_nothing(seed: int, levels: int) -> None:
    dist, query, gallery = random_search(seed)
    tied = np.floor(dist * levels)
    behind = tied + 1e-6 * (query.pid[:, None] == gallery.pid)
    np.testing.assert_array_equal(
        cmc_and_map(tied, query, gallery).ap, cmc_and_map(behind, query, gallery).ap
    )


@pytest.mark.parametrize("own_camera", [False, True])
def test_a_query_is_never_ranked_for_itself(own_camera: bool) -> None:
    """Random features find nobody, though every query stands in the gallery."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 64))
    ids = Ids(1 + np.arange(400) // 2, np.zeros(400) + np.arange(400) % 2, tracklet=np.arange(400))
    dist = 1 - np.corrcoef(features)
    result = cmc_and_map(dist, ids, ids, same_camera_counts=own_camera)
    assert result.summary()["rank1"] < 0.02
    assert result.scored.all()
    order = rng.permutation(400)
    again = cmc_and_map(dist[:, order], ids, ids[order], same_camera_counts=own_camera)
    np.testing.assert_array_equal(result.ap, again.ap)


def test_matches_in_the_same_camera_are_ignored() -> None:
    dist = np.array([[0.1, 0.2, 0.3]])
    gallery = Ids([7, 9, 7], [0, 1, 1])
    assert cmc_and_map(dist, Ids([7], [0]), gallery).ap[0] == 1 / 2
    official = cmc_and_map(dist, Ids([7], [0]), gallery, same_camera_counts=True)
    assert official.ap[0] == pytest.approx((1 + 2 / 3) / 2)


def test_other_persons_in_the_same_camera_stay() -> None:
    result = cmc_and_map(np.array([[0.1, 0.2]]), Ids([7], [0]), Ids([9, 7], [0, 1]))
    assert result.first_rank[0] == 2


def test_junk_is_removed_and_distractors_stay() -> None:
    result = cmc_and_map(np.array([[0.1, 0.2, 0.3]]), Ids([7], [0]), Ids([-1, 0, 7], [1, 1, 1]))
    assert result.first_rank[0] == 2
    assert result.gallery == 2


def test_distractors_are_no_match_of_each_other_and_are_ranked_in_every_camera() -> None:
    dist = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    gallery = Ids([0, 0, 7], [0, 1, 1])
    result = cmc_and_map(dist, Ids([0, 7], [0, 0]), gallery)
    assert (result.scored.tolist(), result.first_rank[1]) == ([False, True], 3)
    row, column, _ = same_person(Ids([0, 7], [0, 0]), gallery)
    assert (row.tolist(), column.tolist()) == ([1], [2])


def test_a_query_without_a_match_is_not_scored_and_does_not_dilute() -> None:
    dist = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]])
    result = cmc_and_map(dist, Ids([7, 8, -1], [0, 0, 0]), Ids([7, 9], [1, 1]))
    metrics = result.summary()
    assert (metrics["queries"], metrics["queries_scored"], metrics["rank1"]) == (3, 1, 1.0)
    assert np.isnan(result.first_rank[1:]).all()


def test_clothes_rules_keep_the_clothes_they_name() -> None:
    dist = np.array([[0.1, 0.2, 0.3, 0.4]])
    query = Ids([7], [0], [1])
    gallery = Ids([9, 7, 9, 7], [1, 1, 1, 1], [5, 1, 5, 2])
    ranks = {
        rule: cmc_and_map(dist, query, gallery, clothes_rule=rule).first_rank[0]
        for rule in ("general", "same", "changing")
    }
    # Other clothes of the person are left out of the ranking, as is the same pair.
    assert ranks == {"general": 2, "same": 2, "changing": 3}


def test_blocks_do_not_change_the_numbers() -> None:
    dist, query, gallery = random_search(3, queries=37)
    whole = cmc_and_map(dist, query, gallery, block_rows=1000)
    pieces = cmc_and_map(dist, query, gallery, block_rows=1)
    np.testing.assert_array_equal(whole.ap, pieces.ap)
    np.testing.assert_array_equal(whole.cmc, pieces.cmc)


def test_the_callers_distances_are_left_alone() -> None:
    dist, query, gallery = random_search(4)
    before = dist.copy()
    cmc_and_map(dist, query, gallery)
    np.testing.assert_array_equal(dist, before)


def test_memory_is_a_few_blocks_and_not_the_whole_matrix() -> None:
    class Rows:
        """Distances that are made when they are read, as those of features are."""

        shape = (4000, 2000)

        def __getitem__(self, rows: slice) -> np.ndarray:
            start, stop, _ = rows.indices(self.shape[0])
            rng = np.random.default_rng(start)
            return rng.random((stop - start, self.shape[1]), dtype=np.float32)

    pids = np.arange(4000) % 500
    tracemalloc.start()
    cmc_and_map(Rows(), Ids(pids, np.zeros(4000)), Ids(pids[:2000], np.ones(2000)), block_rows=50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < Rows.shape[0] * Rows.shape[1] * 4 / 3


@pytest.mark.parametrize(
    ("dist", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\), but there are 1 queries and 3"),
        (np.array([[0.1, np.nan, 0.2]]), "NaN or infinite"),
        (np.array([[0.1, np.inf, 0.2]]), "NaN or infinite"),
    ],
)
def test_faulty_distances_are_refused(dist: np.ndarray, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        cmc_and_map(dist, Ids([7], [0]), Ids([7, 8, 7], [1, 1, 1]))


def test_a_search_without_any_match_is_refused() -> None:
    with pytest.raises(PipelineError, match="No query has a match"):
        cmc_and_map(np.zeros((1, 1)), Ids([7], [0]), Ids([7], [0]))
    with pytest.raises(PipelineError, match="No query has a match"):
        cmc_and_map(np.zeros((1, 0)), Ids([7], [0]), Ids([], []))


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(PipelineError, match="one pid, one camid"):
        Ids([1, 2], [0])


def test_clothes_rules_need_clothes_and_a_known_name() -> None:
    dist, query, gallery = np.zeros((1, 1)), Ids([7], [0]), Ids([7], [1])
    with pytest.raises(PipelineError, match="needs a clothes id"):
        cmc_and_map(dist, query, gallery, clothes_rule="same")
    with pytest.raises(PipelineError, match="Did you mean changing"):
        cmc_and_map(dist, query, gallery, clothes_rule="changin")
