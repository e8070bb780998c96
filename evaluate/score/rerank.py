"""Re-rank by k-reciprocal neighbours, with sparse matrices.

Follows "Re-ranking Person Re-identification with k-reciprocal Encoding" (Zhong et al., CVPR 2017,
sections 3.2-3.4) and its published code where the paper leaves a choice open. That code keeps
several dense matrices over all pairs; here only neighbours are kept, so memory grows with the
number of tracklets and the `(N, M)` result.
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import PipelineError
from pipeline.ranking import ranges

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BLOCK_ROWS = 512


def rerank(
    query: np.ndarray,
    gallery: np.ndarray,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    device: str = "cpu",
    memory_limit: int | None = None,
) -> np.ndarray:
    """Return re-ranked distances: Jaccard distance of neighbourhoods, mixed with the original.

    The original distance is the squared Euclidean one, divided by each query's largest. Pass
    L2-normalised features for the cosine ranking. Neighbours at equal distance count in order,
    queries before gallery.

    Args:
        query: `(N, C)` features.
        gallery: `(M, C)` features.
        k1: Neighbours of a tracklet that are checked for reciprocity.
        k2: Neighbours whose encodings are averaged (local query expansion).
        lambda_: Weight of the original distance.
        device: Where the neighbours are searched; the rest is sparse and stays on the CPU.
        memory_limit: Bytes it may take; by default what the system has available.

    Returns:
        `(N, M)` float32, smaller is closer.

    Raises:
        PipelineError: If it would not fit in memory.
    """
    features = np.concatenate([query, gallery]).astype(np.float32, copy=False)
    total = len(features)
    k1, k2 = min(k1, total - 1), min(k2, total)
    _check_memory(memory_limit, len(query), *gallery.shape, k1)
    neighbours, largest, original = _neighbours(features, len(query), k1 + 1, device)
    encoding = _encode(features, neighbours, largest, k1)
    if k2 > 1:
        encoding = _links(neighbours[:, :k2], 1 / k2) @ encoding
    return _mix(encoding, original, lambda_)


def memory_bytes(queries: int, gallery: int, channels: int, k1: int = 20) -> int:
    """Estimate the peak memory of `rerank` from above."""
    total = queries + gallery
    features = 3 * total * channels * 4
    block = 3 * BLOCK_ROWS * total * 4
    # Entries of the encoding: measured are about 2 k1 a row, here eight times that, held twice.
    sparse = total * k1 * 16 * 12 * 2
    return features + block + sparse + 3 * queries * gallery * 4


def _check_memory(limit: int | None, queries: int, gallery: int, channels: int, k1: int) -> None:
    need = memory_bytes(queries, gallery, channels, k1)
    limit = _available_bytes() if limit is None else limit
    if need > limit:
        raise PipelineError(
            f"Re-ranking {queries} queries against {gallery} tracklets needs about "
            f"{need / 1e9:.1f} GB, but {limit / 1e9:.1f} GB are free. Use a machine with more "
            "memory, or set score.rerank.enabled=false."
        )


def _available_bytes() -> int:
    import psutil

    return psutil.virtual_memory().available


def _neighbours(
    features: np.ndarray, queries: int, count: int, device: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Search the nearest rows of every row, itself included.

    Returns:
        Indices `(N + M, count)` by distance, the largest distance of every row, and the
        distances `(N, M)` of the queries divided by their largest.
    """
    import torch

    # One product gives |a - b|^2: [-2a, |a|^2, 1] . [b, 1, |b|^2].
    squares = np.einsum("nc,nc->n", features, features)[:, None]
    ones = np.ones_like(squares)
    left = np.concatenate([-2 * features, squares, ones], axis=1)
    right = np.concatenate([features, ones, squares], axis=1)
    multiply = np.matmul
    if device != "cpu":
        left, right = torch.from_numpy(left).to(device), torch.from_numpy(right).to(device)
        multiply = torch.matmul
    found, largest = [], []
    original = np.empty((queries, len(features) - queries), dtype=np.float32)
    for start in range(0, len(left), BLOCK_ROWS):
        # NumPy's product is the faster one on the CPU, torch's selection of the smallest is.
        block = torch.as_tensor(multiply(left[start : start + BLOCK_ROWS], right.T))
        values, indices = block.topk(count, largest=False)
        values, indices = values.clamp_(min=0).cpu().numpy(), indices.cpu().numpy()
        order = np.lexsort((indices, values))
        found.append(np.take_along_axis(indices, order, axis=1).astype(np.int32))
        largest.append(block.amax(dim=1).clamp(min=torch.finfo(block.dtype).tiny).cpu().numpy())
        if start < queries:
            mine = block[: queries - start, queries:].clamp(min=0).cpu().numpy()
            scale = largest[-1][: len(mine), None]
            np.divide(mine, scale, out=original[start : start + len(mine)])
    return np.concatenate(found), np.concatenate(largest), original


