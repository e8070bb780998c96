"""Fit the small 2D estimator to rendered people."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from extract.engine import models
from extract.fit.people import Clips, shuffled
from pipeline.skeleton import COCO17

BATCH = 32
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-2
# Feet and hands move most and are seen least: without extra weight both ankles' heatmaps settle on
# the same foot.
_WEIGHTS = {"ankle": 4.0, "knee": 2.0, "wrist": 2.0}
_SCALE, _SHIFT, _TURN_RAD = 0.12, 0.04, 0.12


class CropBatches(IterableDataset):
    """Batches of augmented crops with heatmap targets.

    A whole batch is made at once: MMPose's own pipeline takes 2 ms per crop, as long as the
    training step itself.
    """

    def __init__(
        self,
        clips: Clips,
        matrix: np.ndarray,
        codec: dict,
        batches: int,
        seed: int,
        shrink: int = 1,
    ) -> None:
        """Prepare batches.

        Args:
            clips: The frames to draw from, all of them once before any twice.
            matrix: Affine map `(2, 3)` from the frame to the network's input.
            codec: Config of the MSRAHeatmap codec (unbiased).
            batches: Number of batches to yield.
            seed: Of order and augmentation.
            shrink: How many times smaller inputs and heatmaps are than the codec says.
        """
        self._crops, self._batches, self._seed = clips.crops, batches, seed
        self._xy = clips.xy_px @ matrix[:, :2].T + matrix[:, 2]
        factor = [
            next((w for part, w in _WEIGHTS.items() if part in name), 1.0) for name in COCO17.joints
        ]
        self._joint_weight = np.array(factor, np.float32)
        self._codec, self._shrink = codec, shrink

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._batches

    def __iter__(self) -> Iterator[dict]:
        """Yield batches as MMPose's data preprocessor takes them."""
        rng = np.random.default_rng(self._seed)
        for picks in shuffled(len(self._crops), BATCH, self._batches, rng):
            yield self._make(picks, rng)

    def _make(self, picks: np.ndarray, rng: np.random.Generator) -> dict:
        full = self._codec["input_size"]
        size, cells = (
            tuple(side // self._shrink for side in self._codec[name])
            for name in ("input_size", "heatmap_size")
        )
        images = np.empty((len(picks), size[1], size[0], 3), np.uint8)
        xy = np.empty((len(picks), 17, 2))
        for i, pick in enumerate(picks):
            is_mirrored = rng.random() < 0.5
            change = _random_affine(full, is_mirrored, rng) / self._shrink
            border = cv2.BORDER_REPLICATE
            images[i] = cv2.warpAffine(self._crops[pick], change, size, borderMode=border)
            joints = self._xy[pick][list(COCO17.flip)] if is_mirrored else self._xy[pick]
            xy[i] = joints @ change[:, :2].T + change[:, 2]
        gain, cast = rng.uniform(0.8, 1.2, (len(picks), 1)), rng.uniform(0.8, 1.2, (len(picks), 3))
        light = torch.from_numpy((gain * cast).astype(np.float32))[..., None, None]
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        inputs = inputs.mul_(light).clamp_(0, 255)
        inside = ((xy > -0.5) & (xy < np.array(size) - 0.5)).all(-1)
        weight = torch.from_numpy(inside * self._joint_weight)
        heatmaps = gaussians(
            torch.from_numpy(xy).float(), dict(self._codec, input_size=size, heatmap_size=cells)
        )
        return {"inputs": inputs, "data_samples": _samples(heatmaps, weight)}


def _random_affine(size: tuple[int, int], is_mirrored: bool, rng) -> np.ndarray:
    """Return a map `(2, 3)` that turns, scales, shifts and perhaps mirrors the input."""
    scale, turn = 1 + rng.uniform(-_SCALE, _SCALE), rng.uniform(-_TURN_RAD, _TURN_RAD)
    shift = rng.uniform(-_SHIFT, _SHIFT, 2) * size[1]
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if is_mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    centre = (np.array(size) - 1) / 2
    return np.column_stack([linear, centre + shift - linear @ centre])


def gaussians(xy: Tensor, codec: dict) -> Tensor:
    """Return the heatmaps that MMPose's unbiased MSRA codec makes, for a whole batch.

    Args:
        xy: Joints in pixels of the input, `(B, J, 2)`.
        codec: Its config.

    Returns:
        `(B, J, H, W)`.
    """
    width, height = codec["heatmap_size"]
    at = xy / (torch.tensor(codec["input_size"]) / torch.tensor([width, height]))
    along_x = torch.arange(width) - at[..., :1]
    along_y = torch.arange(height) - at[..., 1:]
    spread = 2 * codec["sigma"] ** 2
    return torch.exp(-(along_y**2)[..., :, None] / spread) * torch.exp(
        -(along_x**2)[..., None, :] / spread
    )


def _samples(heatmaps: Tensor, weight: Tensor) -> list:
    from mmengine.structures import InstanceData, PixelData
    from mmpose.structures import PoseDataSample

    samples = []
    for one, joint_weight in zip(heatmaps, weight, strict=True):
        sample = PoseDataSample()
        sample.gt_fields = PixelData(heatmaps=one)
        sample.gt_instance_labels = InstanceData(keypoint_weights=joint_weight[None])
        samples.append(sample)
    return samples


def fit_estimator(
    config: Path,
    clips: Clips,
    matrix: np.ndarray,
    iterations: dict[int, int],
    device: str,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Train the estimator of a config from scratch and return its weights.

    Args:
        config: Its MMPose config.
        clips: Rendered frames.
        matrix: Affine map from the frame to the input.
        iterations: Number of batches of 32 at each size, as the number of times it is smaller: one
            after the other. What is learnt on small frames costs a fraction, and stays.
        device: Where to train.
        seed: Of weights, order and augmentation.
    """
    read = models.read_config(config)
    from mmengine.registry import init_default_scope
    from mmpose.models import build_pose_estimator

    from extract.fit.runner import train

    torch.manual_seed(seed)
    init_default_scope("mmpose")
    model = build_pose_estimator(read.model)
    model = model.to(device, memory_format=torch.channels_last)
    for shrink, number in iterations.items():
        batches = CropBatches(clips, matrix, read.codec, number, seed + shrink, shrink)
        name = f"fit 2D at 1/{shrink}"
        train(name, model, batches, BATCH, LEARNING_RATE, WEIGHT_DECAY, device, seed)
    return {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
