"""What the models have in common: two towers, heads, and the descriptors made of them."""

from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from train.parts.batch import Inputs, has_skeleton
from train.parts.precision import unit
from train.registry import MODELS

Descriptor = Literal["visual", "skeleton", "both"]
Neck = Literal["before", "after"]


class ReidModel(BaseModel):
    """What the models of both stages share: two towers and the descriptors made from them."""

    def __init__(
        self,
        visual: dict[str, Any] | None,
        skeleton: dict[str, Any] | None,
        descriptor: Descriptor,
        data_preprocessor: dict[str, Any] | None,
        neck: Neck = "before",
    ) -> None:
        """Build the towers; either may be left out."""
        # MMEngine would look it up in its own registry unless its Runner set the scope.
        super().__init__(MODELS.build(data_preprocessor) if data_preprocessor else None)
        self.visual = MODELS.build(visual) if visual else None
        self.skeleton = MODELS.build(skeleton) if skeleton else None
        self.descriptor, self.neck = descriptor, neck

    def forward(
        self, inputs: Inputs, labels: Tensor | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Tensor:
        """Return losses (`loss`), the descriptors `(B, C)` (`predict`) or features (`tensor`)."""
        if mode == "loss":
            return self.losses(inputs, labels)
        if mode == "predict":
            return self.describe(inputs, self.descriptor)
        return self.features(inputs)

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss, already weighted, and what else the log should show."""
        raise NotImplementedError

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return each feature `(B, C)` by name, before the necks."""
        raise NotImplementedError

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature, which learns where all persons' features lie."""
        raise NotImplementedError

    def describe(self, inputs: Inputs, descriptor: Descriptor = "visual") -> Tensor:
        """Return the unit descriptors `(B, C)` that retrieval compares.

        With `visual`, skeletons in the inputs are not looked at. A clip without a good skeleton
        has the skeleton descriptor zero.
        """
        is_skeleton = descriptor == "skeleton"
        if is_skeleton:
            features = {"skeleton": self.skeleton_feature(inputs)}
        else:
            features = self.features(inputs)
        if self.neck == "after":
            features = {name: self.neck_of(name)(feature) for name, feature in features.items()}
        made = unit(torch.cat(list(features.values()), dim=1))
        # Behind a neck, what is made of no skeleton would be a place like any other.
        return made * has_skeleton(inputs)[:, None] if is_skeleton else made

    def frame_tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return tokens `(B, T, 1 + P, C)` and projected tokens `(B, T, 1 + P, D)` of the clips."""
        frames, camids = inputs["frames"], inputs.get("camids")
        batch = frames.shape[:2]
        if camids is not None:
            camids = camids.repeat_interleave(batch[1])
        tokens, projected = self.visual(frames.flatten(0, 1), camids)
        return tokens.unflatten(0, batch), projected.unflatten(0, batch)

    def skeleton_feature(self, inputs: Inputs) -> Tensor:
        """Return the skeleton feature of each clip, `(B, D)`."""
        mask = inputs.get("mask")
        return self.skeleton.pool(self.skeleton(inputs["xyz"], mask), mask)


class Head(nn.Module):
    """A batch norm without shift, then a linear classifier (Luo et al., arXiv 1903.07071)."""

    def __init__(self, dim: int, classes: int) -> None:
        """Make a head for features of `dim` channels."""
        super().__init__()
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(dim, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of `(B, C)` features."""
        return self.classifier(self.neck(features))
