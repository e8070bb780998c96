"""Changes of a clip in training: what shows one place moves together, in all frames of a clip.

A clip is a dict with `frames` `(T, 3, H, W)` uint8, `xyz` `(T, J, 3)`, `mask` `(T,)` where the
skeleton is good, `frame_mask` `(T,)` and what else the system needs (`train.parts.batch`): `kps`
`(T, 17, 3)`, `silhouettes` `(T, H, W)`, `erased` `(T,)`, `heights` `(T,)`. Every transform takes
the clip and the generator that makes its choices, so that a clip is a function of its key (see
`train.data.sampler.Draw`) and of nothing else.
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
from train.data.moves import mirror, mirrored, shifted
from train.registry import TRANSFORMS

Clip = dict[str, Tensor]
Transform = Callable[[Clip, np.random.Generator], Clip]


def build(transforms: Sequence[dict[str, Any]]) -> list[Transform]:
    """Build the transforms of a configuration, in order."""
    return [TRANSFORMS.build(dict(transform)) for transform in transforms]


@TRANSFORMS.register_module()
class ClipFlip:
    """Mirror all of a clip or nothing: frames and silhouettes in place, joints with their sides.

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
        if "kps" in clip:
            flipped["kps"] = mirrored(clip["kps"])
        if "frames" in clip:
            mirror(clip["frames"])
        if "silhouettes" in clip:
            mirror(clip["silhouettes"][:, None])
        return clip | flipped


@TRANSFORMS.register_module()
class FrameTransform:
    """Apply a transform of `torchvision.transforms.v2` to the frames, one draw for the whole clip.

    Only for changes that leave the skeleton alone: crops (it is centred on the pelvis), colours.
    Crops are refused where 2D joints or silhouettes are needed: `ClipCrop` moves them too.

    Args:
        name: Class in `torchvision.transforms.v2`.
        **kwargs: Its arguments.

    Raises:
        PipelineError: If torchvision has no transform of that name.
    """

    @classmethod
    def passes_on(cls, config: dict[str, Any]) -> type | None:
        """Return the transform of torchvision that takes the other arguments."""
        return getattr(v2, config.get("name", ""), None)

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
        name = type(self._transform)
        if name.__module__.endswith("_geometry") and clip.keys() & {"kps", "silhouettes"}:
            raise PipelineError(
                f"{name.__name__} moves frames, and the system needs 2D joints or silhouettes that "
                "would stay where they are. Take train.data.transforms.ClipCrop"
            )
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

    torchvision draws the box; its way of painting takes a third as long as decoding the clip. Where
    the system needs `erased`, it is told which frames were painted over.

    Args:
        prob: How often.
        value: The paint, RGB from 0 to 255.
        frame_prob: Probability that a frame of a clip that is painted over is.

    >>> clip = {"frames": torch.zeros(2, 3, 8, 4, dtype=torch.uint8)}
    >>> erased = ClipErase(prob=1.0, value=(9, 9, 9))(clip, np.random.default_rng(0))
    >>> sorted(erased["frames"].unique().tolist())
    [0, 9]
    """

    def __init__(self, prob: float, value: Sequence[int], frame_prob: float = 1.0) -> None:
        """Prepare the paint."""
        self.prob, self.frame_prob = prob, frame_prob
        self._value = np.array(value, np.uint8)
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
            paint = np.tile(self._value, (width, 1))
            for i in self._drawn(len(images), rng):
                # By whole rows, as they lie in memory.
                images[i, top : top + height, left : left + width] = paint
                if "erased" in clip:
                    clip["erased"][i] = True
        return clip

    def _drawn(self, frames: int, rng: np.random.Generator) -> np.ndarray:
        if self.frame_prob >= 1:
            return np.arange(frames)
        return np.flatnonzero(rng.random(frames) < self.frame_prob)


@TRANSFORMS.register_module()
class ClipCrop:
    """Move all of a clip by up to some pixels: frames, silhouettes and 2D joints, in place.

    That is a random crop of a padded frame. What comes in at an edge has one colour.

    Args:
        pad: Largest move in pixels, in each direction.
        value: The colour, RGB from 0 to 255.

    >>> clip = {"frames": torch.ones(1, 3, 4, 2, dtype=torch.uint8), "kps": torch.ones(1, 17, 3)}
    >>> moved = ClipCrop(pad=1, value=(9, 9, 9))(clip, np.random.default_rng(0))
    >>> moved["frames"][0, 0].tolist(), moved["kps"][0, 0].tolist()
    ([[9, 9], [1, 1], [1, 1], [1, 1]], [1.0, 1.25, 1.0])
    """

    def __init__(self, pad: int, value: Sequence[int]) -> None:
        """Take the largest move and the colour."""
        self.pad, self._value = pad, torch.tensor(value, dtype=torch.uint8)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip, moved."""
        down, right = rng.integers(-self.pad, self.pad + 1, 2).tolist()
        moved: Clip = {}
        if "frames" in clip:
            moved["frames"] = shifted(clip["frames"], down, right, self._value[:, None, None])
            height, width = clip["frames"].shape[-2:]
        elif "silhouettes" in clip:
            height, width = clip["silhouettes"].shape[-2:]
        else:
            return clip
        if "silhouettes" in clip:
            moved["silhouettes"] = shifted(clip["silhouettes"], down, right, 0)
        if "kps" in clip:
            move = clip["kps"].new_tensor([right / width, down / height, 0])
            moved["kps"] = clip["kps"] + move * (clip["kps"][..., 2:] > 0)
        return clip | moved


@TRANSFORMS.register_module()
class LowResolution:
    """Shrink all frames of a clip to a smaller height and enlarge them again, in place.

    So they look as if taken from afar. `heights`, where the system needs it, says the smaller one.

    Args:
        prob: How often.
        heights: Smallest and largest height in pixels, of which one is drawn; both included.

    >>> stripes = torch.tensor([0, 200] * 4, dtype=torch.uint8)
    >>> clip = {"frames": stripes[None, None, :, None].repeat(1, 3, 1, 4)}
    >>> small = LowResolution(prob=1.0, heights=(4, 4))(clip, np.random.default_rng(0))
    >>> small["frames"].unique().tolist()
    [100]
    """

    def __init__(self, prob: float, heights: tuple[int, int]) -> None:
        """Take how often, and how small."""
        self.prob, self.heights = prob, tuple(heights)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip, shrunk and enlarged or not."""
        if rng.random() >= self.prob or "frames" not in clip:
            return clip
        drawn = int(rng.integers(self.heights[0], self.heights[1] + 1))
        height, width = clip["frames"].shape[-2:]
        if drawn < height:
            small = (max(1, round(width * drawn / height)), drawn)
            for image in clip["frames"].permute(0, 2, 3, 1).numpy():
                whole = np.ascontiguousarray(image)
                shrunk = cv2.resize(whole, small, interpolation=cv2.INTER_AREA)
                image[:] = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC)
            if "heights" in clip:
                clip["heights"].clamp_(max=drawn)
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
