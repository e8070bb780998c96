"""Verification against scikit-learn, closed forms, and the pairs that a ranking is made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve
from threadpoolctl import threadpool_limits

from evaluate.score import verification
from evaluate.score.verification import verify
from pipeline.distances import CosineDistances
from pipeline.errors import PipelineError
from pipeline.ranking import Ids

LEVELS = {"TPR_at_FPR_1e-1": 0.1, "TPR_at_FPR_1e-2": 0.01}


def random_pairs(seed: int, levels: int) -> tuple[np.ndarray, Ids, Ids]:
    """Ids with junk, distractors, own cameras and queries that stand in the gallery too."""
    rng = np.random.default_rng(seed)
    names = np.array([f"t{i:02}" for i in range(60)])
    gallery = Ids(rng.integers(-1, 7, 60), rng.integers(0, 3, 60), tracklet=names)
    known = np.flatnonzero(gallery.pid > 0)
    query = gallery[known[: rng.integers(5, 20)]]
    dist = rng.random((len(query), 60)) + 0.3 * (query.pid[:, None] != gallery.pid)
    return np.floor(levels * dist), query, gallery


def listed(
    dist: np.ndarray, query: Ids, gallery: Ids, own_camera: bool
) -> tuple[np.ndarray, np.ndarray]:
    """List every pair that is ranked, one by one: whether it is one person, and its distance."""
    pairs = []
    for i in range(len(query)):
        own = []
        for j in range(len(gallery)):
            same = query.pid[i] == gallery.pid[j]
            dropped = same and not own_camera and query.camid[i] == gallery.camid[j]
            dropped |= query.tracklet[i] == gallery.tracklet[j] or gallery.pid[j] == -1
            own += [] if dropped else [(same, dist[i, j])]
        pairs += own if any(same for same, _ in own) else []
    same, distance = zip(*pairs, strict=True)
    return np.array(same), np.array(distance)


@given(st.integers(0, 10_000), st.sampled_from([3, 20, 10**6]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_curve_is_that_of_scikit_learn(seed: int, levels: int, own_camera: bool) -> None:
    made = random_pairs(seed, levels)
    same, distance = listed(*made, own_camera)
    found = verify(*made, own_camera, samples=5)
    fpr, tpr, _ = roc_curve(same, -distance, drop_intermediate=False)
    at = np.random.default_rng(seed).random(50)
    np.testing.assert_allclose(
        np.interp(at, found.roc.fpr, found.roc.tpr), np.interp(at, fpr, tpr), atol=1e-12
    )
    assert found.metrics["EER"] == pytest.approx(np.interp(0, fpr + tpr - 1, fpr))
    for name, level in LEVELS.items():
        assert found.metrics[name] == pytest.approx(np.interp(level, fpr, tpr))
    assert found.metrics["genuine_pairs"] == same.sum()
    assert found.metrics["impostor_pairs"] == (~same).sum()


def one_of_each(genuine: list[float], impostors: list[float]) -> tuple[np.ndarray, Ids, Ids]:
    """One query, with these distances to its person and to others."""
    pid = [1] * len(genuine) + list(range(2, 2 + len(impostors)))
    return np.array([genuine + impostors]), Ids([1], [0]), Ids(pid, np.ones(len(pid)))


@pytest.mark.parametrize(
    ("genuine", "impostors", "eer", "tpr"),
    [
        ([1, 2], [3, 4], 0, 1),
        ([3, 4], [1, 2], 1, 0),
        ([5], [5], 0.5, 0.1),
        ([1, 3], [2, 4], 0.5, 0.5),
        ([1, 2, 3, 9], [*list(range(10, 19)), 4], 0.1, 1),
    ],
)
def test_known_distances_give_their_closed_forms(
    genuine: list[float], impostors: list[float], eer: float, tpr: float
) -> None:
    metrics = verify(*one_of_each(genuine, impostors), samples=2).metrics
    assert metrics["EER"] == pytest.approx(eer)
    assert metrics["TPR_at_FPR_1e-1"] == pytest.approx(tpr)


@pytest.mark.parametrize(("impostors", "is_said"), [(99_999, False), (100_000, True)])
def test_a_small_fpr_needs_a_hundred_impostors(impostors: int, is_said: bool) -> None:
    spread = np.linspace(0, 1, impostors).tolist()
    found = verify(*one_of_each([0.0005, 0.0015], spread), samples=2)
    assert ("TPR_at_FPR_1e-3" in found.metrics) == is_said
    assert ("TPR_at_FPR_1e-3" in found.metrics["interval95"]) == is_said
    lowest = found.curve()[0]
    assert lowest["fpr"] == (pytest.approx(1e-3) if is_said else pytest.approx(1.122e-3, rel=0.01))
    assert lowest["tpr"] == 0.5


def test_distances_that_tell_nothing_are_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    ids = Ids(np.arange(300) // 3, np.arange(300) % 3, tracklet=np.arange(300))
    found = verify(rng.random((300, 300)), ids, ids)
    interval = found.metrics["interval95"]
    assert interval["EER"]["low"] < 0.5 < interval["EER"]["high"]
    assert interval["TPR_at_FPR_1e-1"]["low"] < 0.1 < interval["TPR_at_FPR_1e-1"]["high"]
    for row in found.curve():
        assert row["tpr"] == pytest.approx(row["fpr"], abs=0.05)


def test_fewer_thresholds_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    ids = Ids(np.arange(300) // 3, np.arange(300) % 3)
    dist = rng.normal(size=(300, 300)) + 2 * (ids.pid[:, None] != ids.pid)
    whole = verify(dist, ids, ids).metrics
    monkeypatch.setattr(verification, "_THRESHOLDS", 200)
    monkeypatch.setattr(verification, "_DRAWN", 100)
    rough = verify(dist, ids, ids).metrics
    for name in ("EER", *LEVELS):
        assert rough[name] == pytest.approx(whole[name], abs=0.005)
        assert rough["interval95"][name] == pytest.approx(whole["interval95"][name], abs=0.01)


def test_the_interval_of_a_rate_is_that_of_the_binomial() -> None:
    """One genuine pair a person, every fourth behind all impostors."""
    persons = 400
    pid = np.arange(1, persons + 1)
    dist = np.full((persons, persons), 2.0)
    np.fill_diagonal(dist, np.where(pid % 4 == 0, 3.0, 1.0))
    found = verify(dist, Ids(pid, 0 * pid), Ids(pid, 0 * pid + 1), samples=4000)
    half_width = 1.96 * np.sqrt(0.75 * 0.25 / persons)
    interval = found.metrics["interval95"]["TPR_at_FPR_1e-2"]
    assert interval["low"] == pytest.approx(0.75 - half_width, abs=0.006)
    assert interval["high"] == pytest.approx(0.75 + half_width, abs=0.006)


def test_threads_and_the_order_of_the_gallery_change_no_bit() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 32)) + np.repeat(rng.standard_normal((80, 32)), 5, axis=0)
    ids = Ids(np.arange(400) // 5, np.arange(400) % 5)
    order = rng.permutation(400)
    found = []
    for threads, rows in ((1, np.arange(400)), (2, np.arange(400)), (2, order)):
        with threadpool_limits(threads):
            dist = CosineDistances(features[:100], features[rows])
            found.append(verify(dist, ids[:100], ids[rows]).metrics)
    assert found[0] == found[1] == found[2]


def test_without_a_second_person_there_is_nothing_to_verify() -> None:
    assert verify(*one_of_each([1.0], [])) is None
    with pytest.raises(PipelineError, match="No query has a match"):
        verify(np.ones((1, 1)), Ids([1], [0]), Ids([2], [0]))
