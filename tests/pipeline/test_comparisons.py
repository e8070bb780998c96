"""Distances that are no cosine: against their definitions, written out plainly."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.distances import CosineDistances, distances_of, telling, told_of
from pipeline.errors import PipelineError


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.fixture
def parts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(n, 5, 4)).astype(np.float32) for n in (7, 9))


def flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def test_parts_are_the_mean_of_their_euclidean_distances(parts):
    query, gallery = parts
    expected = np.linalg.norm(query[:, None].astype(float) - gallery[None], axis=-1).mean(-1)
    found = distances_of({"kind": "parts", "parts": 5}, flat(query), flat(gallery))
    assert found.shape == (7, 9)
    np.testing.assert_allclose(found[:], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[np.array([4, 1])], found[:][[4, 1]])


def test_parts_that_one_side_does_not_see_do_not_count(parts):
    query, gallery = parts
    rng = np.random.default_rng(1)
    seen = [rng.integers(0, 2, (len(side), 5)).astype(float) for side in parts]
    seen[0][0] = [1, 1, 0, 0, 0]
    seen[1][0] = [0, 0, 1, 1, 1]
    weights = seen[0][:, None] * seen[1][None]
    each = 1 - np.einsum("qpd,kpd->qkp", unit(query), unit(gallery))
    both = weights.sum(-1)
    common = both > 0
    assert not common[0, 0]
    expected = np.where(common, (weights * each).sum(-1) / np.maximum(both, 1), each.mean(-1))
    comparison = {"kind": "parts", "parts": 5, "metric": "cosine", "has_weights": True}
    sides = [np.concatenate([flat(side), one], 1) for side, one in zip(parts, seen, strict=True)]
    np.testing.assert_allclose(distances_of(comparison, *sides)[:], expected, atol=1e-6)
    spoilt = sides[0].copy()
    spoilt[1, :20].reshape(5, 4)[seen[0][1] == 0] = 9
    before, after = (distances_of(comparison, one, sides[1])[:] for one in (sides[0], spoilt))
    np.testing.assert_array_equal(after[1, common[1]], before[1, common[1]])


def gate(experts: int, width: int) -> dict:
    rng = np.random.default_rng(2)
    return {
        "kind": "gated",
        "experts": experts,
        "own": rng.normal(size=(experts, width)).tolist(),
        "pair": rng.normal(size=(experts, width, width)).tolist(),
        "likeness": rng.normal(size=experts).tolist(),
    }


def test_a_gate_weighs_experts_by_both_sides(parts):
    query, gallery = (side[:, :3] for side in parts)
    rng = np.random.default_rng(3)
    looks = [rng.normal(size=(len(side), 2)).astype(np.float32) for side in parts]
    told = gate(3, 2)
    sides = [
        np.concatenate([flat(side), look], 1)
        for side, look in zip((query, gallery), looks, strict=True)
    ]
    found = distances_of(told, *sides)[:]
    pair = [(np.array(one) + np.array(one).T) / 2 for one in told["pair"]]
    for i in range(len(query)):
        for j in range(len(gallery)):
            alike = (unit(query[i].astype(float)) * unit(gallery[j].astype(float))).sum(-1)
            says = [
                np.dot(told["own"][e], looks[0][i] + looks[1][j])
                + looks[0][i] @ pair[e] @ looks[1][j]
                + told["likeness"][e] * alike[e]
                for e in range(3)
            ]
            weights = np.exp(says) / np.exp(says).sum()
            assert found[i, j] == pytest.approx(max(1 - weights @ alike, 0), abs=1e-5)
    np.testing.assert_allclose(distances_of(told, *sides[::-1])[:].T, found, atol=1e-6)


def test_a_gate_of_zeros_is_the_mean_of_cosines(parts):
    told = gate(5, 2) | {"own": [[0, 0]] * 5, "pair": [[[0, 0]] * 2] * 5, "likeness": [0] * 5}
    sides = [np.concatenate([flat(side), np.ones((len(side), 2))], 1) for side in parts]
    mean = distances_of({"kind": "parts", "parts": 5, "metric": "cosine"}, *map(flat, parts))
    np.testing.assert_allclose(distances_of(told, *sides)[:], mean[:], atol=1e-6)


def test_a_column_tells_how_it_is_compared(tmp_path):
    told = gate(2, 3)
    kind = pa.list_(pa.float32(), 4)
    schema = pa.schema([telling(pa.field("a", kind), told), telling(pa.field("b", kind), None)])
    pq.write_table(pa.Table.from_pylist([], schema), tmp_path / "x.parquet")
    read = pq.read_schema(tmp_path / "x.parquet")
    assert told_of(read.field("a")) == told
    assert told_of(read.field("b")) is None
    plain = np.eye(3, dtype=np.float32)
    assert isinstance(distances_of(None, plain, plain), CosineDistances)
    assert isinstance(distances_of({"kind": "cosine"}, plain, plain), CosineDistances)


def test_features_that_cannot_be_cut_and_unknown_comparisons_are_refused():
    values = np.ones((2, 7))
    with pytest.raises(PipelineError, match="features of 7 numbers are not 3 parts"):
        distances_of({"kind": "parts", "parts": 3}, values, values)
    with pytest.raises(PipelineError, match="compared by 'sum', which nobody knows"):
        distances_of({"kind": "sum"}, values, values)
