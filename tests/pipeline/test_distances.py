"""Distances do not depend on threads, on the order of rows, or on who stands beside whom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from pipeline.distances import CosineDistances, normalised, on_grid


def some_features(rows: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, channels)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_threads_change_no_bit(rows: int) -> None:
    features = some_features(900, 515)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(CosineDistances(features[:rows], features)[:])
    np.testing.assert_array_equal(*found)


@given(st.integers(0, 1000), st.integers(1, 70), st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_changes_no_bit(seed: int, rows: int, channels: int) -> None:
    features = some_features(rows, channels, seed)
    order = np.random.default_rng(seed).permutation(rows)
    dist = CosineDistances(features, features)[:]
    np.testing.assert_array_equal(CosineDistances(features[order], features)[:], dist[order])
    np.testing.assert_array_equal(CosineDistances(features, features[order])[:], dist[:, order])
    np.testing.assert_array_equal(dist, dist.T)
    np.testing.assert_array_equal(CosineDistances(np.asfortranarray(features), features)[:], dist)


@given(st.integers(0, 1000), st.floats(1e-6, 1e6))
@settings(max_examples=15, deadline=None)
def test_sums_of_products_are_exact(seed: int, scale: float) -> None:
    rows = on_grid(scale * some_features(6, 300, seed))
    # Python's integers round nothing, and a power of 2 makes integers of all numbers here.
    whole = np.array([[int(x) for x in row] for row in rows * 2.0**60], dtype=object)
    products = [[int(x) for x in row] for row in rows @ rows.T * 2.0**120]
    assert (whole @ whole.T).tolist() == products


def test_distances_are_those_of_the_features() -> None:
    query, gallery = some_features(20, 512), some_features(30, 512, 1)
    unit = [rows / np.linalg.norm(rows.astype(float), axis=1)[:, None] for rows in (query, gallery)]
    found = CosineDistances(query, gallery)[:]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1 - unit[0] @ unit[1].T, rtol=0, atol=2e-7)


def test_a_zero_row_stays_zero_and_is_far_from_all() -> None:
    rows = np.array([[0.0, -0.0], [3.0, -4.0]])
    np.testing.assert_allclose(normalised(rows), [[0, 0], [0.6, -0.8]], atol=1e-7)
    assert not np.signbit(normalised(rows)[0]).any()
    assert CosineDistances(rows, rows)[:].tolist() == [[1, 1], [1, 0]]
