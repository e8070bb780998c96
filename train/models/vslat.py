"""The ViT-L/14 entry of VReID-XFD: a frozen CLIP with adapters, told how a clip was seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.memories.identity import IdentityMemory, remember
from train.models.base import Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs, masked_mean
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss
from train.parts.pools import AttentionPool
from train.registry import MODELS

# How finely a view is told apart, and where its last bin begins.
BINS = {"altitude_m": (18, 120.0), "distance_m": (18, 170.0), "angle_deg": (3, 90.0)}
VIEWS = {"platform": 2} | {name: count for name, (count, _) in BINS.items()}


@MODELS.register_module()
class VslatModel(ReidModel):
    """After VSLA-CLIP (ECCV 2024) and the VReID-XFD entry (arXiv 2604.04183), from the papers.

    Ours: a memory of the identities in place of texts, adapters and prompts that say nothing at
    the start, pooling and prompts that are trained (in the public code both stay random), prompts
    told by altitude, distance and angle too.

    >>> from train.models.vslat import VIEWS, VslatModel
    >>> vit = "train.encoders.adapters.AdaptedVitEncoder"
    >>> visual = dict(type=vit, name="test_vit", size=(64, 32), out_dim=16, heads=2, views=VIEWS)
    >>> model = VslatModel(visual, 5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 144])
    """

    needs = frozenset({"frames", "platform"})
    needs_at_test = frozenset({"frames", "camids", *VIEWS})
    terms = ("memory", "id", "triplet")
    parts = ("memory", "views", "pool")
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
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
            visual: Configuration of an `AdaptedVitEncoder`.
            classes: Training identities.
            skeleton: Not looked at.
            without: Leave out the `memory`, the `views`: no prompt says how a clip was seen, or
                the `pool` that weighs frames: they count alike.
            weights: Of the terms; the papers have `id` 0.25.
            margin: Of the triplet losses.
            label_smoothing: Of identity and memory losses.
            temperature: Of the memory's logits at the start; it is learnt.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        if "views" in without:
            visual = {**visual, "views": None}
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing = label_smoothing
        width, dim = self.visual.width, self.visual.out_dim
        sizes = {"before": width, "visual": width, "projected": dim}
        self.heads = nn.ModuleDict({name: Head(size, classes) for name, size in sizes.items()})
        self.pools = None
        if "pool" not in self.without:
            self.pools = nn.ModuleDict({name: AttentionPool(size) for name, size in sizes.items()})
        self.triplet, self.memory = BatchHardTripletLoss(margin), None
        if "memory" not in self.without:
            self.memory = IdentityMemory(classes, dim, temperature, with_updater=False)

    def refresh(self, dataset: Any) -> None:
        """Remember the mean projected feature of each training identity."""
        if self.memory is not None:
            remember(self.memory, self, dataset)

    def frame_tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return tokens and projected tokens of the clips."""
        return self._tokens(inputs)[:2]

    def _tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        batch, device = len(inputs["frames"]), inputs["frames"].device
        views = {name: view_codes(inputs, name, batch, device) for name in VIEWS}
        return self.visual.clip_tokens(
            inputs["frames"], views, inputs.get("camids"), inputs.get("frame_mask")
        )

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the pooled class tokens: before the last block, behind it, and projected."""
        tokens, projected, before = self._tokens(inputs)
        frames = {"before": before, "visual": tokens, "projected": projected}
        mask = inputs.get("frame_mask")
        found = {}
        for name, one in frames.items():
            if self.pools is not None:
                found[name] = self.pools[name](one[:, :, 0], mask)[0]
            else:
                found[name] = masked_mean(one[:, :, 0], mask)
        return found

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.heads[name].neck

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the accuracy of the visual head."""
        features, terms = self.features(inputs), {}
        if self.memory is not None:
            logits = self.memory(features["projected"])
            terms["memory"] = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        labels = gather(labels)
        features = {name: gather(feature) for name, feature in features.items()}
        found, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        accuracy = (logits["visual"].argmax(1) == labels).float().mean()
        return terms | found | {"accuracy": accuracy}


def view_codes(inputs: Inputs, name: str, batch: int, device: torch.device) -> Tensor:
    """Return the bin of a view of each clip, `(B,)`, from 1; 0 where it is unknown."""
    if name not in inputs:
        return torch.zeros(batch, dtype=torch.int64, device=device)
    values = inputs[name]
    if name not in BINS:
        return values
    count, limit = BINS[name]
    bins = (values.nan_to_num() / limit * count).long().clamp(0, count - 1) + 1
    return torch.where(values.isnan(), 0, bins)
