"""S3-CLIP: small frames are drawn anew, as serves telling people apart, before they are seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from train.encoders.resolve import SuperResolver
from train.models.base import Neck
from train.models.visual import VisualModel
from train.parts.batch import Inputs
from train.parts.precision import cosine_distance
from train.registry import MODELS


@MODELS.register_module()
class S3ClipModel(VisualModel):
    """After S3-CLIP (arXiv 2601.08807), of which no code is public: the terms are our reading.

    The network in front learns from frames that were taken large, shrunk (`pixels`, `likeness`),
    and a little from the identity losses, whose gradient reaches it at a tenth.

    >>> from train.models.s3_clip import S3ClipModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> visual = dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16)
    >>> inputs = dict(frames=torch.rand(2, 4, 3, 64, 32), heights=torch.full((2, 4), 20))
    >>> S3ClipModel(visual, 5)(inputs, mode="predict").shape
    torch.Size([2, 112])
    """

    needs = frozenset({"frames", "heights"})
    needs_at_test = frozenset({"frames", "camids", "heights"})
    terms = ("id", "triplet", "pixels", "likeness")
    parts = ("resolver",)

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        resolver: dict[str, Any] | None = None,
        gradient_scale: float = 0.1,
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the encoder, its heads, and the network in front.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training identities.
            skeleton: Not looked at.
            resolver: Settings of the `SuperResolver`: `net`, `scale`.
            gradient_scale: How much of the identity losses' gradient reaches the resolver.
            without: Leave out the `resolver`: the baseline, on the same clips.
            weights: Of the terms; `id` 0.25 and `likeness` 0.1 if not said.
            margin: Of the triplet losses.
            label_smoothing: Of the identity losses.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        weights = {"id": 0.25, "likeness": 0.1} | dict(weights or {})
        super().__init__(
            visual, classes, None, weights, margin, label_smoothing, neck, data_preprocessor
        )
        self.check((), without)
        self.without, self.gradient_scale = frozenset(without), gradient_scale
        self.resolver: Any = None
        if "resolver" not in self.without:
            settings: dict[str, Any] = {"net": {"type": "train.encoders.resolve.ConvResolver"}}
            self.resolver = SuperResolver(**settings | (resolver or {}))

    def frame_tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return tokens and projected tokens of the clips, small frames drawn anew."""
        if self.resolver is None:
            return super().frame_tokens(inputs)
        frames = inputs["frames"].flatten(0, 1)
        drawn = self.resolver(frames, inputs["heights"].flatten())
        scale = self.gradient_scale
        drawn = drawn * scale + drawn.detach() * (1 - scale) if self.training else drawn
        return super().frame_tokens(
            {**inputs, "frames": drawn.unflatten(0, inputs["frames"].shape[:2])}
        )

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the accuracy of the visual head."""
        terms = super().losses(inputs, labels)
        return terms if self.resolver is None else terms | self._resolving(inputs)

    def _resolving(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return how unlike the first frames of clips are once they were shrunk and drawn anew."""
        frames, heights = inputs["frames"][:, 0], inputs["heights"][:, 0]
        is_large = (heights >= frames.shape[-2]).float()
        share = is_large / is_large.sum().clamp(min=1)
        drawn = self.resolver.resolve(self.resolver.shrink(frames))
        pixels = (F.l1_loss(drawn, frames, reduction="none").mean((1, 2, 3)) * share).sum()
        found, wanted = self._frozen(drawn), self._frozen(frames).detach()
        return {"pixels": pixels, "likeness": (cosine_distance(found, wanted) * share).sum()}

    def _frozen(self, frames: Tensor) -> Tensor:
        """Return the class tokens `(B, C)` by the encoder as it is: it learns nothing of this."""
        was_training = self.visual.training
        self.visual.eval()
        state = {name: value.detach() for name, value in self.visual.named_parameters()}
        buffers = dict(self.visual.named_buffers())
        tokens, _ = torch.func.functional_call(self.visual, (state, buffers), (frames,))
        self.visual.train(was_training)
        return tokens[:, 0]
