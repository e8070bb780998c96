"""KeyRe-ID: a global feature of well seen frames, and parts of the body where its joints are."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models.base import Descriptor, Head, Neck, ReidModel
from train.parts.batch import Inputs, masked_mean
from train.parts.gather import gather
from train.parts.keypoints import PARTS, KeypointParts
from train.parts.losses import BatchHardTripletLoss, CentreLoss, VisibleTripletLoss
from train.parts.pools import ConvAttentionPool
from train.parts.precision import unit
from train.registry import MODELS


@MODELS.register_module()
class KeyReIdModel(ReidModel):
    """After KeyRe-ID (arXiv 2507.07393), from the paper alone.

    Ours: maps that are drawn (the public ones are empty) from our own 2D joints, weights that move
    with the frames, parts that are not seen left out of losses and descriptor, the tokens of the
    encoder in place of a copy of its last block.

    >>> from train.models.keyre_id import KeyReIdModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> fine = dict(type=cnn, name="test_resnet", size=(128, 64), out_dim=16, output_stride=8)
    >>> inputs = dict(frames=torch.rand(2, 4, 3, 128, 64), kps=torch.rand(2, 4, 17, 3))
    >>> KeyReIdModel(fine, 5)(inputs, mode="predict").shape
    torch.Size([2, 672])
    """

    needs = frozenset({"frames", "kps", "erased"})
    needs_at_test = frozenset({"frames", "camids", "kps"})
    terms = ("id", "triplet", "centre", "attention")
    parts = ("parts", "pool")
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        part_share: float = 0.25,
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        descriptor: Descriptor = "visual",
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the parts; their sizes follow from the encoder.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training identities.
            skeleton: Not looked at.
            part_share: Share of the parts in identity and triplet losses, beside the whole's.
            without: Leave out the `parts`, or the `pool` that weighs frames: they count alike.
            weights: Of the terms; the paper has `centre` 5e-4.
            margin: Of the triplet losses.
            label_smoothing: Of the identity losses.
            descriptor: `visual`; 2D joints only say where to look.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.

        Raises:
            PipelineError: If the encoder has too few rows to tell parts apart.
        """
        weights = {"centre": 5e-4} | dict(weights or {})
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing, self.part_share = label_smoothing, part_share
        # Nothing here looks at projected tokens.
        self.visual.proj.requires_grad_(False)
        width = self.visual.width
        self.pool = None if "pool" in self.without else ConvAttentionPool(width, width // 2)
        self.head = Head(width, classes)
        self.triplet, self.centre = BatchHardTripletLoss(margin), CentreLoss(classes, width)
        self.keypoints = None
        if "parts" not in self.without:
            self.keypoints = KeypointParts(self.visual.cells)
            self.part_heads = nn.ModuleList(Head(width, classes) for _ in PARTS)
            self.part_triplet = VisibleTripletLoss(margin)

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the global feature `(B, C)`, the parts `(B, 6, C)` and which are seen `(B, 6)`."""
        return self._features(inputs)[0]

    def _features(self, inputs: Inputs) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the features and how much each frame counts, `(B, T)`."""
        tokens, _ = self.frame_tokens(inputs)
        mask, weights = inputs.get("frame_mask"), None
        if self.pool is None:
            found = {"visual": masked_mean(tokens[:, :, 0], mask)}
        else:
            pooled, weights = self.pool(tokens[:, :, 0], mask)
            found = {"visual": pooled}
        if self.keypoints is not None:
            found["parts"], found["visible"] = self.keypoints(tokens, inputs["kps"], mask)
        return found, weights

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of the global feature, the only one that has one name."""
        return self.head.neck

    def _joined(self, features: Mapping[str, Tensor], inputs: Inputs, neck: Neck) -> Tensor:
        """Return the unit descriptors `(B, 7 C)`: the whole, then each part for a sixth of it.

        Each block has length one before that, and a part that is not seen is zero: it neither
        helps nor hurts a pair that lacks it.
        """
        whole, after = features["visual"], neck == "after"
        blocks = [unit(self.head.neck(whole) if after else whole)]
        if self.keypoints is not None:
            for part, head in enumerate(self.part_heads):
                feature = features["parts"][:, part]
                feature = unit(head.neck(feature) if after else feature)
                blocks.append(feature * features["visible"][:, part, None] / len(PARTS))
        return unit(torch.cat(blocks, dim=1))

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the accuracy of the global head."""
        features, weights = self._features(inputs)
        labels = gather(labels)
        whole = gather(features["visual"])
        logits = self.head(whole)
        identity, triplet = self._cross_entropy(logits, labels).mean(), self.triplet(whole, labels)
        centre = self.centre(whole, labels)
        if self.keypoints is not None:
            parts, is_visible = gather(features["parts"]), gather(features["visible"])
            part_identity = self._part_identity(parts, is_visible, labels)
            share = self.part_share
            identity = (1 - share) * identity + share * part_identity
            part_triplet = self.part_triplet(parts, labels, is_visible)
            triplet = (1 - share) * triplet + share * part_triplet
        terms = {"id": identity, "triplet": triplet, "centre": centre}
        if weights is not None and "erased" in inputs:
            # What was painted over should not be looked at.
            terms["attention"] = (weights * inputs["erased"]).sum(1).mean()
        return terms | {"accuracy": (logits.argmax(1) == labels).float().mean()}

    def _part_identity(self, parts: Tensor, is_visible: Tensor, labels: Tensor) -> Tensor:
        loss = parts.new_zeros(())
        for part, head in enumerate(self.part_heads):
            shown = is_visible[:, part]
            # What is not seen takes the mean's place, so that the neck learns of what is.
            mean = masked_mean(parts[None, :, part], shown[None])
            feature = torch.where(shown[:, None], parts[:, part], mean)
            each = self._cross_entropy(head(feature), labels) * shown
            loss = loss + each.sum() / shown.sum().clamp(min=1)
        return loss / len(PARTS)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, reduction="none"
        )
