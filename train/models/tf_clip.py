"""TF-CLIP: a memory of the identities in place of texts, and frames that talk along time."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from train.memories.identity import IdentityMemory, remember
from train.models.base import Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs, masked_mean
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss
from train.parts.mixers import MessageMixer
from train.registry import MODELS


@MODELS.register_module()
class TfClipModel(ReidModel):
    """After TF-CLIP (Yu et al., AAAI 2024, arXiv 2312.09627).

    Ours: cosines with a learnt scale in place of bare products, a gradient from the temporal
    feature into the encoder (the public code cuts it off), heads of their own for clips and
    frames, messages that know their place in time, a memory made with the cameras it is compared
    with.

    >>> import torch
    >>> from train.models.tf_clip import TfClipModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> model = TfClipModel(dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16), 5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 208])
    """

    terms = ("memory", "id", "triplet", "frame")
    parts = ("memory", "updater", "mixer")
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        updater: dict[str, Any] | None = None,
        mixer: dict[str, Any] | None = None,
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        temperature: float = 0.07,
        gradient_scale: float = 1.0,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the parts; their sizes follow from the encoder.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training identities.
            skeleton: Not looked at.
            updater: More settings of the `PrototypeUpdater`.
            mixer: More settings of the `MessageMixer`, as `heads` or `position_code`.
            without: Leave out the `memory` of the identities, its `updater` for each clip, or the
                `mixer` along time.
            weights: Of the terms; the paper has `id` 0.25, and `frame` one over the frames.
            margin: Of the triplet losses.
            label_smoothing: Of identity, frame and memory losses.
            temperature: Of the memory's logits at the start; it is learnt.
            gradient_scale: How much of the temporal losses' gradient reaches the encoder.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing, self.gradient_scale = label_smoothing, gradient_scale
        width, dim = self.visual.width, self.visual.out_dim
        self.mixer = self.updater = None
        sizes = {"visual": width, "projected": dim}
        if "mixer" not in self.without:
            settings: dict[str, Any] = {"dim": width, "heads": _heads(width)}
            self.mixer = MessageMixer(**settings | (mixer or {}))
            sizes |= {"temporal": width, "frame": width}
        self.heads = nn.ModuleDict({name: Head(size, classes) for name, size in sizes.items()})
        self.triplet = BatchHardTripletLoss(margin)
        self.memory = None
        if "memory" not in self.without:
            has_updater = "updater" not in self.without
            self.memory = IdentityMemory(classes, dim, temperature, updater, has_updater)

    def refresh(self, dataset: Any) -> None:
        """Remember the mean projected feature of each training identity."""
        if self.memory is not None:
            remember(self.memory, self, dataset)

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the visual, projected and temporal feature of each clip."""
        return self._features(*self.frame_tokens(inputs), inputs.get("frame_mask"))[0]

    def _features(
        self, tokens: Tensor, projected: Tensor, mask: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the features of the clips by name, and of their frames `(B, T, C)`."""
        features = {
            "visual": masked_mean(tokens[:, :, 0], mask),
            "projected": masked_mean(projected[:, :, 0], mask),
        }
        if self.mixer is None:
            return features, None
        scale = self.gradient_scale
        tokens = tokens * scale + tokens.detach() * (1 - scale)
        frames = self.mixer(tokens, mask).mean(2)
        return features | {"temporal": masked_mean(frames, mask)}, frames

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.heads[name].neck

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the accuracy of the visual head."""
        tokens, projected = self.frame_tokens(inputs)
        features, frames = self._features(tokens, projected, inputs.get("frame_mask"))
        terms = {}
        if self.memory is not None:
            seen = masked_mean(projected, inputs.get("frame_mask"))
            logits = self.memory(features["projected"], seen)
            terms["memory"] = self._cross_entropy(logits, labels)
        labels = gather(labels)
        features = {name: gather(feature) for name, feature in features.items()}
        found, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        terms |= found
        if frames is not None:
            frame_logits = self.heads["frame"](gather(frames).flatten(0, 1))
            terms["frame"] = self._cross_entropy(
                frame_logits, labels.repeat_interleave(frames.shape[1])
            )
        return terms | {"accuracy": (logits["visual"].argmax(1) == labels).float().mean()}

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def _heads(width: int) -> int:
    return max(1, width // 64)
