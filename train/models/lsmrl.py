"""LSMRL: words that hold by day and by night, and a partner in the other spectrum to learn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.encoders.along import AlongTime
from train.models.base import Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs, masked_mean
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss, LogitScale, mean_of
from train.parts.precision import cosine_distance, in_float32, unit
from train.parts.spectra.losses import HeteroCentreLoss, MmdLoss
from train.parts.spectra.partner import PartnerAttention, SharedPrompts, partners
from train.registry import MODELS


@MODELS.register_module()
class LsmrlModel(ReidModel):
    """After LSMRL (arXiv 2601.12062), of which the abstract and figures are known.

    Certain are the three kinds of encoder, prompts that both spectra share, attention across
    spectra and losses on both levels; all else is ours. At test nobody has a partner: in training
    half of the clips have none either, and the path without is tied to the guided one.

    >>> from train.models.lsmrl import LsmrlModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> model = LsmrlModel(dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16), 5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 112])
    """

    needs = frozenset({"frames", "spectrum"})
    terms = ("id", "triplet", "names", "tie", "centre", "mmd")
    parts = ("groups", "shift", "prompts", "names", "partner")
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        group: int = 2,
        prompts: int = 8,
        alone: float = 0.5,
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        temperature: float = 0.07,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the parts; their sizes follow from the encoder.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training identities.
            skeleton: Not looked at.
            group: Neighbouring frames that are seen together in the middle of the encoder.
            prompts: Vectors that both spectra read.
            alone: Share of the training clips whose partner is kept from them.
            without: Leave out the `groups` of frames, the `shift` of patches, the `prompts`, the
                `names`: a learnt vector for each identity, or the `partner`.
            weights: Of the terms; `id` 0.25 and `mmd` 0.5 if not said.
            margin: Of the triplet losses, of clips and of centres.
            label_smoothing: Of the losses of identities and names.
            temperature: Of the names' logits at the start; it is learnt.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        weights = {"id": 0.25, "mmd": 0.5} | dict(weights or {})
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing, self.alone = label_smoothing, alone
        self._make_parts(classes, group, prompts, temperature)
        sizes = {"visual": self.visual.width, "projected": self.visual.out_dim}
        self.heads = nn.ModuleDict({name: Head(size, classes) for name, size in sizes.items()})
        self.triplet = BatchHardTripletLoss(margin)
        self.centre, self.mmd = HeteroCentreLoss(margin), MmdLoss()

    def _make_parts(self, classes: int, group: int, prompts: int, temperature: float) -> None:
        """Make what may be left out; None where it is."""
        width = self.visual.width
        heads = max(1, width // 64)
        self.along: Any = None
        self.prompts: Any = None
        self.partner: Any = None
        self.names: Any = None
        kinds = {name: name not in self.without for name in ("groups", "shift")}
        if any(kinds.values()):
            self.along = AlongTime(self.visual, group, **kinds)
        if "prompts" not in self.without:
            self.prompts = SharedPrompts(width, prompts, heads)
        if "partner" not in self.without:
            self.partner = PartnerAttention(width, heads)
        if "names" not in self.without:
            self.names = nn.Parameter(torch.randn(classes, self.visual.out_dim))
            self.scale = LogitScale(temperature)

    def frame_tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return tokens and projected tokens of the clips, whose frames have seen each other."""
        if self.along is None:
            return super().frame_tokens(inputs)
        return self.along(
            self.visual, inputs["frames"], inputs.get("camids"), inputs.get("frame_mask")
        )

    def _frames(self, inputs: Inputs) -> Tensor:
        """Return the class tokens `(B, T, C)`, after they have read the prompts."""
        frames = self.frame_tokens(inputs)[0][:, :, 0]
        return frames if self.prompts is None else self.prompts(frames)

    def _pooled(self, frames: Tensor, inputs: Inputs) -> dict[str, Tensor]:
        mask = inputs.get("frame_mask")
        projected = self.visual.proj(frames)
        return {"visual": masked_mean(frames, mask), "projected": masked_mean(projected, mask)}

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the visual and the projected feature of each clip, which has no partner."""
        frames = self._frames(inputs)
        if self.partner is not None:
            frames = self.partner(frames, inputs.get("frame_mask"))
        return self._pooled(frames, inputs)

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.heads[name].neck

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the accuracy of the visual head."""
        features, terms = self._taught(inputs, labels)
        if self.names is not None:
            logits = self.scale() * _cosines(features["projected"], self.names)
            smooth = self.label_smoothing
            terms["names"] = F.cross_entropy(logits, labels, label_smoothing=smooth)
        labels, spectrum = gather(labels), gather(inputs["spectrum"])
        features = {name: gather(feature) for name, feature in features.items()}
        found, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        for name, loss in (("centre", self.centre), ("mmd", self.mmd)):
            each = [loss(feature, labels, spectrum) for feature in features.values()]
            terms[name] = torch.stack(each).mean()
        accuracy = (logits["visual"].argmax(1) == labels).float().mean()
        return terms | found | {"accuracy": accuracy}

    def _taught(
        self, inputs: Inputs, labels: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the features that are taught, and what ties both paths.

        Those of clips that are left alone are what they will be at test.
        """
        frames, mask = self._frames(inputs), inputs.get("frame_mask")
        if self.partner is None:
            return self._pooled(frames, inputs), {}
        who, has_partner = partners(labels, inputs["spectrum"])
        is_guided = has_partner & (torch.rand(len(labels), device=labels.device) >= self.alone)
        known = torch.ones_like(frames[..., 0], dtype=torch.bool) if mask is None else mask
        guided = self.partner(frames, mask, frames[who], known[who] & is_guided[:, None])
        guided = self._pooled(guided, inputs)
        alone = self._pooled(self.partner(frames, mask), inputs)
        apart = [cosine_distance(alone[name], guided[name].detach()) for name in alone]
        tie = mean_of(gather(torch.stack(apart).mean(0)), gather(is_guided))
        return guided, {"tie": tie}


@in_float32
def _cosines(features: Tensor, rows: Tensor) -> Tensor:
    return unit(features) @ unit(rows).T
