"""The model of stage 2: CSIP-ReID as it is used."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.memories.prototypes import prototypes
from train.models.base import Descriptor, Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs, has_skeleton, masked_mean
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss, LogitScale
from train.parts.norms import masked_norm
from train.parts.precision import cosine_distance, unit
from train.parts.prototypes import (
    PrototypeFusion,
    PrototypeUpdater,
    prototype_logits,
)
from train.parts.temporal import SkeletonGuidedTemporalModule
from train.registry import MODELS


@MODELS.register_module()
class CsipModel(ReidModel):
    """CSIP-ReID's second stage: prototypes and skeletons teach the visual encoder.

    Without `prototypes`, `temporal` and `skeleton` it is the baseline of `train.models.visual`.

    >>> from train.models.csip import CsipModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> visual = dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16)
    >>> graph = "train.encoders.skeleton.SkeletonGraphTransformer"
    >>> skeleton = dict(type=graph, dim=32, layers=1, heads=4, out_dim=16)
    >>> model = CsipModel(visual, skeleton, classes=5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 208])
    """

    needs = frozenset({"frames", "xyz"})
    terms = ("prototype", "id", "triplet", "frame", "distill")
    parts = ("prototypes", "temporal", "skeleton")
    # None where a part is left out.
    fusion: Any
    updater: Any
    temporal: Any
    skeleton_neck: Any

    def __init__(
        self,
        visual: dict[str, Any],
        skeleton: dict[str, Any] | None,
        classes: int,
        fusion: dict[str, Any] | None = None,
        updater: dict[str, Any] | None = None,
        temporal: dict[str, Any] | None = None,
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        temperature: float = 0.07,
        student_share: float = 0.5,
        gradient_scale: float = 1.0,
        descriptor: Descriptor = "visual",
        neck: Neck = "before",
        skeleton_weight: float = 0.3,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the parts; their sizes follow from the encoders.

        Args:
            visual: Configuration of the visual encoder.
            skeleton: Configuration of the skeleton encoder, which is never trained here.
            classes: Training identities.
            fusion: More settings of the `PrototypeFusion`.
            updater: More settings of the `PrototypeUpdater`, as `layers`.
            temporal: More settings of the `SkeletonGuidedTemporalModule`, as `heads`.
            without: Leave out `prototypes` of the identities to classify against, the `temporal`
                feature, or the `skeleton` in both.
            weights: Of the identity losses (`id`, 0.25 if not said), of those of single frames
                (`frame`, 0.125), of the triplets (`triplet`), of the prototypes (`prototype`), and
                of the distance of the student, who sees no skeleton, from the guided feature
                (`distill`).
            margin: Of the triplet losses.
            label_smoothing: Of the identity and frame losses.
            temperature: Of the prototype logits at the start; it is learnt.
            student_share: Share of the student's own feature in the temporal losses, beside the
                guided one's.
            gradient_scale: How much of the temporal losses' gradient reaches the visual encoder.
            descriptor: What `predict` describes a clip by.
            neck: Describe it by the features before or after their batch norms. The paper takes
                them before; after, what all persons have in common hides less how they differ.
            skeleton_weight: How much the similarity of skeletons counts beside that of frames
                (1) when the descriptor is `both`.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        use_prototypes, use_temporal, use_skeleton = (part not in without for part in self.parts)
        weights = {"id": 0.25, "frame": 0.125} | dict(weights or {})
        skeleton = skeleton if use_skeleton else None
        super().__init__(visual, skeleton, descriptor, data_preprocessor, neck, weights, without)
        self.classes, self.label_smoothing = classes, label_smoothing
        self.student_share, self.gradient_scale = student_share, gradient_scale
        self.skeleton_weight = skeleton_weight
        self._freeze_skeleton()
        width, dim = self.visual.width, self.visual.out_dim
        heads = {"visual": width, "projected": dim}
        heads |= {"temporal": width, "frame": width} if use_temporal else {}
        self.heads = nn.ModuleDict({name: Head(size, classes) for name, size in heads.items()})
        self.triplet = BatchHardTripletLoss(margin)
        self.fusion = self.updater = self.temporal = None
        if use_prototypes:
            self._build_prototypes(use_skeleton, fusion or {}, updater or {}, temperature)
        if use_temporal:
            skeleton_dim = self.skeleton.out_dim if use_skeleton else None
            sizes: dict[str, Any] = {"dim": width, "skeleton_dim": skeleton_dim}
            self.temporal = SkeletonGuidedTemporalModule(**sizes | (temporal or {}))

    # Whether there are prototypes, as far as was asked: an answer makes the host wait.
    _has_prototypes = False

    def _freeze_skeleton(self) -> None:
        self.skeleton_neck = None
        if self.skeleton is not None:
            self.skeleton.requires_grad_(False)
            # Learns where the features lie, and has no parameters.
            self.skeleton_neck = nn.BatchNorm1d(self.skeleton.out_dim, affine=False)

    def _build_prototypes(
        self,
        use_skeleton: bool,
        fusion: dict[str, Any],
        updater: dict[str, Any],
        temperature: float,
    ) -> None:
        dim = self.visual.out_dim
        self._check_dims(dim)
        if use_skeleton:
            self.fusion = PrototypeFusion(**{"dim": dim} | fusion)
        self.updater = PrototypeUpdater(**{"dim": dim} | updater)
        self.scale = LogitScale(temperature)
        self.register_buffer("visual_prototypes", torch.zeros(self.classes, dim))
        self.register_buffer("skeleton_prototypes", torch.zeros(self.classes, dim))

    def _check_dims(self, dim: int) -> None:
        if self.skeleton is not None and self.skeleton.out_dim != dim:
            raise PipelineError(
                f"the visual encoder gives {dim} numbers and the skeleton encoder "
                f"{self.skeleton.out_dim}. Set `out_dim` of both to the same, as in stage 1"
            )

    def train(self, mode: bool = True) -> "CsipModel":
        """Switch to training; the skeleton encoder stays in evaluation."""
        super().train(mode)
        if self.skeleton is not None:
            self.skeleton.eval()
        return self

    def refresh(self, dataset: Any) -> None:
        """Make the prototypes of all training identities anew."""
        if self.updater is not None:
            self.set_prototypes(*prototypes(self, dataset))

    def set_prototypes(self, visual: Tensor, skeleton: Tensor | None = None) -> None:
        """Take new prototypes of all training identities, `(K, D)`, row by label.

        Make them in evaluation mode, float32, from fixed frames; they are scaled to length one.

        Raises:
            PipelineError: If their shape is not that of the model.
        """
        for name, values in (("visual", visual), ("skeleton", skeleton)):
            bank = getattr(self, f"{name}_prototypes")
            if values is None:
                continue
            if values.shape != bank.shape:
                raise PipelineError(
                    f"{name} prototypes of shape {tuple(values.shape)} came to a model of "
                    f"{tuple(bank.shape)}. Train stage 1 again on this dataset"
                )
            bank.copy_(unit(values.detach()))
        self._has_prototypes = True

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the visual, projected and temporal feature, from frames alone."""
        tokens, projected = self.frame_tokens(inputs)
        features = self._appearance(tokens, projected)
        if self.temporal is not None:
            features["temporal"] = self.temporal(tokens).mean(1)
        return features

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.skeleton_neck if name == "skeleton" else self.heads[name].neck

    def describe(self, inputs: Inputs, descriptor: Descriptor = "visual") -> Tensor:
        """Return the unit descriptors `(B, C)` that retrieval compares.

        With `visual`, the paper's, skeletons in the inputs are not looked at. With `both`, the
        cosine is the weighted mean of those of frames and skeletons; a clip without a good
        skeleton is described by its frames.
        """
        if descriptor != "both":
            return super().describe(inputs, descriptor)
        visual = super().describe(inputs, "visual")
        skeleton = super().describe(inputs, "skeleton") * self.skeleton_weight**0.5
        return unit(torch.cat([visual, skeleton], dim=1))

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss and the accuracy of the visual head."""
        tokens, projected = self.frame_tokens(inputs)
        features = self._appearance(tokens, projected)
        skeleton = self._skeleton_tokens(inputs)
        if skeleton is not None:
            self._locate(skeleton, inputs)
        terms: dict[str, Tensor] = {}
        if self.updater is not None:
            logits = self._prototype_logits(features["projected"], projected, skeleton, inputs)
            terms["prototype"] = F.cross_entropy(logits, labels)
        labels = gather(labels)
        features = {name: gather(feature) for name, feature in features.items()}
        found, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        terms |= found
        if self.temporal is not None:
            for name, term in self._temporal_terms(tokens, skeleton, inputs, labels).items():
                terms[name] = terms.get(name, 0.0) + term
        return terms | {"accuracy": (logits["visual"].argmax(1) == labels).float().mean()}

    @staticmethod
    def _appearance(tokens: Tensor, projected: Tensor) -> dict[str, Tensor]:
        return {"visual": tokens[:, :, 0].mean(1), "projected": projected[:, :, 0].mean(1)}

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def _skeleton_tokens(self, inputs: Inputs) -> Tensor | None:
        if self.skeleton is None or "xyz" not in inputs:
            return None
        with torch.no_grad():
            return self.skeleton(inputs["xyz"], inputs.get("mask"))

    @torch.no_grad()
    def _locate(self, skeleton: Tensor, inputs: Inputs) -> None:
        """Let the skeletons' batch norm see the features of the clips that have one."""
        features = gather(self.skeleton.pool(skeleton, inputs.get("mask")))
        masked_norm(self.skeleton_neck, features, gather(has_skeleton(inputs)))

    def _temporal_terms(
        self, tokens: Tensor, skeleton: Tensor | None, inputs: Inputs, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms of the temporal feature; the labels are those of all processes."""
        if self.gradient_scale != 1:
            tokens = tokens * self.gradient_scale + tokens.detach() * (1 - self.gradient_scale)
        if skeleton is None:
            paths, shares = {"student": gather(self.temporal(tokens))}, {"student": 1.0}
        else:
            student, guided = self.temporal(tokens, skeleton, inputs.get("mask"), both=True)
            paths = {"student": gather(student), "guided": gather(guided)}
            shares = {"student": self.student_share, "guided": 1 - self.student_share}
        clips = {name: frames.mean(1) for name, frames in paths.items()}
        terms = {name: tokens.new_zeros(()) for name in ("id", "triplet", "frame")}
        frame_labels = labels.repeat_interleave(tokens.shape[1])
        for name, share in shares.items():
            logits = self.heads["temporal"](clips[name])
            frame_logits = self.heads["frame"](paths[name].flatten(0, 1))
            terms["id"] = terms["id"] + share * self._cross_entropy(logits, labels)
            terms["triplet"] = terms["triplet"] + share * self.triplet(clips[name], labels)
            frame = self._cross_entropy(frame_logits, frame_labels)
            terms["frame"] = terms["frame"] + share * frame
        if skeleton is not None:
            guide = clips["guided"].detach()
            terms["distill"] = cosine_distance(clips["student"], guide).mean()
        return terms

    def _prototype_logits(
        self, feature: Tensor, projected: Tensor, skeleton: Tensor | None, inputs: Inputs
    ) -> Tensor:
        self._has_prototypes = self._has_prototypes or bool(self.visual_prototypes.any())
        if not self._has_prototypes:
            raise PipelineError(
                "the model has no prototypes yet. Call refresh, as the RefreshHook of stage 2 does"
            )
        prototypes = self.visual_prototypes
        tokens = projected.mean(1)
        if self.fusion is not None:
            prototypes = self.fusion(self.skeleton_prototypes, self.visual_prototypes)
        if skeleton is not None:
            tokens = torch.cat([tokens, masked_mean(skeleton, inputs.get("mask"))], dim=1)
        prototypes = prototypes[None]
        prototypes = prototypes + self.updater(prototypes, tokens)
        return self.scale() * prototype_logits(feature, prototypes)
