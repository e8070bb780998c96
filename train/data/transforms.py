"""Changes of a clip in training: frames and skeleton move together, and so do all its frames.

A clip is a dict with `frames` `(T, 3, H, W)` uint8 (left out for models of skeletons alone), `xyz`
`(T, J, 3)`, `mask` `(T,)` where the skeleton is good and `frame_mask` `(T,)`. Every
transform takes the clip and the generator that makes its choices, so that a clip is a function of
its key (see `train.data.sampler.Draw`) and of nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from pipeline.errors import PipelineError, did_you_mean
from pipeline.skeleton import layout
from train.registry import TRANSFORMS

Clip = dict[str, Tensor]
Transform = Callable[[Clip, np.random.Generator], Clip]


def build(transforms: Sequence[dict[str, Any]]) -> list[Transform]:
    """Build the transforms of a configuration, in order."""
    return [TRANSFORMS.build(dict(transform)) for transform in transforms]


@TRANSFORMS.register_module()
class ClipFlip:
    """Mirror frames and skeleton, both or neither; frames in place.

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
            _mirror(clip["frames"])
        return clip | flipped


def _mirror(frames: Tensor) -> None:
    """Mirror frames in place, one by one as they lie in memory: much faster than torch."""
    for image in frames.permute(0, 2, 3, 1).numpy():
        image[:] = cv2.flip(image, 1).reshape(image.shape)


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
        with _seeded(rng):
            return clip | {"frames": self._transform(clip["frames"])}


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global generator, from which torchvision draws, and put it back after."""
    state = torch.get_rng_state()
    # torch.manual_seed would also seed GPUs, which costs more than most transforms.
    torch.default_generator.manual_seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        torch.set_rng_state(state)


@TRANSFORMS.register_module()
class ClipErase:
    """Paint over one box of all frames, in place (random erasing: Zhong et al., AAAI 2020).

    torchvision draws the box; its way of painting takes a third as long as decoding the clip.

    Args:
        prob: How often.
        value: The paint, RGB from 0 to 255.

    >>> clip = {"frames": torch.zeros(2, 3, 8, 4, dtype=torch.uint8)}
    >>> erased = ClipErase(prob=1.0, value=(9, 9, 9))(clip, np.random.default_rng(0))
    >>> sorted(erased["frames"].unique().tolist())
    [0, 9]
    """

    def __init__(self, prob: float, value: Sequence[int]) -> None:
        """Prepare the paint."""
        self.prob, self._value = prob, np.array(value, np.uint8)
        self._draw = v2.RandomErasing(value=tuple(value)).make_params

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip, painted over or not."""
        if "frames" not in clip:
            return clip
        with _seeded(rng):
            box = self._draw([clip["frames"]]) if torch.rand(1) < self.prob else {"v": None}
        # No `v`: no box that was drawn fits.
        if box["v"] is not None:
            top, left, height, width = (box[name] for name in "ijhw")
            images = clip["frames"].permute(0, 2, 3, 1).numpy()
            # By whole rows, as they lie in memory.
            images[:, top : top + height, left : left + width] = np.tile(self._value, (width, 1))
        return clip


@TRANSFORMS.register_module()
class ClipJitter:
    """Change brightness, contrast and gamma of all frames of a clip alike, in place.

    One table of 256 values does for all pixels: it costs less than decoding a frame.

    Args:
        strength: Each of the three is a factor between 2 ** -strength and 2 ** strength, as often
            below one as above. 0 changes nothing.

    >>> clip = {"frames": torch.full((2, 3, 8, 4), 100, dtype=torch.uint8)}
    >>> ClipJitter(strength=1.0)(clip, np.random.default_rng(0))["frames"].unique().tolist()
    [173]
    """

    def __init__(self, strength: float) -> None:
        """Take the strength."""
        self.strength = strength

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip with changed frames."""
        if self.strength and "frames" in clip:
            table = tone_table(*2 ** (self.strength * rng.uniform(-1, 1, 3)))
            for image in clip["frames"].permute(0, 2, 3, 1).numpy():
                image[:] = cv2.LUT(image, table)
        return clip


def tone_table(brightness: float = 1, contrast: float = 1, gamma: float = 1) -> np.ndarray:
    """Return what becomes of each byte, `(256,)`; contrast is about the middle grey.

    >>> tone_table(brightness=2)[[0, 50, 200]].tolist()
    [0, 100, 255]
    """
    tones = np.clip(brightness * np.linspace(0, 1, 256), 0, 1)
    tones = np.clip(contrast * (tones - 0.5) + 0.5, 0, 1) ** gamma
    return np.round(255 * tones).astype(np.uint8)
