"""The same person or not, decided by a distance alone: ROC, EER, TPR at a small FPR.

A pair is accepted where its distance is at most a threshold. TPR is the share of a person's own
pairs (genuine) that are accepted, FPR that of pairs of two persons (impostors). Pairs are those
that the ranking is made of: scored queries, and the gallery tracklets that the protocol ranks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.score.analysis import draw_persons, interval95
from pipeline.ranking import Distances, Ids, map_queries

# Distances of genuine pairs that are thresholds, if there are more: the curve itself, and redrawn.
_THRESHOLDS, _DRAWN = 2**15, 2**10
_LEVELS = {"TPR_at_FPR_1e-1": 1e-1, "TPR_at_FPR_1e-2": 1e-2, "TPR_at_FPR_1e-3": 1e-3}
# A smaller FPR than 1 % needs so many impostors: of fewer, the next one decides the number.
_FEWEST = 100


@dataclass(frozen=True)
class Roc:
    """A ROC curve: straight lines through points; both rates rise from 0 to 1.

    Attributes:
        fpr: Shares `(..., K)` of impostor pairs that are accepted.
        tpr: Shares `(..., K)` of genuine pairs.
    """

    fpr: np.ndarray
    tpr: np.ndarray

    @classmethod
    def of_counts(cls, impostors: np.ndarray, genuine: np.ndarray) -> "Roc":
        """Make it of the pairs `(..., K)` below thresholds, of which the last accepts all."""
        rates = [counts / counts[..., -1:] for counts in (impostors, genuine)]
        return cls(*(np.insert(rate, 0, 0, axis=-1) for rate in rates))

    def tpr_at(self, fpr: float) -> np.ndarray:
        """Return the TPR at a FPR below 1; of several there, the largest."""
        return _crossing(self.fpr - fpr, self.tpr, (self.fpr <= fpr).sum(axis=-1))

    @property
    def eer(self) -> np.ndarray:
        """Where as many impostors are accepted as genuine pairs are refused."""
        excess = self.fpr + self.tpr - 1
        return _crossing(excess, self.fpr, (excess < 0).sum(axis=-1))


def _crossing(rising: np.ndarray, values: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the value where a curve passes 0 on its way to point `after`."""
    (x0, x1), (y0, y1) = (
        [np.take_along_axis(curve, at[..., None], axis=-1)[..., 0] for at in (after - 1, after)]
        for curve in (rising, values)
    )
    return y0 + (y1 - y0) * -x0 / (x1 - x0)


@dataclass(frozen=True)
class Verification:
    """What distances are worth without a gallery to rank.

    Attributes:
        roc: The curve.
        metrics: EER and TPR with intervals, and what they count.
    """

    roc: Roc
    metrics: dict[str, Any]

    def curve(self) -> list[dict[str, float]]:
        """Return TPR by FPR, twenty points a decade, where there are impostors enough."""
        rates, number = np.geomspace(1e-4, 1, 81).round(6)[:-1], self.metrics["impostor_pairs"]
        kept = [float(rate) for rate in rates if _is_enough(rate, number)]
        return [{"fpr": rate, "tpr": float(self.roc.tpr_at(rate))} for rate in kept] + [
            {"fpr": 1.0, "tpr": 1.0}
        ]


def verify(
    dist: Distances,
    query: Ids,
    gallery: Ids,
    same_camera_counts: bool = False,
    samples: int = 1000,
    seed: int = 0,
) -> Verification | None:
    """Tell pairs of one person from pairs of two by their distances.

    Intervals are made as those of `bootstrap_intervals`: a person is drawn with all pairs of its
    queries, against the gallery as it is.

    Args:
        dist: `(N, M)`, smaller is closer.
        query: Ids of the `N` queries.
        gallery: Ids of the `M` gallery tracklets.
        same_camera_counts: As in `cmc_and_map`.
        samples: Draws of as many persons as there are.
        seed: Of the draws.

    Returns:
        Nothing where no pair of two persons is left.

    Raises:
        PipelineError: As `cmc_and_map`.
    """
    total, each = _count(query.pid, (dist, query, gallery, "general", same_camera_counts))
    impostors, genuine = total[:, -1].astype(int).tolist()
    if not impostors:
        return None
    each = each[:, each[..., -1].all(axis=0)]
    times_drawn = draw_persons(each.shape[1], samples, seed)
    redrawn = _measures(Roc.of_counts(*(times_drawn @ counts for counts in each)), impostors)
    roc = Roc.of_counts(*total)
    metrics: dict[str, Any] = {
        name: float(found) for name, found in _measures(roc, impostors).items()
    }
    metrics["persons"] = each.shape[1]
    metrics |= {"genuine_pairs": genuine, "impostor_pairs": impostors}
    metrics["interval95"] = {name: interval95(found) for name, found in redrawn.items()}
    return Verification(roc, metrics)


def _count(pid: np.ndarray, rules: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Count the pairs that thresholds accept, in all and of each person's queries.

    Args:
        pid: Person `(N,)` of each query.
        rules: What `map_queries` takes.

    Returns:
        Impostors and genuine pairs: `(2, K)`, and `(2, P, L)` for some of the thresholds.
    """
    genuine = list(map_queries(lambda values, matches, _: np.sort(values[matches]), *rules))
    pooled = np.sort(np.concatenate(genuine))
    thresholds = _some(np.unique(pooled), _THRESHOLDS)
    drawn = _some(np.arange(len(thresholds)), _DRAWN)
    columns = np.append(2 * drawn[:, None] + [0, 1], 2 * len(thresholds))

    def impostors_of(values: np.ndarray, matches: np.ndarray, removed: np.ndarray) -> np.ndarray:
        if not len(matches):
            return np.zeros(2 * len(thresholds) + 1)
        left = len(values) - len(matches) - len(removed)
        values[matches], values[removed] = np.inf, np.inf
        return _accepted(np.sort(values)[:left], thresholds)

    persons, person = np.unique(pid, return_inverse=True)
    each = np.zeros((2, len(persons), len(columns)))
    total = np.zeros((2, 2 * len(thresholds) + 1))
    total[1] = _accepted(pooled, thresholds)
    for i, impostors in enumerate(map_queries(impostors_of, *rules)):
        total[0] += impostors
        each[0, person[i]] += impostors[columns]
        each[1, person[i]] += _accepted(genuine[i], thresholds[drawn])
    return total, each


def _measures(roc: Roc, impostors: float) -> dict[str, np.ndarray]:
    levels = {name: rate for name, rate in _LEVELS.items() if _is_enough(rate, impostors)}
    return {"EER": roc.eer} | {name: roc.tpr_at(rate) for name, rate in levels.items()}


def _is_enough(fpr: float, impostors: float) -> bool:
    return fpr >= 0.01 or fpr * impostors >= _FEWEST


def _some(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of sorted values, evenly, with the first and the last."""
    return values[np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int)]


def _accepted(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count sorted values below each threshold, and up to it, in turn; at the end all."""
    counts = np.empty(2 * len(thresholds) + 1)
    counts[:-1:2] = np.searchsorted(values, thresholds, "left")
    counts[1:-1:2] = np.searchsorted(values, thresholds, "right")
    counts[-1] = len(values)
    return counts
