"""What the models have in common, and those that train a skeleton encoder.

A batch is `dict(inputs=..., labels=(B,))` with these inputs:

- `frames` `(B, T, 3, H, W)`, uint8, or float in [0, 1];
- `xyz` `(B, T, J, 3)` skeletons, left out at test when the modality is visual;
- `mask` `(B, T)`, True where the skeleton is good; all are when left out;
- `camids` `(B,)`, optional;
- `visual` `(B, D)`, visual features made before, in place of `frames` (stage 1 only).
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss
from train.parts.precision import in_float32, unit
from train.registry import MODELS

Inputs = Mapping[str, Tensor]
Modality = Literal["visual", "skeleton", "both"]


class ReidModel(BaseModel):
    """What the models of both stages share: two towers and the descriptors made from them."""

    def __init__(
        self,
        visual: dict[str, Any] | None,
        skeleton: dict[str, Any] | None,
        modality: Modality,
        data_preprocessor: dict[str, Any] | None,
    ) -> None:
        """Build the towers; either may be left out."""
        # MMEngine would look it up in its own registry unless its Runner set the scope.
        super().__init__(MODELS.build(data_preprocessor) if data_preprocessor else None)
        self.visual = MODELS.build(visual) if visual else None
        self.skeleton = MODELS.build(skeleton) if skeleton else None
        self.modality = modality

    def forward(
        self, inputs: Inputs, labels: Tensor | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Tensor:
        """Return losses (`loss`), the descriptors `(B, C)` (`predict`) or features (`tensor`)."""
        if mode == "loss":
            return self.losses(inputs, labels)
        if mode == "predict":
            return self.describe(inputs, self.modality)
        return self.features(inputs)

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss, already weighted, and what else the log should show."""
        raise NotImplementedError

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return each feature `(B, C)` by name, before the necks."""
        raise NotImplementedError

    def describe(self, inputs: Inputs, modality: Modality = "visual") -> Tensor:
        """Return the unit descriptors `(B, C)` that retrieval compares.

        With `visual`, skeletons in the inputs are not looked at.
        """
        if modality == "skeleton":
            return unit(self.skeleton_feature(inputs))
        return unit(torch.cat(list(self.features(inputs).values()), dim=1))

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


@MODELS.register_module()
class Stage1Model(ReidModel):
    """Contrastive pretraining: the clip's picture and its skeleton should agree.

    >>> from train.models.base import Stage1Model
    >>> visual = dict(type="CnnEncoder", name="test_resnet", size=(64, 32), out_dim=16)
    >>> skeleton = dict(type="SkeletonGraphTransformer", dim=32, layers=1, heads=4, out_dim=16)
    >>> model = Stage1Model(visual, skeleton)
    >>> clips = dict(frames=torch.rand(2, 4, 3, 64, 32), xyz=torch.randn(2, 4, 17, 3))
    >>> sorted(model(clips, torch.tensor([0, 1]), mode="loss"))
    ['loss_contrast', 'match_accuracy', 'temperature']
    """

    def __init__(
        self,
        visual: dict[str, Any],
        skeleton: dict[str, Any],
        temperature: float = 0.07,
        prompt: dict[str, Any] | None = None,
        prompt_weight: float = 1.0,
        freeze_visual: bool = False,
        classes: int = 0,
        modality: Modality = "skeleton",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build both towers.

        Args:
            visual: Configuration of the visual encoder.
            skeleton: Configuration of the skeleton encoder; same `out_dim`.
            temperature: Of the contrast at the start; it is learnt.
            prompt: Configuration of a `SkeletonPromptLoss`, for TranSG's tasks on top.
            prompt_weight: Weight of those.
            freeze_visual: Train the skeleton tower only. Its batches may bring `visual` features.
            classes: Training identities, where neither tower is pretrained: both learn to tell
                them apart too. 0 for the paper's loss.
            modality: What `predict` describes a clip by.
            data_preprocessor: Configuration of a `ClipPreprocessor`.

        Raises:
            PipelineError: If the towers' features differ in size.
        """
        super().__init__(visual, skeleton, modality, data_preprocessor)
        if self.visual.out_dim != self.skeleton.out_dim:
            raise PipelineError(
                f"the visual encoder gives {self.visual.out_dim} numbers and the skeleton encoder "
                f"{self.skeleton.out_dim}. Set `out_dim` of both to the same"
            )
        self.contrast = MODELS.build({"type": "SupConLoss", "temperature": temperature})
        self.prompt = MODELS.build(prompt) if prompt else None
        self.prompt_weight, self.freeze_visual = prompt_weight, freeze_visual
        if freeze_visual:
            self.visual.requires_grad_(False)
        # Two untrained towers give every clip nearly the same unit vector, and the contrast stays
        # at chance. One classifier for both teaches them what a person is, and in the same words;
        # a neck of each centres its features.
        self.necks = self.classifier = None
        if classes:
            head = Head(self.visual.out_dim, classes)
            self.necks = nn.ModuleList([head.neck, Head(self.visual.out_dim, classes).neck])
            self.classifier = head.classifier

    def train(self, mode: bool = True) -> "Stage1Model":
        """Switch to training; a frozen tower stays in evaluation."""
        super().train(mode)
        if self.freeze_visual:
            self.visual.eval()
        return self

    def visual_feature(self, inputs: Inputs) -> Tensor:
        """Return the projected visual feature of each clip, `(B, D)`: what a cache keeps."""
        if "visual" in inputs:
            return inputs["visual"]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_visual):
            _, projected = self.frame_tokens(inputs)
            return projected[:, :, 0].mean(1)

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the feature of each modality."""
        features = {"visual": self.visual_feature(inputs)}
        if "xyz" in inputs:
            features["skeleton"] = self.skeleton_feature(inputs)
        return features

    def describe(self, inputs: Inputs, modality: Modality = "visual") -> Tensor:
        """Return the unit feature of one modality, `(B, D)`."""
        feature = self.visual_feature if modality == "visual" else self.skeleton_feature
        return unit(feature(inputs))

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the contrast of both directions, over the clips that have a skeleton."""
        mask = inputs.get("mask")
        tokens = self.skeleton(inputs["xyz"], mask)
        visual, skeleton = self.visual_feature(inputs), self.skeleton.pool(tokens, mask)
        keep = gather(has_skeleton(inputs))
        visual, skeleton, known = (gather(x)[keep] for x in (visual, skeleton, labels))
        if len(known) < 2:
            return {"loss_contrast": no_loss(self)}
        losses = {}
        if self.classifier is not None:
            visual, skeleton = (
                neck(x) for neck, x in zip(self.necks, (visual, skeleton), strict=True)
            )
            losses["loss_id"] = sum(
                F.cross_entropy(self.classifier(x), known, label_smoothing=0.1)
                for x in (visual, skeleton)
            )
        losses |= {
            "loss_contrast": self.contrast(visual, skeleton, known),
            "match_accuracy": _match_accuracy(visual, skeleton, known),
            "temperature": 1 / self.contrast.scale().detach(),
        }
        if self.prompt is not None:
            prompt = prompt_loss(self.prompt, self.skeleton, tokens, inputs, labels)
            losses["loss_prompt"] = self.prompt_weight * prompt
        return losses


