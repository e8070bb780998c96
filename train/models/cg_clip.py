"""CG-CLIP: a memory that captions refine, and a few tokens that read the whole clip."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.memories.captions import CaptionRefiner, SaidOf
from train.memories.identity import IdentityMemory
from train.memories.passes import over_clips
from train.models.base import Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs, masked_mean
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss, SupConLoss
from train.parts.mixers import TokenResampler
from train.registry import MODELS

WORDS = {"type": "train.encoders.words.WordEncoder"}


@MODELS.register_module()
class CgClipModel(ReidModel):
    """After CG-CLIP (arXiv 2604.07740), on TF-CLIP's memory; no public code.

    Certain are captions that refine the memory, and a fixed number of tokens that read all frames;
    sizes and losses are our reading. Captions teach, and are not looked at afterwards.

    >>> from train.models.cg_clip import CgClipModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> model = CgClipModel(dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16), 5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 208])
    """

    terms = ("memory", "id", "triplet", "caption")
    parts = ("memory", "updater", "captions", "resampler")
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        captions: dict[str, Any] | None = None,
        captions_kept: int = 16,
        updater: dict[str, Any] | None = None,
        resampler: dict[str, Any] | None = None,
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
            captions: The encoder of sentences (`train.encoders.words`); a `WordEncoder` if not
                said. It says what it needs of the data.
            captions_kept: Sentences about an identity that refine its row, at most.
            updater: More settings of the `PrototypeUpdater`.
            resampler: More settings of the `TokenResampler`, as `tokens` or `layers`.
            without: Leave out the `memory` of the identities, its `updater` for each clip, the
                `captions`, or the `resampler`.
            weights: Of the terms; TF-CLIP has `id` 0.25.
            margin: Of the triplet losses.
            label_smoothing: Of identity and memory losses.
            temperature: Of the memory's logits and of the contrast at the start; it is learnt.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing = label_smoothing
        self.triplet = BatchHardTripletLoss(margin)
        width, dim = self.visual.width, self.visual.out_dim
        sizes = {"visual": width, "projected": dim}
        self.resampler: Any = None
        if "resampler" not in self.without:
            settings: dict[str, Any] = {"heads": max(1, width // 64)}
            self.resampler = TokenResampler(width, **settings | (resampler or {}))
            sizes["resampled"] = width
        self.heads = nn.ModuleDict({name: Head(size, classes) for name, size in sizes.items()})
        self.memory: Any = None
        if "memory" not in self.without:
            has_updater = "updater" not in self.without
            self.memory = IdentityMemory(classes, dim, temperature, updater, has_updater)
        self.captions: Any = None
        self.refiner: Any = None
        if "captions" not in self.without:
            self.captions = MODELS.build(WORDS | (captions or {}) | {"out_dim": dim})
            self.contrast = SupConLoss(temperature)
            self._read_captions(classes, captions_kept)

    def _read_captions(self, classes: int, kept: int) -> None:
        if self.memory is not None:
            self.refiner = CaptionRefiner(self.visual.out_dim)
            self.said = SaidOf(classes, kept, self.captions.length, self.captions.kind)

    def refresh(self, dataset: Any) -> None:
        """Remember the mean projected feature of each training identity, and what is said of it."""
        if self.memory is None:
            return
        dim, column = self.visual.out_dim, getattr(self.captions, "column", None)

        def seen_and_said(inputs: Inputs) -> Tensor:
            _, projected = self.frame_tokens(inputs)
            seen = masked_mean(projected[:, :, 0], inputs.get("frame_mask")).float()
            return torch.cat([seen, inputs[column].float()], dim=1) if column else seen

        found, labels = over_clips(self, dataset, seen_and_said)
        self.memory.fill(found[:, :dim], labels)
        if column:
            self.said.fill(found[:, dim:], labels)

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the visual, projected and resampled feature of each clip."""
        return self._features(*self.frame_tokens(inputs), inputs.get("frame_mask"))

    def _features(
        self, tokens: Tensor, projected: Tensor, mask: Tensor | None
    ) -> dict[str, Tensor]:
        features = {
            "visual": masked_mean(tokens[:, :, 0], mask),
            "projected": masked_mean(projected[:, :, 0], mask),
        }
        if self.resampler is not None:
            features["resampled"] = self.resampler(tokens, mask).mean(1)
        return features

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.heads[name].neck

    def rows(self) -> Tensor:
        """Return the rows `(K, D)` of the memory, refined by what is said of each identity."""
        if self.refiner is None:
            return self.memory.rows
        said = self.said.said
        captions = self.captions(said.flatten(0, 1)).unflatten(0, said.shape[:2])
        return self.refiner(self.memory.rows, captions, self.said.has_caption)

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the accuracy of the visual head."""
        tokens, projected = self.frame_tokens(inputs)
        mask = inputs.get("frame_mask")
        features = self._features(tokens, projected, mask)
        terms = {}
        if self.memory is not None:
            seen = masked_mean(projected, mask)
            logits = self.memory(features["projected"], seen, self.rows())
            terms["memory"] = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        labels = gather(labels)
        features = {name: gather(feature) for name, feature in features.items()}
        if self.captions is not None:
            said = inputs[self.captions.column]
            text, has_caption = gather(self.captions(said)), gather(said.ne(0).any(1))
            terms["caption"] = self.contrast(features["projected"], text, labels, has_caption)
        found, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        accuracy = (logits["visual"].argmax(1) == labels).float().mean()
        return terms | found | {"accuracy": accuracy}
