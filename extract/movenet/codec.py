"""From MoveNet's maps to joints: the highest cell, and where in it."""

from typing import Any

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

Maps = tuple[Tensor, Tensor, Tensor]


@KEYPOINT_CODECS.register_module()
class OffsetHeatmap(BaseKeypointCodec):
    """Heatmaps with an offset for each cell, which says how far from its corner the joint is."""

    def __init__(self, input_size: tuple[int, int], heatmap_size: tuple[int, int]) -> None:
        """Note the width and height of the network's input in pixels, and of its maps in cells."""
        self.scale = np.array(input_size, np.float32) / np.array(heatmap_size, np.float32)

    def encode(self, keypoints: np.ndarray, keypoints_visible: Any = None) -> dict:
        """Refuse: how MoveNet was trained was not published."""
        raise NotImplementedError("MoveNet is used as it was published; it is not trained here")

    def decode(self, encoded: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode a batch of one frame, as MMPose asks for it: `(1, J, 2)` and `(1, J)`."""
        near, seen, place = map(torch.from_numpy, (encoded, *others))
        xy, score = self.decode_frames((near, seen, place))
        return xy.numpy(), score.numpy()

    def decode_frames(self, maps: Maps) -> tuple[Tensor, Tensor]:
        """Decode a batch.

        Args:
            maps: What `MoveNetHead` gives.

        Returns:
            Joints `(B, J, 2)` in pixels of the input, and how sure the network is of each `(B, J)`.
        """
        near, seen, place = maps
        cell = near.flatten(2).argmax(-1, keepdim=True)
        score = seen.flatten(2).gather(-1, cell)[..., 0]
        at = place.flatten(3).gather(-1, cell[:, :, None].expand(-1, -1, 2, -1))[..., 0]
        return at * torch.as_tensor(self.scale, device=at.device), score
