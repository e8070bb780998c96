"""Held-out identities are ranked by the rules of their dataset."""

import numpy as np
import pytest
import torch

from pipeline.errors import PipelineError
from train.registry import METRICS


def score(features: np.ndarray, pid: list[int], camid: list[int], **rules: bool) -> dict:
    metric = METRICS.build({"type": "train.run.validation.RetrievalMetric"} | rules)
    metric.dataset_meta = {"pid": pid, "camid": camid}
    for rows in np.array_split(np.random.default_rng(0).permutation(len(features)), 3):
        metric.process({"labels": torch.from_numpy(rows)}, torch.from_numpy(features[rows]))
    return metric.evaluate(len(features))


def test_a_tracklet_does_not_find_itself() -> None:
    noise = np.random.default_rng(1).standard_normal((200, 16)).astype(np.float32)
    pid = (np.arange(200) // 2).tolist()
    for camid, own_camera in ((np.arange(200) % 2, False), (np.zeros(200), True)):
        found = score(noise, pid, camid.tolist(), same_camera_counts=own_camera)
        assert found["rank1"] < 0.05


def test_one_camera_is_enough_where_the_rules_rank_it() -> None:
    features = np.repeat(np.eye(8, dtype=np.float32), 3, axis=0)
    pid, camid = np.repeat(np.arange(1, 9), 3).tolist(), [0] * 24
    assert score(features, pid, camid, same_camera_counts=True) == {"mAP": 1, "rank1": 1}
    with pytest.raises(PipelineError, match="No query"):
        score(features, pid, camid)
