"""Changes of a clip in training: frames and skeleton move together, and so do all its frames.

A clip is a dict with `frames` `(T, 3, H, W)` uint8 (left out for models of skeletons alone), `xyz`
`(T, J, 3)`, `mask` `(T,)` where the skeleton is good and `frame_mask` `(T,)`. Every
transform takes the clip and the generator that makes its choices, so that a clip is a function of
its key (see `train.sampler.Draw`) and of nothing else.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from pipeline.errors import PipelineError, did_you_mean
from pipeline.registry import TRANSFORMS
from pipeline.skeleton import layout

Clip = dict[str, Tensor]
Transform = Callable[[Clip, np.random.Generator], Clip]


def build(transforms: Sequence[dict[str, Any]]) -> list[Transform]:
    """Build the transforms of a configuration, in order."""
    return [TRANSFORMS.build(dict(transform)) for transform in transforms]


@TRANSFORMS.register_module()
class ClipFlip:
    """Mirror frames and skeleton, both or neither.

    Args:
        prob: How often.
        joints: Name of the joint layout: left becomes right in the skeleton too.

    >>> clip = {"frames": torch.arange(6.0).reshape(1, 1, 2, 3), "xyz": torch.ones(1, 17, 3)}
    >>> flipped = ClipFlip(prob=1.0)(clip, np.random.default_rng(0))
    >>> flipped["frames"][0, 0, 0].tolist(), flipped["xyz"][0, 0].tolist()
    ([2.0, 1.0, 0.0], [-1.0, 1.0, 1.0])
    """

    def __init__(self, prob: float, joints: str = "h36m17") -> None:
        """Look up which joints change sides."""
        self.prob = prob
        self._swap = torch.tensor(layout(joints).flip)
        self._sign = torch.tensor([-1.0, 1.0, 1.0])

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip or its mirror image."""
        if rng.random() >= self.prob:
            return clip
        flipped = {"xyz": clip["xyz"][..., self._swap, :] * self._sign}
        if "frames" in clip:
            flipped["frames"] = _mirrored(clip["frames"])
        return clip | flipped


def _mirrored(frames: Tensor) -> Tensor:
    """Mirror frames that lie in memory as they were decoded, several times faster than torch."""
    images = frames.permute(0, 2, 3, 1).numpy()
    mirrored = np.empty(images.shape, images.dtype)
    for image, into in zip(images, mirrored, strict=True):
        cv2.flip(image, 1, into)
    return torch.from_numpy(mirrored).permute(0, 3, 1, 2)


@TRANSFORMS.register_module()
class FrameTransform:
    """Apply a transform of `torchvision.transforms.v2` to the frames, one draw for the whole clip.

    Only for changes that leave the skeleton alone: crops (it is centred on the pelvis), colours.

    Args:
        name: Class in `torchvision.transforms.v2`.
        **kwargs: Its arguments.

    Raises:
        PipelineError: If torchvision has no transform of that name.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        """Build the wrapped transform."""
        known = [one for one in dir(v2) if one[0].isupper()]
        if name not in known:
            raise PipelineError(
                f"torchvision.transforms.v2 has no {name!r}. {did_you_mean(name, known)}"
            )
        self._transform = getattr(v2, name)(**kwargs)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip with changed frames."""
        if "frames" not in clip:
            return clip
        # torchvision draws from torch's global generator: seed it here, and put it back after.
        # torch.manual_seed would also seed GPUs, which costs more than most transforms.
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        try:
            return clip | {"frames": self._transform(clip["frames"])}
        finally:
            torch.set_rng_state(state)


@TRANSFORMS.register_module()
class ClipErase(FrameTransform):
    """Paint over one box of all frames, in place (random erasing: Zhong et al., AAAI 2020).

    Args:
        prob: How often.
        value: The paint, RGB from 0 to 255.

    >>> clip = {"frames": torch.zeros(2, 3, 8, 4, dtype=torch.uint8)}
    >>> erased = ClipErase(prob=1.0, value=(9, 9, 9))(clip, np.random.default_rng(0))
    >>> sorted(erased["frames"].unique().tolist())
    [0, 9]
    """

    def __init__(self, prob: float, value: Sequence[int]) -> None:
        """Prepare torchvision's transform, which draws the box."""
        self._transform = _Erasing(p=prob, value=tuple(value))


class _Erasing(v2.RandomErasing):
    """Paints row by row in memory: torchvision's own painting takes a third of decoding a clip."""

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Paint the box that was drawn; `v` is None when none fits."""
        if params["v"] is not None:
            top, left, height, width = (params[name] for name in "ijhw")
            images = inpt.permute(0, 2, 3, 1).numpy()
            row = np.tile(np.array(self.value, images.dtype), (width, 1))
            images[:, top : top + height, left : left + width] = row
        return inpt


@TRANSFORMS.register_module()
class FrameShuffle:
    """Put the frames of a clip into random order, with their skeletons: it destroys the motion."""

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the shuffled clip."""
        order = torch.from_numpy(rng.permutation(len(clip["mask"])))
        return {name: value[order] for name, value in clip.items()}
