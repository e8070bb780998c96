"""Score held-out training identities while a model trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from torch import Tensor

from pipeline.distances import Comparison, distances_of
from pipeline.ranking import Ids, cmc_and_map
from train.registry import METRICS


@METRICS.register_module()
class RetrievalMetric(BaseMetric):
    """Rank all tracklets for each of them, itself left out, and average.

    The model describes clips by `(C,)` features; the labels of a batch are positions in the data
    set's `metainfo`.

    Args:
        same_camera_counts: Whether the dataset's rules rank a person in its own camera.
    """

    default_prefix = None
    # Of the model that trains: `HeldOutHook` sets it before each validation.
    comparison: Comparison | None = None

    def __init__(self, same_camera_counts: bool = False) -> None:
        """Keep the rule."""
        super().__init__()
        self.same_camera_counts = same_camera_counts

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[Tensor]) -> None:
        """Keep the features of a batch."""
        for position, feature in zip(data_batch["labels"].tolist(), data_samples, strict=True):
            self.results.append((position, feature.float().cpu().numpy()))

    def compute_metrics(self, results: list[tuple[int, np.ndarray]]) -> dict[str, float]:
        """Return mAP and rank-1."""
        results = sorted(results, key=lambda result: result[0])
        features = np.stack([feature for _, feature in results])
        names = np.arange(len(features))
        ids = Ids(self.dataset_meta["pid"], self.dataset_meta["camid"], tracklet=names)
        dist = distances_of(self.comparison, features, features)
        scores = cmc_and_map(dist, ids, ids, same_camera_counts=self.same_camera_counts).summary()
        return {"mAP": scores["mAP"], "rank1": scores["rank1"]}
