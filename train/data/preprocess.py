"""What happens to a batch on the way into a model."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor

from train.registry import MODELS


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device and normalise its frames there: bytes travel, not floats.

    >>> from train.data.preprocess import ClipPreprocessor
    >>> prepare = ClipPreprocessor(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    >>> white = torch.full((1, 1, 3, 2, 2), 255, dtype=torch.uint8)
    >>> prepare({"inputs": {"frames": white}})["inputs"]["frames"].unique().item()
    1.0
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], non_blocking: bool = True
    ) -> None:
        """Take the mean and deviation of each channel, of frames in [0, 1]."""
        super().__init__(non_blocking)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the batch on the device."""
        data = self.cast_data(data)
        frames = data["inputs"].get("frames")
        if frames is None:
            return data
        if frames.dtype == torch.uint8:
            frames = frames.float() / 255
        frames = (frames - self.mean) / self.std
        return {**data, "inputs": {**data["inputs"], "frames": frames}}
