"""Distances between query and gallery features: exact, so the same on every machine.

A sum of floats depends on the order of summing, which BLAS changes with the number of threads and
with the place of a row. On a grid coarse enough for products and their sums to fit the 53 bits of
a float64, nothing is rounded, and no order matters.
"""

import numpy as np

# Of the longest row: as fine as a float32 just below 1 is.
_STEP = 2.0**-24


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
