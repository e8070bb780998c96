"""Lift 2D joints of whole tracklets to 3D with MMPose's lifters."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extract.engine import models
from extract.engine.spec import LifterInput
from pipeline.errors import PipelineError
from pipeline.skeleton import H36M17, flip_xyz

WINDOWS_PER_BATCH = 8

# MotionBERT predicts in pixels of the image, MMPose's decoder multiplies by this and takes the
# result for millimetres.
MOTIONBERT_FACTOR = 4.0


class Lifter:
    """A 3D pose model that takes whole tracklets.

    Every frame sees its neighbours in time, as in training; at the ends the first or the last pose
    is repeated (convolutions) or the window is shorter (transformers).
    """

    def __init__(
        self,
        config: Path,
        checkpoint: Path | None,
        place: LifterInput,
        device: str = "cpu",
        flip_test: bool = False,
    ) -> None:
        """Build the model.

        Args:
            config: An MMPose config of a PoseLifter.
            checkpoint: Its weights; None leaves random ones.
            place: The image that its input poses lie in.
            device: Where to run.
            flip_test: Average with the mirrored pose.

        Raises:
            PipelineError: If it is no lifter of a kind known here.
        """
        read = models.read_config(config)
        backbone = read.model.get("backbone", {})
        if backbone.get("type") == "TCN":
            # Strides make one output per window; without them the same weights run over all frames.
            backbone.use_stride_conv = False
        self.place, self.device, self.flip_test = place, device, flip_test
        self._model = models.build(read, checkpoint, device)
        self._codec = self._model.head.decoder
        self._run = self._runner(type(self._model.backbone).__name__, config)

    def _runner(self, backbone: str, config: Path) -> Callable[[list[Tensor]], list[Tensor]]:
        if backbone == "TCN":
            return self._convolve
        if backbone == "DSTFormer":
            self._window = self._model.backbone.temp_embed.shape[1]
            return self._attend
        raise PipelineError(f"{config}: a lifter with backbone {backbone} is not known here")

    @torch.inference_mode()
    def __call__(self, poses: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Lift the poses of several runs of frames.

        Args:
            poses: For each run H36M-17 joints `(T, 17, 2)` in pixels of the image that `place`
                describes, and scores `(T, 17)`.

        Returns:
            For each run `xyz` `(T, 17, 3)` float32: pelvis at the origin, camera axes.
        """
        lifted = self._lift([xy for xy, _ in poses], [score for _, score in poses])
        if self.flip_test:
            flip = list(H36M17.flip)
            width = self.place.image_size[0]
            mirrored = [xy[:, flip] * [-1, 1] + [width, 0] for xy, _ in poses]
            again = self._lift(mirrored, [score[:, flip] for _, score in poses])
            lifted = [(a + flip_xyz(b)) / 2 for a, b in zip(lifted, again, strict=True)]
        return [xyz - xyz[:, H36M17.root : H36M17.root + 1] for xyz in lifted]

    def _lift(self, xy: list[np.ndarray], score: list[np.ndarray]) -> list[np.ndarray]:
        inputs = [self._encode(*pose) for pose in zip(xy, score, strict=True)]
        tensors = [torch.as_tensor(x, dtype=torch.float32, device=self.device) for x in inputs]
        return [self._decode(out.float().cpu().numpy()) for out in self._run(tensors)]

    def _encode(self, xy: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Return the network's input `(T, 17, C)`, made as the codec of its config makes it."""
        codec = self._codec
        width, height = self.place.image_size
        if type(codec).__name__ == "ImagePoseLifting":
            encoded = (xy - codec.keypoints_mean) / codec.keypoints_std
        else:
            encoded = (xy - np.array([width / 2, height / 2])) / (width / 2)
        if codec.concat_vis:
            encoded = np.concatenate([encoded, score[..., None]], axis=-1)
        return encoded

    def _decode(self, out: np.ndarray) -> np.ndarray:
        """Return metres `(T, 17, 3)` from the network's output."""
        codec = self._codec
        kind = type(codec).__name__
        if kind == "MotionBERTLabel":
            metres = out * (self.place.image_size[0] / 2 * MOTIONBERT_FACTOR / 1000)
            if codec.rootrel:
                metres[:, codec.root_index] = 0
            return metres
        if kind == "ImagePoseLifting":
            out = out * codec.target_std + codec.target_mean
        if codec.remove_root:
            out = np.insert(out, codec.root_index, 0.0, axis=1)
        return out.astype(np.float32)

    def _convolve(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run a temporal convolutional network over all runs laid end to end.

        Each run carries its own margin of repeated poses, as wide as the network looks, so no
        output sees another run.
        """
        margin = (int(np.prod(self._model.backbone.kernel_sizes)) - 1) // 2
        padded = [
            torch.cat([x[:1].expand(margin, -1, -1), x, x[-1:].expand(margin, -1, -1)])
            for x in inputs
        ]
        line = torch.cat(padded).flatten(1).T[None]
        out = self._model.head.conv(self._model.backbone(line)[-1])[0].T
        out = out.reshape(len(out), -1, 3)
        starts = np.cumsum([0, *(len(x) for x in padded)])
        return [out[a : a + len(x)] for a, x in zip(starts, inputs, strict=False)]

    def _attend(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run a transformer over windows, and blend where windows overlap."""
        sums = [torch.zeros(len(x), len(H36M17.joints), 3, device=self.device) for x in inputs]
        weights = [torch.zeros(len(x), 1, 1, device=self.device) for x in inputs]
        by_length = defaultdict(list)
        for run, x in enumerate(inputs):
            for start in window_starts(len(x), self._window):
                by_length[min(len(x), self._window)].append((run, start))
        for length, places in by_length.items():
            ramp = _ramp(length).to(self.device)[:, None, None]
            for i in range(0, len(places), WINDOWS_PER_BATCH):
                part = places[i : i + WINDOWS_PER_BATCH]
                batch = torch.stack([inputs[run][at : at + length] for run, at in part])
                for (run, at), out in zip(part, self._forward(batch), strict=True):
                    sums[run][at : at + length] += out * ramp
                    weights[run][at : at + length] += ramp
        return [total / weight for total, weight in zip(sums, weights, strict=True)]

    def _forward(self, batch: Tensor) -> Any:
        return self._model.head(self._model.extract_feat(batch))


def window_starts(frames: int, window: int) -> list[int]:
    """Return where windows start that cover all frames; neighbours share a third or more.

    >>> window_starts(100, 243), window_starts(500, 243)
    ([0], [0, 128, 257])
    """
    if frames <= window:
        return [0]
    count = -(-(frames - window) // (window * 2 // 3)) + 1
    return [round(i * (frames - window) / (count - 1)) for i in range(count)]


def _ramp(length: int) -> Tensor:
    """Return weights that rise from the edges of a window towards its middle, `(length,)`."""
    place = torch.arange(length)
    return torch.minimum(place + 1, length - place).float()
