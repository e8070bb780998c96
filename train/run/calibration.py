"""How much skeletons should count beside frames: asked of people whom training never saw.

Training people are told apart by frames and by skeletons alike, so they say nothing about it.
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline import console
from pipeline.distances import CosineDistances, normalised
from pipeline.ranking import Ids, cmc_and_map
from train.describe import describe, tracklet_features

if TYPE_CHECKING:
    import torch

    from train.data.clips import TestDataset

WEIGHTS = np.concatenate([[0.0], np.geomspace(0.02, 4, 24)])


def skeleton_weights(
    model: "torch.nn.Module", people: "TestDataset", workers: int
) -> dict[str, float]:
    """Return the weight of skeletons that serves people best whom neither stage trained on.

    Args:
        model: With both towers; it is left as it was.
        people: Tracklets of the held-out identities.
        workers: Processes that load them.

    Returns:
        The weight, before and after the necks.
    """
    was, weights = (model.descriptor, model.neck), {}
    ids = Ids(people.table["pid"].to_numpy(), people.table["camid"].to_numpy())
    model.eval()
    for model.neck in ("before", "after"):
        found = {}
        for model.descriptor in ("visual", "skeleton"):
            found[model.descriptor] = tracklet_features(people, describe(model), workers)
        weights[model.neck] = best_weight(found["visual"], found["skeleton"], ids)
    model.descriptor, model.neck = was
    asked = people.table["pid"].nunique()
    said = ", ".join(f"{weight:.2g} {neck} the necks" for neck, weight in weights.items())
    console.say(f"skeletons count {said}, as {asked} held-out people say")
    return weights


def best_weight(visual: np.ndarray, skeleton: np.ndarray, ids: Ids) -> float:
    """Return the weight of skeletons, beside frames that count 1, with which mAP is highest.

    Each tracklet searches all of the other cameras. Among equals the smallest weight is taken.

    Args:
        visual: `(N, C)` descriptors made of frames.
        skeleton: `(N, D)` descriptors made of skeletons; zero where there is none.
        ids: Who they are.

    >>> frames, bones = np.ones((4, 1)), np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    >>> best_weight(frames, bones, Ids([1, 2, 1, 2], [0, 0, 1, 1]))
    0.02
    """
    visual, skeleton = normalised(visual), normalised(skeleton)

    def score(weight: float) -> float:
        joined = np.concatenate([visual, weight**0.5 * skeleton], axis=1)
        return cmc_and_map(CosineDistances(joined, joined), ids, ids).mean_ap

    return float(WEIGHTS[np.argmax([score(weight) for weight in WEIGHTS])])
