"""From a head's output to joints, for a whole batch at once.

The codecs are those of MMPose's top-down models: SimCC (RTMPose), MSRA heatmaps with a shift of a
quarter pixel or DARK refinement (HRNet, ResNet), UDP heatmaps with DARK refinement (ViTPose).
MoveNet's lies beside its network. Results equal those of MMPose's own decoders, which go through
frames and joints one at a time.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import PipelineError

Decoder = Callable[[Any], tuple[Tensor, Tensor]]


def decoder_for(head: Any) -> Decoder:
    """Choose the decoder of an MMPose head.

    Args:
        head: The head, with the codec of its config as `decoder`.

    Returns:
        A function from the head's raw output for `B` frames to joints `(B, J, 2)` in pixels of the
        network's input and scores `(B, J)` as the network gives them, both float32.

    Raises:
        PipelineError: If the head gives neither SimCC vectors nor heatmaps.
    """
    codec = head.decoder
    kind = type(codec).__name__
    if kind == "SimCCLabel" and not codec.use_dark:
        return lambda output: simcc(*output, split=codec.simcc_split_ratio)
    if kind == "MSRAHeatmap":
        scale = torch.as_tensor(codec.scale_factor)
        blur = codec.blur_kernel_size if codec.unbiased else None
        return lambda output: msra(output, scale.to(output.device), blur)
    if kind == "UDPHeatmap" and codec.heatmap_type == "gaussian":
        return lambda output: udp(output, codec.input_size, codec.blur_kernel_size)
    if kind == "OffsetHeatmap":
        return codec.decode_frames
    if kind in ("SimCCLabel", "UDPHeatmap"):
        return lambda output: _one_by_one(head, output)
    raise PipelineError(
        f"the model's codec {kind} is not known here. Choose one with SimCCLabel, MSRAHeatmap or "
        "UDPHeatmap"
    )


def _one_by_one(head: Any, output: Any) -> tuple[Tensor, Tensor]:
    """Decode with MMPose's own code: slow, but right for the rarer kinds of these codecs."""
    found = head.decode(output)
    xy = np.concatenate([instance.keypoints[..., :2] for instance in found])
    score = np.concatenate([instance.keypoint_scores for instance in found])
    return torch.as_tensor(xy, dtype=torch.float32), torch.as_tensor(score, dtype=torch.float32)


def simcc(x: Tensor, y: Tensor, split: float) -> tuple[Tensor, Tensor]:
    """Decode a distribution along x `(B, J, Wx)` and one along y `(B, J, Wy)`.

    Args:
        x: Responses along x.
        y: Responses along y.
        split: Bins per pixel of the input.

    Returns:
        Joints and the lower of the two peaks; a joint without a positive peak lies at bin -1.
    """
    x_peak, x_bin = x.float().max(dim=-1)
    y_peak, y_bin = y.float().max(dim=-1)
    score = torch.minimum(x_peak, y_peak)
    bins = torch.stack([x_bin, y_bin], dim=-1).float()
    return torch.where(score[..., None] > 0, bins, -1.0) / split, score


def msra(heatmaps: Tensor, scale: Tensor, blur: int | None) -> tuple[Tensor, Tensor]:
    """Decode Gaussian heatmaps `(B, J, H, W)`, a quarter pixel towards the higher neighbour.

    Args:
        heatmaps: The head's output.
        scale: Pixels of the input per pixel of the heatmap, `(2,)`.
        blur: Kernel size of DARK (Zhang et al., CVPR 2020), which replaces the quarter pixel.
    """
    heatmaps = heatmaps.float()
    at, score = _peaks(heatmaps)
    if blur is None:
        at = at + _quarter_pixel(heatmaps, at)
    else:
        log = _blurred(heatmaps, blur).clamp(min=1e-10).log()
        at = at + _dark_offset(log, at)
    return at * scale, score


def udp(heatmaps: Tensor, input_size: tuple[int, int], blur: int) -> tuple[Tensor, Tensor]:
    """Decode unbiased heatmaps `(B, J, H, W)` (Huang et al., CVPR 2020) with DARK refinement."""
    heatmaps = heatmaps.float()
    at, score = _peaks(heatmaps)
    log = _blurred(heatmaps, blur).clamp(1e-3, 50.0).log()
    padded = F.pad(log, (1, 1, 1, 1), mode="replicate")
    at = at - _udp_offset(padded, at)
    height, width = heatmaps.shape[-2:]
    size = torch.tensor(input_size, device=at.device, dtype=torch.float64)
    cells = torch.tensor([width - 1, height - 1], device=at.device, dtype=torch.float64)
    return (at / cells * size).float(), score


