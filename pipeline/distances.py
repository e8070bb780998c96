"""Distances between query and gallery features: exact, so the same on every machine.

A sum of floats depends on the order of summing, which BLAS changes with the number of threads and
with the place of a row. On a grid coarse enough for products and their sums to fit the 53 bits of
a float64, nothing is rounded, and no order matters.

What the distance is, a table of features says in the metadata of the column, as JSON: a mean over
parts, or as a gate weighs experts. Where it says nothing, features are compared by their cosine.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import PipelineError
from pipeline.ranking import Distances

# Of the longest row: as fine as a float32 just below 1 is.
_STEP = 2.0**-24
Comparison = Mapping[str, Any]
_KEY = b"comparison"


class CosineDistances:
    """Cosine distances between features, computed block by block when they are read.

    Equivalent to ranking by Euclidean distance on L2-normalised features.
    """

    def __init__(self, query: np.ndarray, gallery: np.ndarray) -> None:
        """Normalise `(N, C)` query and `(M, C)` gallery features."""
        self._query, self._gallery = normalised(query), normalised(gallery)
        self.shape = (len(query), len(gallery))

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the distances of some queries to the whole gallery, float32."""
        block = self._query[rows] @ self._gallery.T
        np.subtract(1, block, out=block)
        # The grid takes the distance of equal features below zero.
        return np.maximum(block, 0, out=block).astype(np.float32)


def normalised(features: np.ndarray) -> np.ndarray:
    """Scale every row of `(N, C)` features to unit length, on the grid; a zero row stays zero."""
    features = np.array(features, dtype=np.float64, order="C")
    norms = np.sqrt(np.einsum("nc,nc->n", features, features))[:, None]
    features /= np.maximum(norms, np.finfo(np.float32).tiny)
    return on_grid(features)


def on_grid(features: np.ndarray) -> np.ndarray:
    """Round `(N, C)` features so that float64 sums of their products are exact, in any order.

    The step of the grid is 2^-24 of the length of the longest row, itself rounded to a power of 2.

    >>> rows = on_grid(np.random.default_rng(0).standard_normal((50, 64)))
    >>> bool((rows @ rows[::-1].T == (rows[:, ::-1] @ rows[:, ::-1].T)[:, ::-1]).all())
    True
    """
    features = np.asarray(features, dtype=np.float64)
    longest = np.sqrt(np.einsum("nc,nc->n", features, features).max(initial=0))
    step = _STEP * 2.0 ** np.round(np.log2(longest or 1))
    grid = features / step
    np.round(grid, out=grid)
    grid *= step
    # -0 becomes 0, so that equal rows have equal bytes.
    grid += 0.0
    return grid


def smallest(values: np.ndarray, count: int, *keys: np.ndarray) -> np.ndarray:
    """Return the indices of the `count` smallest values in order, ties by `keys`, then by index.

    >>> smallest(np.array([3, 1, 2, 1]), 3).tolist()
    [1, 3, 2]
    """
    count = min(count, len(values))
    if not count:
        return np.array([], dtype=np.int64)
    near = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
    return near[np.lexsort([key[near] for key in (values, *keys)][::-1])][:count]


def distances_of(
    comparison: Comparison | None, query: np.ndarray, gallery: np.ndarray
) -> Distances:
    """Return the distances of `(N, C)` queries and an `(M, C)` gallery.

    Args:
        comparison: None for cosine; `{"kind": "parts", "parts": P}` with `metric` (`euclidean` or
            `cosine`) and `has_weights`; `{"kind": "gated", "experts": E, "own": ..., "pair": ...,
            "likeness": ...}` with `names` of the experts.
        query: Features of the queries.
        gallery: Features of the gallery.

    Raises:
        PipelineError: If there is no such comparison.
    """
    if not comparison or comparison["kind"] == "cosine":
        return CosineDistances(query, gallery)
    settings = {name: value for name, value in comparison.items() if name != "kind"}
    if comparison["kind"] == "parts":
        return PartDistances(query, gallery, **settings)
    if comparison["kind"] == "gated":
        return GatedDistances(query, gallery, **settings)
    raise PipelineError(f"features are compared by {comparison['kind']!r}, which nobody knows")


def ungated(comparison: Comparison, features: np.ndarray) -> np.ndarray | None:
    """Return features `(N, E * D)` whose cosine lets all experts of a gate count alike.

    Args:
        comparison: As for `distances_of`.
        features: `(N, E * D + U)`.

    Returns:
        None where there is no gate.
    """
    if comparison["kind"] != "gated":
        return None
    width = np.asarray(comparison["own"]).shape[1]
    parts, _ = _cut(features[:, : features.shape[1] - width], comparison["experts"], False)
    return np.concatenate([normalised(part) for part in parts], axis=1)


def told_of(field: pa.Field) -> Comparison | None:
    """Return what a table says of a column of features."""
    found = (field.metadata or {}).get(_KEY)
    return json.loads(found) if found else None


def telling(field: pa.Field, comparison: Comparison | None) -> pa.Field:
    """Return a column of features that says how they are compared."""
    if not comparison or comparison["kind"] == "cosine":
        return field
    return field.with_metadata({_KEY: json.dumps(dict(comparison))})


