"""Sparse re-ranking against the reference and against the dense way of computing it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits

from bench.rerank import dense_rerank
from evaluate.score.rerank import memory_bytes, rerank
from pipeline.distances import on_grid
from pipeline.errors import PipelineError
from pipeline.ranking import Ids, cmc_and_map


def clusters(rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((rows // 8, 24))
    features = centres[rng.integers(0, len(centres), rows)] + rng.standard_normal((rows, 24))
    return features.astype(np.float32)


@pytest.mark.golden
def test_the_reference_numbers_are_met_within_their_float16_noise(golden_dir: Path) -> None:
    golden = load_file(golden_dir / "retrieval.safetensors")
    count = int(golden["in.num_query"][0])
    # The reference counts people from 0, which here is nobody.
    features, ids = golden["in.features"], Ids(golden["in.pids"] + 1, golden["in.camids"])
    dist = rerank(features[:count], features[count:], k1=20, k2=6, lambda_=0.3)
    np.testing.assert_allclose(dist, golden["out.reranked_distance"], rtol=2e-3, atol=2e-3)
    result = cmc_and_map(dist, ids[:count], ids[count:], max_rank=50)
    assert result.mean_ap == pytest.approx(golden["out.reranked_mAP"][0], abs=2e-3)


@pytest.mark.golden
def test_the_dense_opponent_is_the_reference(golden_dir: Path) -> None:
    """The benchmark is fair only if its opponent computes the same thing."""
    golden = load_file(golden_dir / "retrieval.safetensors")
    count = int(golden["in.num_query"][0])
    features = golden["in.features"]
    dist = dense_rerank(features[:count], features[count:], 20, 6, 0.3)
    np.testing.assert_allclose(dist, golden["out.reranked_distance"], atol=1e-4)


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_"), [(20, 6, 0.3), (7, 1, 0.0), (50, 15, 0.3), (3, 12, 0.3)]
)
def test_dense_matrices_give_the_same_distances(k1: int, k2: int, lambda_: float) -> None:
    features = clusters(240)
    ours = rerank(features[:40], features[40:], k1, k2, lambda_)
    dense = dense_rerank(features[:40], features[40:], k1, k2, lambda_, np.float32)
    np.testing.assert_allclose(ours, dense, atol=2e-5)


def by_definition(
    query: np.ndarray, gallery: np.ndarray, k1: int, k2: int, lambda_: float
) -> np.ndarray:
    """Re-rank with sets of tracklets, one after the other, where rows may be equal."""
    features = np.concatenate([query, gallery]).astype(float)
    every = range(len(features))
    dist = ((features[:, None] - features[None]) ** 2).sum(axis=2)

    def near(i: int, k: int) -> set[int]:
        """Return all that fewer than k are nearer than; equal rows stand at equal distance."""
        return {j for j in every if (dist[i] < dist[i, j]).sum() < k}

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in near(i, k) if i in near(j, k)}

    encoding = np.zeros_like(dist)
    for i in every:
        own = expanded = reciprocal(i, k1 + 1)
        for j in own:
            half = reciprocal(j, round(k1 / 2) + 1)
            if len(half & own) > 2 / 3 * len(half):
                expanded = expanded | half
        members = sorted(expanded)
        weight = np.exp(-dist[i, members] / dist[i].max())
        encoding[i, members] = weight / weight.sum()
    # Whichever of equal rows is taken: they have the same encoding.
    encoding = np.stack([encoding[np.argsort(dist[i])[:k2]].mean(axis=0) for i in every])
    shared = np.minimum(encoding[: len(query), None], encoding[None]).sum(axis=2)
    jaccard = 1 - shared / (2 - shared)
    plain = dist[: len(query)] / dist[: len(query)].max(axis=1)[:, None]
    return (lambda_ * plain + (1 - lambda_) * jaccard)[:, len(query) :]


@pytest.mark.parametrize(("k1", "k2"), [(6, 3), (5, 1), (2, 5)])
def test_equal_rows_are_neighbours_together(k1: int, k2: int) -> None:
    """As queries are that stand in the gallery too."""
    features = on_grid(clusters(64))
    query = features[:12]
    gallery = np.concatenate([features, features[20:30], features[25:30]])
    found = rerank(query, gallery, k1, k2, 0.3)
    np.testing.assert_allclose(found, by_definition(query, gallery, k1, k2, 0.3), atol=1e-6)


@given(st.integers(0, 1000), st.sampled_from([1, 4, 1000]), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_the_order_of_tracklets_changes_no_bit(seed: int, levels: int, k1: int) -> None:
    """Neither where many distances are equal, nor where rows are."""
    rng = np.random.default_rng(seed)
    features = np.round(levels * clusters(72, seed)[:, :6]) / levels
    query, gallery = features[:16], features[rng.integers(0, 72, 80)]
    one, other = rng.permutation(16), rng.permutation(80)
    found = rerank(query, gallery, k1, 4)
    np.testing.assert_array_equal(rerank(query[one], gallery[other], k1, 4), found[one][:, other])


def test_threads_change_no_bit() -> None:
    features = clusters(1200)
    gallery = np.concatenate([features[:300], features[300:], features[500:600]])
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(rerank(features[:300], gallery))
    np.testing.assert_array_equal(*found)


def test_only_the_original_distance_is_left_at_lambda_one() -> None:
    features = clusters(120)
    query, gallery = features[:20], features[20:]
    dist = rerank(query, gallery, lambda_=1.0)
    squared = ((query[:, None] - features[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(dist, (squared / squared.max(axis=1)[:, None])[:, 20:], atol=1e-5)


def test_re_ranking_helps_where_persons_form_clusters() -> None:
    rng = np.random.default_rng(1)
    pid = np.repeat(np.arange(1, 41), 10)
    centres = rng.standard_normal((41, 24))
    features = (centres[pid] + 1.2 * rng.standard_normal((400, 24))).astype(np.float32)
    ids = Ids(pid, np.arange(400) % 10)
    is_query = ids.camid == 0
    query, gallery = features[is_query], features[~is_query]
    plain = ((query[:, None] - gallery[None]) ** 2).sum(axis=2)
    before = cmc_and_map(plain, ids[is_query], ids[~is_query]).mean_ap
    after = cmc_and_map(rerank(query, gallery, 10, 4), ids[is_query], ids[~is_query]).mean_ap
    assert after > before + 0.02


def test_equal_rows_and_tiny_galleries_are_no_problem() -> None:
    same = np.ones((6, 3), dtype=np.float32)
    assert np.isfinite(rerank(same[:2], same[2:])).all()
    assert rerank(clusters(16)[:1], clusters(16)[1:3]).shape == (1, 2)


def test_blocks_do_not_change_the_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clusters(200)
    whole = rerank(features[:70], features[70:])
    monkeypatch.setattr("evaluate.score.rerank.BLOCK_ROWS", 32)
    np.testing.assert_array_equal(rerank(features[:70], features[70:]), whole)


def test_what_does_not_fit_is_refused_before_it_starts() -> None:
    features = clusters(64)
    with pytest.raises(PipelineError, match=r"needs about .* GB, but 0.0 GB are free"):
        rerank(features[:8], features[8:], memory_limit=1000)
    assert memory_bytes(1980, 11310, 512) < 1.5e9
    assert memory_bytes(19800, 113100, 512) > 20 * memory_bytes(1980, 11310, 512)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_the_same_distances() -> None:
    features = clusters(400)
    on_cpu = rerank(features[:50], features[50:])
    np.testing.assert_array_equal(rerank(features[:50], features[50:], device="cuda"), on_cpu)
