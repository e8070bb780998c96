"""Find 2D joints in batches of person crops with any top-down model of MMPose."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from extract.engine import models
from extract.pose2d.decode import decoder_for
from pipeline.skeleton import COCO17


class Estimator:
    """A 2D pose model that takes many frames at once.

    The network sees what MMPose's own `inference_topdown` would show it: the whole frame as the
    person's box, widened by the config's padding, warped to the input size.
    """

    def __init__(
        self,
        config: Path,
        checkpoint: Path | None,
        device: str = "cpu",
        flip_test: bool = False,
        compiled: bool = False,
    ) -> None:
        """Build the model.

        Args:
            config: An MMPose config.
            checkpoint: Its weights; None leaves random ones.
            device: Where to run.
            flip_test: Average with the mirrored frame.
            compiled: Run `torch.compile`.
        """
        read = models.read_config(config)
        self.device, self.flip_test, self.precision = device, flip_test, "float32"
        self._geometry = _Geometry(read)
        model: Any = models.build(read, checkpoint, "cpu")
        self._mean = model.data_preprocessor.mean.to(device)
        self._std = model.data_preprocessor.std.to(device)
        # Frames are decoded as RGB; a model that wants BGR gets its channels turned round.
        self._reversed = not model.data_preprocessor._channel_conversion
        self._decode = decoder_for(model.head)
        self._test_cfg = dict(model.test_cfg)
        width, height = self.input_size
        # On the CPU, in whole float32: what a GPU rounds away is more than the tolerance.
        model = models.fuse_if_equal(model, torch.randn(2, 3, height, width), _forward)
        self._model = model.to(device, memory_format=torch.channels_last)
        self._forward = torch.compile(_forward) if compiled else _forward
        self._buffer = torch.empty(0)
        # Frames that a pass has room for, once one had none; 0: not met yet.
        self._room = 0

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the network's input."""
        return self._geometry.size

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Warp a frame `(H, W, 3)` to the network's input, both uint8 RGB."""
        height, width = image.shape[:2]
        return cv2.warpAffine(
            image, self._geometry.matrix(width, height), self.input_size, flags=cv2.INTER_LINEAR
        )

    def __call__(self, crops: list[np.ndarray], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the joints of a batch.

        Args:
            crops: What `crop` returned for each of `B` frames.
            sizes: Widths and heights of these frames, `(B, 2)`.

        Returns:
            `xy_px` `(B, 17, 2)` in pixels of the frames and `score` `(B, 17)` in [0, 1]. The
            networks give the height of a response that was trained towards a peak of 1, so it is
            clipped, not rescaled.
        """
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        start = 0
        while start < len(crops):
            stop = start + min(self._room or len(crops), len(crops))
            found = self._find(crops[start:stop], sizes[start:stop])
            if found:
                parts.append(found)
                start = stop
        xy_px, score = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        return xy_px, score

    def _find(
        self, crops: list[np.ndarray], sizes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Find the joints of a batch; None, and smaller batches from now on, if it does not fit."""
        batch = self._batch(crops)
        try:
            xy, score = self._run(batch)
        except RuntimeError as error:
            if not models.is_out_of_memory(error) or len(batch) == 1:
                raise
            # Tried again by the caller: what failed is alive as long as its error is.
            self._room = len(batch) // 2
        else:
            xy_px = self._geometry.to_frame(xy[: len(crops)].cpu().numpy(), sizes)
            return xy_px, score[: len(crops)].clamp(0, 1).cpu().numpy()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _batch(self, crops: list[np.ndarray]) -> Tensor:
        """Copy crops into a buffer that is kept; its length is a power of two.

        A network meets few different batch sizes that way: each new one costs a CPU a fraction of
        a second of preparation. What lies behind the crops is run and thrown away.
        """
        width, height = self.input_size
        length = 1 << (len(crops) - 1).bit_length()
        if len(self._buffer) < length:
            pinned = self.device.startswith("cuda")
            self._buffer = torch.zeros(
                length, height, width, 3, dtype=torch.uint8, pin_memory=pinned
            )
        view = self._buffer.numpy()
        for i, crop in enumerate(crops):
            view[i] = crop
        return self._buffer[:length]

    @torch.inference_mode()
    def _run(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network on uint8 crops `(B, H, W, 3)` and decode its output."""
        # Height, width, channels in memory is what torch calls channels_last: no copy is made.
        images = batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        images = images.flip(1) if self._reversed else images
        images = images.float().sub_(self._mean).div_(self._std)
        with models.autocast(self.device, self.precision):
            output = self._forward(self._model, images)
            if self.flip_test:
                output = self._merge(output, self._forward(self._model, images.flip(-1)))
        return self._decode(output)

    def _merge(self, output: Any, mirrored: Any) -> Any:
        """Average the output for frames with that for their mirror images."""
        from mmpose.models.utils.tta import flip_heatmaps, flip_vectors

        merge: Any = getattr(self._model.head, "merge", None)
        if merge:
            return merge(output, mirrored)
        pairs = list(COCO17.flip)
        if isinstance(output, tuple):
            mirrored = flip_vectors(*mirrored, flip_indices=pairs)
            return tuple((a + b) * 0.5 for a, b in zip(output, mirrored, strict=True))
        mirrored = flip_heatmaps(
            mirrored,
            flip_indices=pairs,
            flip_mode=self._test_cfg.get("flip_mode", "heatmap"),
            shift_heatmap=self._test_cfg.get("shift_heatmap", False),
        )
        return (output + mirrored) * 0.5


def _forward(model: nn.Module, images: Tensor) -> Any:
    return model.head(model.extract_feat(images))


class _Geometry:
    """How a frame becomes the network's input, read from the config's test pipeline."""

    def __init__(self, config: Any) -> None:
        steps = {step["type"]: step for step in _test_pipeline(config)}
        affine = steps["TopdownAffine"]
        self.size: tuple[int, int] = tuple(affine["input_size"])
        self._use_udp = affine.get("use_udp", False)
        self._padding = steps["GetBBoxCenterScale"].get("padding", 1.25)
        self.matrix = lru_cache(maxsize=4096)(self._matrix)

    def _box(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return centre and extent `(B, 2)` of the part of each frame that the network sees."""
        sizes = np.asarray(sizes, dtype=np.float32)
        centre, extent = sizes * 0.5, sizes * self._padding
        aspect = self.size[0] / self.size[1]
        wide = extent[:, :1] > extent[:, 1:] * aspect
        by_width = np.hstack([extent[:, :1], extent[:, :1] / aspect])
        by_height = np.hstack([extent[:, 1:] * aspect, extent[:, 1:]])
        return centre, np.where(wide, by_width, by_height)

    def _matrix(self, width: int, height: int) -> np.ndarray:
        from mmpose.structures.bbox import get_udp_warp_matrix, get_warp_matrix

        centre, extent = self._box(np.array([[width, height]]))
        warp = get_udp_warp_matrix if self._use_udp else get_warp_matrix
        return warp(centre[0], extent[0], 0.0, output_size=self.size)

    def to_frame(self, xy: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Map joints `(B, J, 2)` from the network's input to pixels of the frames."""
        centre, extent = self._box(sizes)
        xy = xy / np.asarray(self.size, dtype=np.float32) * extent[:, None]
        return (xy + (centre - 0.5 * extent)[:, None]).astype(np.float32)


def _test_pipeline(config: Any) -> list[Any]:
    if "test_dataloader" in config:
        return config.test_dataloader.dataset.pipeline
    return config.val_pipeline
