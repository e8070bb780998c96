"""IDF1: how well tracks keep who is who (Ristani et al., ECCVW 2016, equation 10)."""

from collections import Counter, defaultdict

import numpy as np
from scipy.optimize import linear_sum_assignment

from extract.tracks.boxes import Box


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes by their union."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(0.0, width) * max(0.0, height)
    return both / (one.width * one.height + other.width * other.height - both)


def idf1(truth: list[Box], found: list[Box]) -> float:
    """Return the share of boxes that are right when every person is given one track at best."""
    names = sorted({box.track for box in truth}), sorted({box.track for box in found})
    together: Counter[tuple[str, str]] = Counter()
    by_frame = defaultdict(list)
    for box in found:
        by_frame[box.frame].append(box)
    for box in truth:
        for other in by_frame[box.frame]:
            together[box.track, other.track] += overlap(box, other) >= 0.5
    matches = np.array([[together[one, other] for other in names[1]] for one in names[0]])
    right = matches[linear_sum_assignment(-matches)].sum() if matches.size else 0
    return 2 * right / (len(truth) + len(found))
