"""The model of stage 1: a clip's picture and its skeleton should agree."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.models.base import Descriptor, Head, ReidModel
from train.parts.batch import Inputs, has_skeleton
from train.parts.gather import gather
from train.parts.losses import SupConLoss, mean_of
from train.parts.norms import masked_norm
from train.parts.precision import in_float32, unit
from train.parts.transg import prompt_loss
from train.registry import MODELS


@MODELS.register_module()
class Stage1Model(ReidModel):
    """Contrastive pretraining: the clip's picture and its skeleton should agree.

    >>> from train.models.contrast import Stage1Model
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> visual = dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16)
    >>> graph = "train.encoders.skeleton.SkeletonGraphTransformer"
    >>> skeleton = dict(type=graph, dim=32, layers=1, heads=4, out_dim=16)
    >>> model = Stage1Model(visual, skeleton)
    >>> clips = dict(frames=torch.rand(2, 4, 3, 64, 32), xyz=torch.randn(2, 4, 17, 3))
    >>> sorted(model(clips, torch.tensor([0, 1]), mode="loss"))
    ['loss_contrast', 'match_accuracy', 'temperature']
    """

    needs = frozenset({"frames", "xyz"})
    terms = ("id", "contrast", "prompt")

    def __init__(
        self,
        visual: dict[str, Any],
        skeleton: dict[str, Any],
        temperature: float = 0.07,
        prompt: dict[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        freeze_visual: bool = False,
        classes: int = 0,
        descriptor: Descriptor = "skeleton",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build both towers.

        Args:
            visual: Configuration of the visual encoder.
            skeleton: Configuration of the skeleton encoder; same `out_dim`.
            temperature: Of the contrast at the start; it is learnt.
            prompt: Configuration of a `SkeletonPromptLoss`, for TranSG's tasks on top.
            weights: Of the terms `id`, `contrast` and `prompt`.
            freeze_visual: Train the skeleton tower only. Its batches may bring `visual` features.
            classes: Training identities, where neither tower is pretrained: both learn to tell
                them apart too. 0 for the paper's loss.
            descriptor: What `predict` describes a clip by.
            data_preprocessor: Configuration of a `ClipPreprocessor`.

        Raises:
            PipelineError: If the towers' features differ in size.
        """
        super().__init__(visual, skeleton, descriptor, data_preprocessor, weights=weights)
        if self.visual.out_dim != self.skeleton.out_dim:
            raise PipelineError(
                f"the visual encoder gives {self.visual.out_dim} numbers and the skeleton encoder "
                f"{self.skeleton.out_dim}. Set `out_dim` of both to the same"
            )
        self.contrast = SupConLoss(temperature)
        self.prompt = MODELS.build(prompt) if prompt else None
        self.freeze_visual = freeze_visual
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
        """Return the feature of the picture and of the skeleton."""
        features = {"visual": self.visual_feature(inputs)}
        if "xyz" in inputs:
            features["skeleton"] = self.skeleton_feature(inputs)
        return features

    def describe(self, inputs: Inputs, descriptor: Descriptor = "visual") -> Tensor:
        """Return the unit feature of the picture or of the skeleton, `(B, D)`."""
        feature = self.visual_feature if descriptor == "visual" else self.skeleton_feature
        return unit(feature(inputs))

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the contrast of both directions, over the clips that have a skeleton."""
        mask = inputs.get("mask")
        tokens = self.skeleton(inputs["xyz"], mask)
        features = (self.visual_feature(inputs), self.skeleton.pool(tokens, mask))
        # One clip has nothing to compare itself with.
        keep = gather(has_skeleton(inputs))
        keep = keep & (keep.sum() > 1)
        known = gather(labels)
        visual, skeleton = (gather(x) for x in features)
        losses = {}
        if self.classifier is not None:
            visual, skeleton = (
                masked_norm(neck, x, keep)
                for neck, x in zip(self.necks, (visual, skeleton), strict=True)
            )
            losses["id"] = sum(self._identity(x, known, keep) for x in (visual, skeleton))
        losses |= {
            "contrast": self.contrast(visual, skeleton, known, keep),
            "match_accuracy": _match_accuracy(visual, skeleton, known, keep),
            "temperature": 1 / self.contrast.scale().detach(),
        }
        if self.prompt is not None:
            prompt = prompt_loss(self.prompt, self.skeleton, tokens, inputs, labels)
            losses["prompt"] = torch.where(keep.any(), prompt, 0.0)
        return losses

    def _identity(self, features: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
        logits = self.classifier(features)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
        return mean_of(loss, keep)


@torch.no_grad()
@in_float32
def _match_accuracy(
    visual: Tensor, skeleton: Tensor, labels: Tensor, keep: Tensor | None = None
) -> Tensor:
    """Return how often the picture nearest to a skeleton shows the same person."""
    cosine = unit(skeleton) @ unit(visual).T
    if keep is not None:
        cosine = cosine.masked_fill(~keep, -torch.inf)
    return mean_of((labels[cosine.argmax(1)] == labels).float(), keep)