@torch.no_grad()
@in_float32
def _match_accuracy(visual: Tensor, skeleton: Tensor, labels: Tensor) -> Tensor:
    """Return how often the picture nearest to a skeleton shows the same person."""
    nearest = (unit(skeleton) @ unit(visual).T).argmax(1)
    return (labels[nearest] == labels).float().mean()


def has_skeleton(inputs: Inputs) -> Tensor:
    """Return `(B,)`, True for clips with at least one good skeleton."""
    if "mask" in inputs:
        return inputs["mask"].any(1)
    return torch.ones(len(inputs["xyz"]), dtype=torch.bool, device=inputs["xyz"].device)


def no_loss(model: nn.Module) -> Tensor:
    """Return the loss of a batch that has nothing to compare: zero.

    It depends on all trained parameters, for whose gradients DistributedDataParallel waits.
    """
    return 0.0 * sum(one.sum() for one in model.parameters() if one.requires_grad)


def prompt_loss(
    prompt: nn.Module, encoder: nn.Module, tokens: Tensor, inputs: Inputs, labels: Tensor
) -> Tensor:
    """Return TranSG's losses, with the batch's own class means for prototypes."""
    keep, mask = has_skeleton(inputs), inputs.get("mask")
    tokens, xyz, labels = tokens[keep], inputs["xyz"][keep], labels[keep]
    if not len(labels):
        return no_loss(prompt)
    mask = None if mask is None else mask[keep]
    ids, rows = labels.unique(return_inverse=True)
    features = encoder.pool(tokens, mask).detach().float()
    prototypes = torch.stack([features[rows == row].mean(0) for row in range(len(ids))])
    return prompt(tokens[:, :, -encoder.joints :], xyz, rows, prototypes, mask)["total"]


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


@MODELS.register_module()
class SkeletonModel(ReidModel):
    """Re-identification by the skeleton alone: identity and triplet losses on one tower.

    >>> from train.models.base import SkeletonModel
    >>> skeleton = dict(type="SkeletonGraphTransformer", dim=32, layers=1, heads=4, out_dim=16)
    >>> model = SkeletonModel(skeleton, classes=2)
    >>> model(dict(xyz=torch.randn(2, 6, 17, 3)), mode="predict").shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        skeleton: dict[str, Any],
        classes: int,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        prompt: dict[str, Any] | None = None,
        prompt_weight: float = 1.0,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the tower.

        Args:
            skeleton: Configuration of the skeleton encoder.
            classes: Training identities.
            margin: Of the triplet loss.
            label_smoothing: Of the identity loss.
            prompt: Configuration of a `SkeletonPromptLoss`, for TranSG's tasks on top.
            prompt_weight: Weight of those.
            data_preprocessor: As MMEngine takes it.
        """
        super().__init__(None, skeleton, "skeleton", data_preprocessor)
        self.head = Head(self.skeleton.out_dim, classes)
        self.triplet = BatchHardTripletLoss(margin)
        self.label_smoothing = label_smoothing
        self.prompt = MODELS.build(prompt) if prompt else None
        self.prompt_weight = prompt_weight

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the skeleton feature."""
        return {"skeleton": self.skeleton_feature(inputs)}

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the losses over the clips that have a skeleton."""
        mask = inputs.get("mask")
        tokens = self.skeleton(inputs["xyz"], mask)
        keep = gather(has_skeleton(inputs))
        feature = gather(self.skeleton.pool(tokens, mask))[keep]
        known = gather(labels)[keep]
        if len(known) < 2:
            return {"loss_id": no_loss(self)}
        logits = self.head(feature)
        losses = {
            "loss_id": F.cross_entropy(logits, known, label_smoothing=self.label_smoothing),
            "loss_triplet": self.triplet(feature, known),
            "accuracy": (logits.argmax(1) == known).float().mean(),
        }
        if self.prompt is not None:
            prompt = prompt_loss(self.prompt, self.skeleton, tokens, inputs, labels)
            losses["loss_prompt"] = self.prompt_weight * prompt
        return losses
