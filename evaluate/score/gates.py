"""What the gate of a system looks at: how much experts count, and whether clothes decide it."""

from typing import Any

import numpy as np

from evaluate.score.protocol import Search
from pipeline.distances import GatedDistances
from pipeline.names import DISTRACTOR

_BLOCK = 256


def gate(search: Search) -> dict[str, Any] | None:
    """Return how experts are weighed, None where no gate weighs any.

    Args:
        search: Queries and gallery.

    Returns:
        By the expert's name: `share`, the mean of its weight over all pairs of a query and a
        gallery tracklet; and where clothes are known `same_clothes_auc`: how often it counts more
        for two tracklets of a person in the same clothes than for two in other ones.
    """
    dist = search.distances("feature")
    if not isinstance(dist, GatedDistances):
        return None
    query, gallery = search.query.ids, search.gallery.ids
    shares = np.zeros(len(dist.names))
    own: list[np.ndarray] = []
    is_same: list[np.ndarray] = []
    for start in range(0, len(query), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(query)))
        weights = dist.weights(rows)
        shares += weights.sum((1, 2))
        if query.clothes is None or gallery.clothes is None:
            continue
        pairs = query.pid[rows, None] == gallery.pid
        pairs &= (query.pid[rows, None] != DISTRACTOR) & (
            search.query.tracklet[rows, None] != search.gallery.tracklet
        )
        own.append(weights[:, pairs])
        is_same.append((query.clothes[rows, None] == gallery.clothes)[pairs])
    found: dict[str, Any] = {}
    for e, name in enumerate(dist.names):
        found[name] = {"share": float(shares[e] / (dist.shape[0] * dist.shape[1]))}
        if own:
            values, kinds = np.concatenate([one[e] for one in own]), np.concatenate(is_same)
            found[name] |= _told_apart(values, kinds)
    return found


def _told_apart(values: np.ndarray, is_positive: np.ndarray) -> dict[str, float]:
    """Return the share of pairs of a positive and a negative in which the positive is larger.

    It is the area under the ROC curve; equals count half. Nothing where one kind is missing.
    """
    positives, negatives = np.sort(values[is_positive]), np.sort(values[~is_positive])
    if not len(positives) or not len(negatives):
        return {}
    below, up_to = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    wins = below.sum() + 0.5 * (up_to - below).sum()
    return {"same_clothes_auc": float(wins / (len(positives) * len(negatives)))}
