"""Re-identification by the skeleton alone."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models.base import Head, Neck, ReidModel
from train.parts.batch import Inputs, has_skeleton
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss, mean_of
from train.parts.norms import masked_norm
from train.parts.transg import prompt_loss
from train.registry import MODELS


@MODELS.register_module()
class SkeletonModel(ReidModel):
    """Re-identification by the skeleton alone: identity and triplet losses on one tower.

    >>> from train.models.skeleton import SkeletonModel
    >>> graph = "train.encoders.skeleton.SkeletonGraphTransformer"
    >>> skeleton = dict(type=graph, dim=32, layers=1, heads=4, out_dim=16)
    >>> model = SkeletonModel(skeleton, classes=2)
    >>> model(dict(xyz=torch.randn(2, 6, 17, 3)), mode="predict").shape
    torch.Size([2, 16])
    """

    needs = frozenset({"xyz"})
    needs_at_test = frozenset({"xyz"})
    terms = ("id", "triplet", "prompt")

    def __init__(
        self,
        skeleton: dict[str, Any],
        classes: int,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        prompt: dict[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the tower.

        Args:
            skeleton: Configuration of the skeleton encoder.
            classes: Training identities.
            margin: Of the triplet loss.
            label_smoothing: Of the identity loss.
            prompt: Configuration of a `SkeletonPromptLoss`, for TranSG's tasks on top.
            weights: Of the terms `id`, `triplet` and `prompt`.
            neck: Describe a clip by its feature before or after the head's batch norm.
            data_preprocessor: As MMEngine takes it.
        """
        super().__init__(None, skeleton, "skeleton", data_preprocessor, neck, weights)
        self.head = Head(self.skeleton.out_dim, classes)
        self.triplet = BatchHardTripletLoss(margin)
        self.label_smoothing = label_smoothing
        self.prompt = MODELS.build(prompt) if prompt else None

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the skeleton feature."""
        return {"skeleton": self.skeleton_feature(inputs)}

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of the head."""
        return self.head.neck

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the losses over the clips that have a skeleton."""
        mask = inputs.get("mask")
        tokens = self.skeleton(inputs["xyz"], mask)
        keep = gather(has_skeleton(inputs))
        # One clip has nothing to compare itself with.
        keep = keep & (keep.sum() > 1)
        feature, known = gather(self.skeleton.pool(tokens, mask)), gather(labels)
        logits = self.head.classifier(masked_norm(self.head.neck, feature, keep))
        identity = F.cross_entropy(
            logits, known, label_smoothing=self.label_smoothing, reduction="none"
        )
        losses = {
            "id": mean_of(identity, keep),
            "triplet": self.triplet(feature, known, keep),
            "accuracy": mean_of((logits.argmax(1) == known).float(), keep),
        }
        if self.prompt is not None:
            prompt = prompt_loss(self.prompt, self.skeleton, tokens, inputs, labels)
            losses["prompt"] = torch.where(keep.any(), prompt, 0.0)
        return losses
