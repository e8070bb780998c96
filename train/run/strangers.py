"""How near strangers come: asked of people whom training never saw.

Training people lie further apart than others ever will, so they say nothing about it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.distances import Comparison, distances_of, normalised

if TYPE_CHECKING:
    from train.run.calibration import Found

# Shares of pairs of strangers whose distance is noted, from most to one in a thousand.
_SHARES = np.geomspace(0.5, 0.001, 28)


def strangers(
    found: "Found",
    pids: np.ndarray,
    skeleton_weight: dict[str, float] | None = None,
    comparison: Comparison | None = None,
) -> dict[str, dict[str, Any]]:
    """Return how near strangers come, by the neck and by what describes them.

    Args:
        found: How the held-out people are described.
        pids: Who they are.
        skeleton_weight: Of skeletons beside frames where both describe, by the neck.
        comparison: What the distance of two descriptions is; None for cosine.
    """
    noted: dict[str, dict[str, Any]] = {}
    for neck, own in found.items():
        if skeleton_weight:
            skeleton = normalised(own["skeleton"]) * skeleton_weight[neck] ** 0.5
            own = own | {"both": np.concatenate([normalised(own["visual"]), skeleton], axis=1)}
        noted[neck] = {kind: nearness(features, pids, comparison) for kind, features in own.items()}
    return noted


def nearness(
    features: np.ndarray, pids: np.ndarray, comparison: Comparison | None = None
) -> dict[str, Any]:
    """Return below which distance which share of the pairs of strangers lies.

    Args:
        features: `(N, C)` of tracklets of at least two persons.
        pids: Whose they are, `(N,)`.
        comparison: What their distance is; None for cosine.

    Returns:
        `shares`, falling, and the `distances` that belong to them. Of `P` pairs of persons a share
        `s` counts as `(s P + 1) / (P + 1)`: a next stranger is one more of them, and few people
        would promise too much (conformal prediction; Vovk et al., 2005). So twelve say nothing
        rarer than 1 in 67.
    """
    first, second = np.triu_indices(len(pids), 1)
    apart = pids[first] != pids[second]
    first, second = first[apart], second[apart]
    if not comparison or comparison["kind"] == "cosine":
        unit = normalised(features)
        distance = 1 - np.sum(unit[first] * unit[second], axis=1)
    else:
        distance = distances_of(comparison, features, features)[:][first, second]
    persons = len(np.unique(pids))
    pairs = persons * (persons - 1) / 2
    shares = np.append(_SHARES[_SHARES * pairs > 1], 0.0)
    found, counted = np.quantile(distance, shares), (shares * pairs + 1) / (pairs + 1)
    return {"shares": counted.round(6).tolist(), "distances": found.round(6).tolist()}


def share_within(distance: float, noted: dict[str, Any]) -> float:
    """Return which share of strangers comes as near as a distance, between what was noted.

    It is the largest or the smallest share that was noted where the distance lies beyond.

    >>> noted = {"shares": [0.5, 0.04, 0.01], "distances": [0.8, 0.4, 0.2]}
    >>> round(share_within(0.3, noted), 6), round(share_within(0.9, noted), 6)
    (0.02, 0.5)
    """
    shares, distances = (np.array(noted[key][::-1]) for key in ("shares", "distances"))
    return float(np.exp(np.interp(distance, distances, np.log(shares))))


def distance_of(share: float, noted: dict[str, Any]) -> float:
    """Return the distance within which a share of strangers comes: the inverse of `share_within`.

    >>> noted = {"shares": [0.5, 0.04, 0.01], "distances": [0.8, 0.4, 0.2]}
    >>> round(distance_of(0.02, noted), 6)
    0.3
    """
    shares, distances = (np.array(noted[key][::-1]) for key in ("shares", "distances"))
    return float(np.interp(np.log(share), np.log(shares), distances))


def in_words(distance: float, noted: dict[str, Any]) -> str:
    """Say which share of strangers comes as near as a distance.

    >>> noted = {"shares": [0.5, 0.02, 0.01], "distances": [0.8, 0.4, 0.3]}
    >>> [in_words(distance, noted) for distance in (0.9, 0.4, 0.1)]
    ['more than 1 in 2', '1 in 50', 'less than 1 in 100']
    """
    said = f"1 in {1 / share_within(distance, noted):.0f}"
    if distance > noted["distances"][0]:
        return f"more than {said}"
    return f"less than {said}" if distance < noted["distances"][-1] else said