class PartDistances:
    """The mean of the distances of parts, in a fixed order: exact, as `CosineDistances`.

    Where parts have weights, as how much of each is seen, a part counts as much as the product of
    both; of a pair without a common part all count alike.
    """

    def __init__(
        self,
        query: np.ndarray,
        gallery: np.ndarray,
        parts: int,
        metric: str = "euclidean",
        has_weights: bool = False,
    ) -> None:
        """Cut features `(N, P * D)`, with `P` weights behind them if they have some, into parts."""
        self.shape = (len(query), len(gallery))
        self._metric = metric
        cut = [_cut(values, parts, has_weights) for values in (query, gallery)]
        self._seen: Any
        self._known: Any
        (self._query, self._seen), (self._gallery, self._known) = cut
        if metric == "cosine":
            self._query, self._gallery = (
                np.stack([normalised(part) for part in values])
                for values in (self._query, self._gallery)
            )
        else:
            both = np.concatenate([self._query, self._gallery], axis=1)
            grid = on_grid(both.reshape(-1, both.shape[2])).reshape(both.shape)
            self._query, self._gallery = grid[:, : len(query)], grid[:, len(query) :]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the distances of some queries to the whole gallery, float32."""
        total: Any = 0.0
        counted: Any = 0.0
        plain: Any = 0.0
        for p in range(len(self._query)):
            found = self._of_part(self._query[p][rows], self._gallery[p])
            plain = plain + found
            if self._seen is not None:
                both = self._seen[p][rows][:, None] * self._known[p]
                total, counted = total + both * found, counted + both
        plain = plain / len(self._query)
        if self._seen is None:
            return plain.astype(np.float32)
        is_common = counted > 0
        mean = total / np.where(is_common, counted, 1)
        return np.where(is_common, mean, plain).astype(np.float32)

    def _of_part(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        product = query @ gallery.T
        if self._metric == "cosine":
            return np.maximum(1 - product, 0)
        squares = [np.einsum("nd,nd->n", values, values) for values in (query, gallery)]
        return np.sqrt(np.maximum(squares[0][:, None] + squares[1] - 2 * product, 0))


def _cut(values: np.ndarray, parts: int, has_weights: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return parts `(P, N, D)` and their weights `(P, N)`."""
    values = np.asarray(values, np.float64)
    weights = None
    if has_weights:
        values, weights = values[:, :-parts], np.ascontiguousarray(values[:, -parts:].T)
    if values.shape[1] % parts:
        raise PipelineError(f"features of {values.shape[1]} numbers are not {parts} parts")
    cut = values.reshape(len(values), parts, -1).transpose(1, 0, 2)
    return np.ascontiguousarray(cut), weights


class GatedDistances:
    """One minus what experts think alike, each as much as a gate that looks at both sides says.

    Of tracklets q and k with experts' unit features `f_e` and a vector `u`, expert e counts
    `softmax_e(own_e . (u_q + u_k) + u_q' pair_e u_k + likeness_e cos_e)`. The distance is
    symmetric: `pair` is taken as the mean of itself and its transpose.
    """

    def __init__(
        self,
        query: np.ndarray,
        gallery: np.ndarray,
        experts: int,
        own: Any,
        pair: Any,
        likeness: Any,
        names: Sequence[str] = (),
    ) -> None:
        """Cut features into experts and what the gate looks at.

        Args:
            query: `(N, E * D + U)`: features of the experts, one after the other, and `u`.
            gallery: `(M, E * D + U)`.
            experts: E.
            own: `(E, U)`.
            pair: `(E, U, U)`.
            likeness: `(E,)`.
            names: Of the experts.
        """
        self.shape = (len(query), len(gallery))
        self.names = list(names) or [f"expert {e}" for e in range(experts)]
        self._own = np.asarray(own, np.float64)
        pair = np.asarray(pair, np.float64)
        self._pair = (pair + pair.transpose(0, 2, 1)) / 2
        self._likeness = np.asarray(likeness, np.float64)
        width = self._own.shape[1]
        cut = []
        for values in (query, gallery):
            values = np.asarray(values, np.float64)
            of_experts, _ = _cut(values[:, : values.shape[1] - width], experts, False)
            features = np.stack([normalised(one) for one in of_experts])
            cut.append((features, values[:, values.shape[1] - width :]))
        (self._query, self._asks), (self._gallery, self._answers) = cut

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the distances of some queries to the whole gallery, float32."""
        alike, gate = self._judged(rows)
        return np.maximum(1 - (gate * alike).sum(0), 0).astype(np.float32)

    def weights(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return how much each expert counts, `(E, n, M)`, for some queries and the gallery."""
        return self._judged(rows)[1]

    def _judged(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how alike pairs are to each expert, and how much each counts: `(E, n, M)`."""
        asks = self._asks[rows]
        alike = np.stack([q[rows] @ g.T for q, g in zip(self._query, self._gallery, strict=True)])
        says = np.empty_like(alike)
        for e in range(len(alike)):
            says[e] = (asks @ self._own[e])[:, None] + self._answers @ self._own[e]
            says[e] += (asks @ self._pair[e]) @ self._answers.T + self._likeness[e] * alike[e]
        gate = np.exp(says - says.max(0))
        gate /= gate.sum(0)
        return alike, gate