def _peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place `(B, J, 2)` and height `(B, J)` of each peak; -1 where none is positive."""
    width = heatmaps.shape[-1]
    score, flat = heatmaps.flatten(2).max(dim=-1)
    at = torch.stack([flat % width, flat // width], dim=-1).float()
    return torch.where(score[..., None] > 0, at, -1.0), score


def _neighbours(
    maps: Tensor, at: Tensor, margin: int
) -> tuple[Callable[[int, int], Tensor], Tensor]:
    """Return a function from an offset `(dx, dy)` to the values there, and where it is defined.

    Args:
        maps: `(B, J, H, W)`.
        at: Integer places as floats, `(B, J, 2)`.
        margin: How far the offsets reach; a place nearer to the edge is not defined.
    """
    height, width = maps.shape[-2:]
    x, y = at[..., 0].long(), at[..., 1].long()
    inside = (x >= margin) & (x < width - margin) & (y >= margin) & (y < height - margin)
    base = torch.where(inside, y * width + x, margin * width + margin)
    flat = maps.flatten(2)

    def value(dx: int, dy: int) -> Tensor:
        return flat.gather(-1, (base + dy * width + dx)[..., None])[..., 0]

    return value, inside


def _quarter_pixel(heatmaps: Tensor, at: Tensor) -> Tensor:
    """Return a quarter of a pixel towards the higher neighbour, `(B, J, 2)`.

    MMPose does not shift a peak in the first two or the last column (row) along that axis.
    """
    height, width = heatmaps.shape[-2:]
    padded = F.pad(heatmaps, (1, 1, 1, 1))
    value, _ = _neighbours(padded, at + 1, margin=1)
    x, y = at[..., 0], at[..., 1]
    dx = torch.where((x > 1) & (x < width - 1) & (y > 0), value(1, 0) - value(-1, 0), 0.0)
    dy = torch.where((y > 1) & (y < height - 1) & (x > 0), value(0, 1) - value(0, -1), 0.0)
    return torch.stack([dx, dy], dim=-1).sign() * 0.25


def _blurred(heatmaps: Tensor, kernel_size: int) -> Tensor:
    """Blur each heatmap as OpenCV does, then restore the height of its peak."""
    kernel = torch.from_numpy(cv2.getGaussianKernel(kernel_size, 0, cv2.CV_32F)).to(heatmaps)
    pad = kernel_size // 2
    flat = heatmaps.flatten(0, 1)[:, None]
    flat = F.conv2d(flat, kernel.view(1, 1, 1, -1), padding=(0, pad))
    flat = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(pad, 0))
    blurred = flat[:, 0].view_as(heatmaps)
    return blurred * (heatmaps.amax((-2, -1), True) / blurred.amax((-2, -1), True))


def _dark_offset(log: Tensor, at: Tensor) -> Tensor:
    """Return Newton's step to the peak of log-heatmaps, with differences two pixels wide."""
    value, inside = _neighbours(log, at, margin=2)
    dx = 0.5 * (value(1, 0) - value(-1, 0))
    dy = 0.5 * (value(0, 1) - value(0, -1))
    dxx = 0.25 * (value(2, 0) - 2 * value(0, 0) + value(-2, 0))
    dyy = 0.25 * (value(0, 2) - 2 * value(0, 0) + value(0, -2))
    dxy = 0.25 * (value(1, 1) - value(1, -1) - value(-1, 1) + value(-1, -1))
    step, solvable = _solve(dxx, dxy, dyy, dx, dy)
    return torch.where((inside & solvable)[..., None], -step, 0.0)


def _udp_offset(padded: Tensor, at: Tensor) -> Tensor:
    """Return Newton's step in log-heatmaps that carry a margin of one pixel."""
    value, inside = _neighbours(padded, at + 1, margin=1)
    here = value(0, 0)
    dx, dy = 0.5 * (value(1, 0) - value(-1, 0)), 0.5 * (value(0, 1) - value(0, -1))
    dxx = value(1, 0) - 2 * here + value(-1, 0)
    dyy = value(0, 1) - 2 * here + value(0, -1)
    dxy = 0.5 * (
        value(1, 1) - value(1, 0) - value(0, 1) + 2 * here - value(-1, 0) - value(0, -1)
        + value(-1, -1)
    )  # fmt: skip
    eps = torch.finfo(torch.float32).eps
    step, _ = _solve(dxx.double() + eps, dxy.double(), dyy.double() + eps, dx, dy)
    return torch.where(inside[..., None], step, 0.0)


def _solve(dxx: Tensor, dxy: Tensor, dyy: Tensor, dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Solve the 2x2 systems `[[dxx, dxy], [dxy, dyy]] step = [dx, dy]` where they are regular."""
    dxx, dxy, dyy, dx, dy = (part.double() for part in (dxx, dxy, dyy, dx, dy))
    determinant = dxx * dyy - dxy * dxy
    safe = torch.where(determinant == 0, 1.0, determinant)
    step = torch.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], dim=-1) / safe[..., None]
    return step, determinant != 0
