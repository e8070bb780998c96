"""How much skeletons should count beside frames: asked of people whom training never saw.

Training people are told apart by frames and by skeletons alike, so they say nothing about it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import console
from pipeline.distances import CosineDistances, normalised
from pipeline.ranking import Ids, cmc_and_map
from train.describe import ClipDescriber, Features, tracklet_features

if TYPE_CHECKING:
    import pandas as pd

    from train.data.clips import TestDataset
    from train.models.base import ReidModel

NECKS = ("before", "after")
WEIGHTS = np.concatenate([[0.0], np.geomspace(0.02, 4, 24)])


# Of each neck, of each descriptor, the features `(N, C)` of people.
Found = dict[str, dict[str, np.ndarray]]


def described_people(model: "ReidModel", people: "TestDataset", workers: int) -> Found:
    """Describe people in every way that a model knows, by the neck; each clip is decoded once.

    Args:
        model: It is left in evaluation mode.
        people: Tracklets of the held-out identities.
        workers: Processes that load them.
    """
    made = tracklet_features(people, _describer(model.eval()), workers)
    found: Found = {neck: {} for neck in NECKS}
    for name, features in made.items():
        neck, _, descriptor = name.partition(" ")
        found[neck][descriptor] = features
    return found


def skeleton_weights(
    found: Found, table: "pd.DataFrame", same_camera_counts: bool
) -> dict[str, float]:
    """Return the weight of skeletons that serves people best whom neither stage trained on.

    Args:
        found: How the held-out identities are described.
        table: Who they are.
        same_camera_counts: Whether the dataset's rules rank a person in its own camera.

    Returns:
        The weight, before and after the necks.
    """
    ids = Ids(table["pid"], table["camid"], tracklet=np.arange(len(table)))
    weights = {
        neck: best_weight(own["visual"], own["skeleton"], ids, same_camera_counts)
        for neck, own in found.items()
    }
    asked = table["pid"].nunique()
    said = ", ".join(f"{weight:.2g} {neck} the necks" for neck, weight in weights.items())
    console.say(f"skeletons count {said}, as {asked} held-out people say")
    return weights


def _describer(model: "ReidModel") -> ClipDescriber:
    """Return what describes a batch by frames and by skeletons, before and after the necks."""
    import torch

    kinds = [kind for kind in ("visual", "skeleton") if getattr(model, kind) is not None]

    @torch.no_grad()
    def features(batch: dict[str, Any]) -> Features:
        inputs = model.data_preprocessor(batch)["inputs"]
        return {
            f"{neck} {kind}": made.float().cpu().numpy()
            for kind in kinds
            for neck, made in model.describe_at_necks(inputs, kind).items()
        }

    return features


def best_weight(
    visual: np.ndarray, skeleton: np.ndarray, ids: Ids, same_camera_counts: bool = False
) -> float:
    """Return the weight of skeletons, beside frames that count 1, with which mAP is highest.

    Each tracklet searches all others that the dataset's rules rank. Among equals the smallest
    weight is taken.

    Args:
        visual: `(N, C)` descriptors made of frames.
        skeleton: `(N, D)` descriptors made of skeletons; zero where there is none.
        ids: Who they are.
        same_camera_counts: Whether a person is ranked in its own camera.

    >>> frames, bones = np.ones((4, 1)), np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    >>> best_weight(frames, bones, Ids([1, 2, 1, 2], [0, 0, 1, 1]))
    0.02
    """
    visual, skeleton = normalised(visual), normalised(skeleton)

    def score(weight: float) -> float:
        joined = np.concatenate([visual, weight**0.5 * skeleton], axis=1)
        dist = CosineDistances(joined, joined)
        return cmc_and_map(dist, ids, ids, same_camera_counts=same_camera_counts).mean_ap

    return float(WEIGHTS[np.argmax([score(weight) for weight in WEIGHTS])])
