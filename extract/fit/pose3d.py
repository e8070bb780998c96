"""Fit the small temporal lifter to what the 2D estimator finds in rendered people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from extract.engine import models
from extract.fit.people import Clips, shuffled
from extract.pose3d.normalise import normalise, towards_root
from pipeline.skeleton import H36M17

BATCH = 256
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-2
# Gaussian noise is a poor stand-in for an estimator's errors, so most windows hold its own finds,
# or its errors laid over other people; the rest hold the truth, so that better 2D joints give
# better 3D ones.
TRUE_SHARE = 0.25

# Clips, and the joints `(N, 17, 2)` and scores `(N, 17)` found in them.
Found = tuple[Clips, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Lifts:
    """Pairs of 2D and 3D poses, tracklet after tracklet, each with a margin of repeated poses.

    Attributes:
        found: Normalised joints and scores from the estimator, `(M, 17, 3)`.
        true: Normalised true joints with score 1, `(M, 17, 3)`.
        xyz: What to predict for each window, `(N, 17, 3)` metres along the ray to the pelvis.
        starts: First row of each window, `(N,)`.
    """

    found: np.ndarray
    true: np.ndarray
    xyz: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, sets: Sequence[Found], window: int) -> "Lifts":
        """Pair the truth of clips with the joints found in them."""
        margin = (window - 1) // 2
        found, true, starts, row = [], [], [], 0
        for clips, xy_px, score in sets:
            for clip in clips.clips():
                found.append(_padded(xy_px[clip], score[clip], margin))
                true.append(_padded(clips.xy_px[clip], np.ones_like(score[clip]), margin))
                starts.append(row + np.arange(clip.stop - clip.start))
                row += len(found[-1])
        target = np.concatenate([towards_root(clips.xyz, clips.root) for clips, *_ in sets])
        return cls(np.concatenate(found), np.concatenate(true), target, np.concatenate(starts))


def with_errors_of(others: Found, clips: Clips, seed: int) -> Found:
    """Lay over each of `clips` the errors found in one of `others`, and take over its scores.

    Errors are in shares of a person's height; over a longer clip they go back and forth.
    """
    rng = np.random.default_rng(seed)
    there, found, score = others
    donors = there.clips()
    xy_px, scores = clips.xy_px.copy(), np.empty(clips.xy_px.shape[:2], np.float32)
    for clip in clips.clips():
        donor = donors[rng.integers(len(donors))]
        last = donor.stop - donor.start - 1
        steps = np.arange(clip.stop - clip.start) % max(2 * last, 1)
        rows = donor.start + np.minimum(steps, 2 * last - steps)
        size = _height(clips.xy_px[clip]) / _height(there.xy_px[donor])
        xy_px[clip] += size * (found[rows] - there.xy_px[rows])
        scores[clip] = score[rows]
    return clips, xy_px, scores


def _height(xy_px: np.ndarray) -> float:
    return float(np.median(np.ptp(xy_px[..., 1], axis=1)))


def _padded(xy_px: np.ndarray, score: np.ndarray, margin: int) -> np.ndarray:
    xy, h36m_score = normalise(xy_px, score)
    poses = np.concatenate([xy, h36m_score[..., None]], -1)
    return np.pad(poses, ((margin, margin), (0, 0), (0, 0)), mode="edge")


class WindowBatches(IterableDataset):
    """Batches of windows, half of them mirrored."""

    def __init__(self, lifts: Lifts, window: int, batches: int, seed: int) -> None:
        """Prepare `batches` batches of windows `window` frames long."""
        self._lifts, self._window, self._batches, self._seed = lifts, window, batches, seed

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._batches

    def __iter__(self) -> Iterator[dict]:
        """Yield batches as a PoseLifter takes them."""
        rng = np.random.default_rng(self._seed)
        for picks in shuffled(len(self._lifts.starts), BATCH, self._batches, rng):
            yield self._make(picks, rng)

    def _make(self, picks: np.ndarray, rng: np.random.Generator) -> dict:
        rows = self._lifts.starts[picks][:, None] + np.arange(self._window)
        is_true = rng.random(len(picks)) < TRUE_SHARE
        poses = np.where(
            is_true[:, None, None, None], self._lifts.true[rows], self._lifts.found[rows]
        )
        xyz = self._lifts.xyz[picks].copy()
        mirror = np.flatnonzero(rng.random(len(picks)) < 0.5)
        flip = list(H36M17.flip)
        poses[mirror] = poses[mirror][:, :, flip] * np.array([-1, 1, 1], np.float32)
        xyz[mirror] = xyz[mirror][:, flip] * np.array([-1, 1, 1], np.float32)
        inputs = torch.from_numpy(poses).flatten(2).transpose(1, 2).contiguous()
        return {"inputs": inputs, "data_samples": [_sample(torch.from_numpy(xyz))]}


def _sample(xyz: Tensor) -> object:
    """Return one data sample that holds the labels of the whole batch as its instances."""
    from mmengine.structures import InstanceData
    from mmpose.structures import PoseDataSample

    sample = PoseDataSample()
    weight = torch.ones(xyz.shape[:2])
    sample.gt_instance_labels = InstanceData(lifting_target_label=xyz, lifting_target_weight=weight)
    return sample


def fit_lifter(
    config: Path, sets: Sequence[Found], iterations: int, device: str, seed: int = 0
) -> dict[str, Tensor]:
    """Train the lifter of a config from scratch and return its weights.

    Args:
        config: Its MMPose config.
        sets: Clips, and what the estimator found in them or could have found.
        iterations: Number of batches of 256 windows.
        device: Where to train.
        seed: Of weights, order and mirroring.
    """
    read = models.read_config(config)
    from mmengine.registry import init_default_scope
    from mmpose.models import build_pose_estimator

    from extract.fit.runner import train

    torch.manual_seed(seed)
    init_default_scope("mmpose")
    model = build_pose_estimator(read.model).to(device)
    window = int(np.prod(read.model.backbone.kernel_sizes))
    batches = WindowBatches(Lifts.of(sets, window), window, iterations, seed)
    train("fit 3D", model, batches, BATCH, LEARNING_RATE, WEIGHT_DECAY, device, seed)
    return {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