def _links(indices: np.ndarray, weight: float) -> "csr_array":
    """Return a sparse `(N, N)` matrix with `weight` at `indices` `(N, K)` of every row."""
    from scipy.sparse import csr_array

    rows, per_row = indices.shape
    data = np.full(indices.size, weight, dtype=np.float32)
    starts = np.arange(rows + 1) * per_row
    return csr_array((data, indices.ravel(), starts), shape=(rows, rows))


def _reciprocal(neighbours: np.ndarray) -> "csr_array":
    """Return 1 where two rows are among each other's neighbours."""
    links = _links(neighbours, 1)
    return links.multiply(links.T).tocsr()


def _encode(
    features: np.ndarray, neighbours: np.ndarray, largest: np.ndarray, k1: int
) -> "csr_array":
    """Weigh every row's reciprocal neighbours and, where they agree, those of its neighbours."""
    near = _reciprocal(neighbours)
    nearer = _reciprocal(neighbours[:, : round(k1 / 2) + 1])
    # A neighbour brings its own half-size neighbourhood if two thirds of it are shared.
    shared = (near @ nearer).multiply(near).tocsr()
    size = np.diff(nearer.indptr)
    shared.data = (3 * shared.data > 2 * size[shared.indices]).astype(np.float32)
    shared.eliminate_zeros()
    encoding = (near + shared @ nearer).tocsr()
    row = np.repeat(np.arange(len(features)), np.diff(encoding.indptr))
    distance = _pair_distances(features, row, encoding.indices) / largest[row]
    weight = np.exp(-distance)
    encoding.data = (weight / np.bincount(row, weight)[row]).astype(np.float32)
    return encoding


def _pair_distances(features: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances of listed pairs of rows."""
    distances = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), 8192):
        pairs = slice(start, start + 8192)
        difference = features[first[pairs]]
        difference -= features[second[pairs]]
        np.einsum("pc,pc->p", difference, difference, out=distances[pairs])
    return distances


def _mix(encoding: "csr_array", original: np.ndarray, lambda_: float) -> np.ndarray:
    """Mix the Jaccard distance of the encodings into the original `(N, M)` distances, in place."""
    queries, rows = original.shape
    gallery = encoding[queries:].tocsc()
    lengths = np.diff(gallery.indptr)
    for i in range(queries):
        mine = slice(encoding.indptr[i], encoding.indptr[i + 1])
        columns = encoding.indices[mine]
        repeats = lengths[columns]
        entries = ranges(gallery.indptr[columns], repeats)
        smaller = np.minimum(np.repeat(encoding.data[mine], repeats), gallery.data[entries])
        shared = np.bincount(gallery.indices[entries], smaller, rows)
        # Encodings sum to 1, so their union is 2 minus what they share.
        original[i] = lambda_ * original[i] + (1 - lambda_) * (1 - shared / (2 - shared))
    return original
