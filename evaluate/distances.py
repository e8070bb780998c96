"""Distances between query and gallery features, a block of rows at a time."""

import numpy as np


class CosineDistances:
    """Cosine distances between features, computed block by block when they are read.

    Equivalent to ranking by Euclidean distance on L2-normalised features.
    """

    def __init__(self, query: np.ndarray, gallery: np.ndarray) -> None:
        """Normalise `(N, C)` query and `(M, C)` gallery features."""
        self._query, self._gallery = normalised(query), normalised(gallery)
        self.shape = (len(query), len(gallery))

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the distances of some queries to the whole gallery."""
        block = self._query[rows] @ self._gallery.T
        return np.subtract(1, block, out=block)


def normalised(features: np.ndarray) -> np.ndarray:
    """Scale every row of `(N, C)` features to unit length; a zero row stays zero."""
    features = np.asarray(features, dtype=np.float32)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(norms, np.finfo(np.float32).tiny)
