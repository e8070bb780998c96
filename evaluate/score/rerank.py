"""Re-rank by k-reciprocal neighbours, with sparse matrices.

Follows "Re-ranking Person Re-identification with k-reciprocal Encoding" (Zhong et al., CVPR 2017,
sections 3.2-3.4) and its published code where the paper leaves a choice open. That code keeps
several dense matrices over all pairs; here only neighbours are kept, so memory grows with the
number of tracklets and the `(N, M)` result.

One thing is decided otherwise. Rows with the same features (a query that is in the gallery too) are
one row that counts several times: all of them are neighbours, or none. Rows are sorted by their
features, distances are exact (`pipeline.distances`), and other ties go by that order. So neither
the order of the gallery nor the number of threads changes a bit of the result.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.distances import Comparison, distances_of, on_grid, smallest
from pipeline.errors import PipelineError
from pipeline.ranking import Distances, ranges

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

BLOCK_ROWS = 512


def rerank(
    query: np.ndarray,
    gallery: np.ndarray,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    device: str = "cpu",
    memory_limit: int | None = None,
    comparison: Comparison | None = None,
) -> np.ndarray:
    """Return re-ranked distances: Jaccard distance of neighbourhoods, mixed with the original.

    The original distance is the squared Euclidean one, divided by each query's largest. Pass
    L2-normalised features for the cosine ranking.

    Args:
        query: `(N, C)` features.
        gallery: `(M, C)` features.
        k1: Neighbours of a tracklet that are checked for reciprocity.
        k2: Neighbours whose encodings are averaged (local query expansion).
        lambda_: Weight of the original distance.
        device: Where the neighbours are searched; the rest is sparse and stays on the CPU.
        memory_limit: Bytes it may take; by default what the system has available.
        comparison: What distances are where they are not Euclidean; they count as they are.

    Returns:
        `(N, M)` float32, smaller is closer.

    Raises:
        PipelineError: If it would not fit in memory.
    """
    total = len(query) + len(gallery)
    k1, k2 = min(k1, total - 1), min(k2, total)
    _check_memory(memory_limit, len(query), *gallery.shape, k1, k2)
    features, row_of, copies = _distinct(on_grid(np.concatenate([query, gallery])))
    asked, ranked = row_of[: len(query)], row_of[len(query) :]
    every = distances_of(comparison, features, features) if comparison else None
    found = _neighbours(features, asked, ranked, max(k1 + 1, k2), device, every)
    # How many tracklets are nearer than a neighbour.
    nearer = np.cumsum(copies[found.rows], axis=1) - copies[found.rows]
    encoding = _encode(every, features, copies, found, nearer, k1)
    if k2 > 1:
        # Equal rows share the last places: their encodings are equal too.
        places = np.clip(k2 - nearer, 0, copies[found.rows])
        encoding = _links(found.rows, places / k2) @ encoding
    return _mix(encoding, asked, ranked, found.original, lambda_)


def memory_bytes(queries: int, gallery: int, channels: int, k1: int = 20, k2: int = 6) -> int:
    """Estimate the peak memory of `rerank` from above."""
    total = queries + gallery
    features = 5 * total * channels * 8
    block = 3 * BLOCK_ROWS * total * 8
    # Entries of the encoding: measured are about 2 k1 a row, here eight times that, held twice.
    sparse = total * k1 * 2 * max(8, k2) * 12 * 2
    return features + block + sparse + 3 * queries * gallery * 4


def _check_memory(
    limit: int | None, queries: int, gallery: int, channels: int, k1: int, k2: int
) -> None:
    need = memory_bytes(queries, gallery, channels, k1, k2)
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


class _Neighbours(NamedTuple):
    """What the search of the `U` distinct rows found.

    Attributes:
        rows: The nearest rows `(U, K)` of each, itself first.
        largest: The largest distance `(U,)` of each.
        original: Distances `(N, M)` of queries and gallery, divided by the query's largest.
    """

    rows: np.ndarray
    largest: np.ndarray
    original: np.ndarray


def _distinct(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct rows, sorted; which of them each row is; how often each one occurs."""
    as_bytes = features.view(f"V{features.shape[1] * features.itemsize}")[:, 0]
    _, first, row_of, copies = np.unique(
        as_bytes, return_index=True, return_inverse=True, return_counts=True
    )
    return features[first], row_of, copies.astype(np.float32)


def _neighbours(
    features: np.ndarray,
    asked: np.ndarray,
    ranked: np.ndarray,
    count: int,
    device: str,
    every: Distances | None,
) -> _Neighbours:
    """Search the nearest of the distinct rows for each of them.

    Args:
        features: `(U, C)`.
        asked: Which row each of the `N` queries is.
        ranked: Which row each of the `M` gallery tracklets is.
        count: How many to find, if there are as many.
        device: Where to search.
        every: Distances of all of them to all, where they are not Euclidean.
    """
    import torch

    block_of = _squares(features, device) if every is None else lambda part: every[part]
    count = min(count, len(features))
    rows, largest = [], []
    original = np.empty((len(asked), len(ranked)), dtype=np.float32)
    for start in range(0, len(features), BLOCK_ROWS):
        # NumPy's product is the faster one on the CPU, torch's selection of the smallest is.
        block = torch.as_tensor(block_of(slice(start, start + BLOCK_ROWS)))
        rows.append(_nearest(block, count))
        largest.append(block.amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny).cpu().numpy())
        mine = np.flatnonzero((asked >= start) & (asked < start + len(block)))
        own = asked[mine] - start
        scaled = block.cpu().numpy()[own] / largest[-1][own, None]
        original[mine] = scaled.astype(np.float32)[:, ranked]
    return _Neighbours(np.concatenate(rows), np.concatenate(largest), original)


