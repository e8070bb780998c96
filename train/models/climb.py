"""CLIMB: patches in an order of their own, windows along time, a memory of mean and hard rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from train.memories.cluster import ClusterMemory
from train.memories.passes import over_clips
from train.models.base import Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs, masked_mean
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss
from train.parts.mixers import WindowMixer
from train.parts.pools import SimilarityOrderPool
from train.registry import MODELS


@MODELS.register_module()
class ClimbModel(ReidModel):
    """After CLIMB (AAAI 2025), with attention where it scans.

    Ours: the memory's rows move once a step, from the bank as it stood; windows of a quarter, a
    half and the whole of a clip have one attention each.

    >>> from train.models.climb import ClimbModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> model = ClimbModel(dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16), 5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 208])
    """

    terms = ("memory", "id", "triplet")
    parts = ("memory", "windows", "order")
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        memory: dict[str, Any] | None = None,
        windows: dict[str, Any] | None = None,
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the parts; their sizes follow from the encoder.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training identities.
            skeleton: Not looked at.
            memory: More settings of the `ClusterMemory`: `momentum`, `temperature`.
            windows: More settings of the `WindowMixer`: `parts`, `shared`, `heads`.
            without: Leave out the `memory`, the `windows` along time with the feature they make,
                or the `order` of the patches: then windows see class tokens.
            weights: Of the terms.
            margin: Of the triplet losses.
            label_smoothing: Of the identity losses.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing = label_smoothing
        width, dim = self.visual.width, self.visual.out_dim
        sizes = {"visual": width, "projected": dim}
        self.windows: Any = None
        self.order: Any = None
        self.memory: Any = None
        if "windows" not in self.without:
            settings: dict[str, Any] = {"heads": max(1, width // 64)}
            self.windows = WindowMixer(width, **settings | (windows or {}))
            self.order = None if "order" in self.without else SimilarityOrderPool(width)
            sizes["windows"] = width
        self.heads = nn.ModuleDict({name: Head(size, classes) for name, size in sizes.items()})
        self.triplet = BatchHardTripletLoss(margin)
        if "memory" not in self.without:
            self.memory = ClusterMemory(classes, width + dim, **(memory or {}))
        # Of the batches since the last update: there may be several.
        self._seen: list[tuple[Tensor, Tensor]] = []

    def refresh(self, dataset: Any) -> None:
        """Fill the memory anew with the mean of each training identity."""
        if self.memory is not None:
            self.memory.start(*over_clips(self, dataset, self._remembered))

    def _remembered(self, inputs: Inputs) -> Tensor:
        return self._behind_necks(self.features(inputs))

    def _behind_necks(self, features: Mapping[str, Tensor]) -> Tensor:
        necks = [self.heads[name].neck(features[name]) for name in ("visual", "projected")]
        return torch.cat(necks, dim=1)

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the visual, projected and windowed feature of each clip."""
        tokens, projected = self.frame_tokens(inputs)
        mask = inputs.get("frame_mask")
        features = {
            "visual": masked_mean(tokens[:, :, 0], mask),
            "projected": masked_mean(projected[:, :, 0], mask),
        }
        if self.windows is not None:
            frames = tokens[:, :, 0]
            if self.order is not None:
                frames = self.order(tokens.flatten(0, 1)).unflatten(0, frames.shape[:2])
            features["windows"] = self.windows(frames, mask)
        return features

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.heads[name].neck

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the accuracy of the visual head."""
        labels = gather(labels)
        features = {name: gather(found) for name, found in self.features(inputs).items()}
        terms, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        if self.memory is not None:
            remembered = self._behind_necks(features)
            terms["memory"] = self.memory(remembered, labels)
            if self.training:
                self._seen.append((remembered.detach(), labels))
        return terms | {"accuracy": (logits["visual"].argmax(1) == labels).float().mean()}

    def after_update(self) -> None:
        """Move the memory's rows of the identities seen since the last update."""
        if self._seen:
            features, labels = zip(*self._seen, strict=True)
            self.memory.move(torch.cat(features), torch.cat(labels))
            self._seen.clear()