def _squares(features: np.ndarray, device: str) -> Callable[[slice], Any]:
    """Return what gives the squared Euclidean distances of some rows to all."""
    import torch

    # One product gives |a - b|^2: [-2a, |a|^2, 1] . [b, 1, |b|^2].
    squares = np.einsum("nc,nc->n", features, features)[:, None]
    ones = np.ones_like(squares)
    right = np.concatenate([features, ones, squares], axis=1).T
    multiply, on_device = np.matmul, np.asarray
    if device != "cpu":
        multiply, on_device = torch.matmul, partial(torch.as_tensor, device=device)
    right = on_device(right)

    def block(part: slice) -> Any:
        left = np.concatenate([-2 * features[part], squares[part], ones[part]], axis=1)
        return multiply(on_device(left), right)

    return block


def _nearest(block: "Tensor", count: int) -> np.ndarray:
    """Return the indices `(B, count)` of the smallest values of each row, ties by index."""
    # One more than wanted shows whether the border falls between equals.
    values, indices = block.topk(min(count + 1, block.shape[1]), largest=False)
    values, indices = values.cpu().numpy(), indices.cpu().numpy()
    order = np.lexsort((indices, values))[:, :count]
    found = np.take_along_axis(indices, order, axis=1).astype(np.int32)
    nearest = np.take_along_axis(values, order, axis=1)
    for row in np.flatnonzero(nearest[:, -1] == values.max(axis=1)):
        found[row] = smallest(block[row].cpu().numpy(), count)
    return found


def _links(rows: np.ndarray, weight: np.ndarray) -> "csr_array":
    """Return a sparse `(U, U)` matrix with the weights `(U, K)`, if not 0, at `rows` `(U, K)`."""
    from scipy.sparse import csr_array

    kept = weight > 0
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    data = weight[kept].astype(np.float32)
    return csr_array((data, rows[kept], starts), shape=(len(rows), len(rows)))


def _reciprocal(rows: np.ndarray, is_near: np.ndarray) -> "csr_array":
    """Return 1 where two rows are among each other's neighbours."""
    links = _links(rows, is_near)
    return links.multiply(links.T).tocsr()


def _encode(
    every: Distances | None,
    features: np.ndarray,
    copies: np.ndarray,
    found: _Neighbours,
    nearer: np.ndarray,
    k1: int,
) -> "csr_array":
    """Weigh every row's reciprocal neighbours and, where they agree, those of its neighbours.

    An entry is the weight of all copies of a row together; those of a row add up to 1.
    """
    near = _reciprocal(found.rows, nearer <= k1)
    half = _reciprocal(found.rows, nearer <= round(k1 / 2))
    # A neighbour brings its own half-size neighbourhood if two thirds of it are shared.
    shared = ((near * copies).tocsr() @ half).multiply(near).tocsr()
    size = half @ copies
    shared.data = (3 * shared.data > 2 * size[shared.indices]).astype(np.float32)
    shared.eliminate_zeros()
    encoding = (near + shared @ half).tocsr()
    row, column = np.repeat(np.arange(len(features)), np.diff(encoding.indptr)), encoding.indices
    if every is None:
        distance = _pair_distances(features, row, column)
    else:
        distance = _listed(every, encoding.indptr, column)
    distance = distance / found.largest[row]
    weight = copies[column] * np.exp(-distance)
    encoding.data = (weight / np.bincount(row, weight)[row]).astype(np.float32)
    return encoding


def _pair_distances(features: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances of listed pairs of rows."""
    distances = np.empty(len(first))
    for start in range(0, len(first), 8192):
        pairs = slice(start, start + 8192)
        difference = features[first[pairs]]
        difference -= features[second[pairs]]
        np.einsum("pc,pc->p", difference, difference, out=distances[pairs])
    return distances


def _listed(every: Distances, bounds: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the distances of listed pairs, which lie by their first rows between `bounds`."""
    found = np.empty(len(column))
    for start in range(0, len(bounds) - 1, BLOCK_ROWS):
        block = np.asarray(every[start : start + BLOCK_ROWS])
        for i, distances in enumerate(block, start):
            own = slice(bounds[i], bounds[i + 1])
            found[own] = distances[column[own]]
    return found


def _mix(
    encoding: "csr_array",
    asked: np.ndarray,
    ranked: np.ndarray,
    original: np.ndarray,
    lambda_: float,
) -> np.ndarray:
    """Mix the Jaccard distance of the encodings into the original `(N, M)` distances, in place."""
    by_column = encoding.tocsc()
    lengths = np.diff(by_column.indptr)
    for i, row in enumerate(asked):
        mine = slice(encoding.indptr[row], encoding.indptr[row + 1])
        columns = encoding.indices[mine]
        repeats = lengths[columns]
        entries = ranges(by_column.indptr[columns], repeats)
        smaller = np.minimum(np.repeat(encoding.data[mine], repeats), by_column.data[entries])
        shared = np.bincount(by_column.indices[entries], smaller, len(lengths))[ranked]
        # Encodings sum to 1, so their union is 2 minus what they share.
        original[i] = lambda_ * original[i] + (1 - lambda_) * (1 - shared / (2 - shared))
    return original
