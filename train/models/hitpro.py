"""HiTPro: nobody says who is who; tracklets are the classes, and partners are looked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from train.memories.passes import over_clips
from train.memories.tracklets import LEVELS, TrackletMemory, of_segments
from train.models.base import Neck, ReidModel
from train.parts.batch import Inputs
from train.parts.gather import gather
from train.parts.mixers import WindowMixer
from train.parts.pools import AttentionPool
from train.parts.precision import unit
from train.registry import MODELS


@MODELS.register_module()
class HitproModel(ReidModel):
    """After HiTPro (2026): learns from tracklets, of visible light alone or of infrared too.

    Ours, since no code is public: what the terms are in detail, when mining starts, and one
    stem for both spectra.

    >>> from train.models.hitpro import HitproModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> model = HitproModel(dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16), 5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 208])
    """

    needs = frozenset({"frames", "camids"})
    terms = ("own", *LEVELS)
    parts = ("temporal", *LEVELS)
    reads_pids = False
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        memory: dict[str, Any] | None = None,
        segments: int = 3,
        mining: Mapping[str, float] | None = None,
        quantiles: Sequence[float] = (0.7, 0.3),
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the parts; their sizes follow from the encoder.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training tracklets.
            skeleton: Not looked at.
            memory: More settings of the `TrackletMemory`.
            segments: In how many a tracklet is cut for its prototype.
            mining: After which share of the epochs partners are looked for, in other `views` and
                in other `spectra`; 0 where nothing is said.
            quantiles: How similar a pair has to be when mining starts, and in the last epoch
                (`TrackletMemory.mine`).
            without: Leave out attention along time, or the partners of a level.
            weights: Of the terms.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        width, dim = self.visual.width, self.visual.out_dim
        sizes = {"visual": width, "projected": dim}
        self.pools = nn.ModuleDict({name: AttentionPool(size) for name, size in sizes.items()})
        self.temporal: Any = None
        if "temporal" not in self.without:
            self.temporal = WindowMixer(width, heads=max(1, width // 64), parts=(1,))
            sizes["temporal"] = width
        self.necks = nn.ModuleDict({name: nn.BatchNorm1d(size) for name, size in sizes.items()})
        for one in self.necks.values():
            one.bias.requires_grad_(False)
        self.memory = TrackletMemory(classes, sum(sizes.values()), **(memory or {}))
        self.segments, self.mining, self.quantiles = segments, dict(mining or {}), quantiles
        self.levels = tuple(level for level in LEVELS if level not in self.without)
        # Share of the training that is done; all of it where nobody says.
        self.progress = 1.0
        # Of the batches since the last update: there may be several.
        self._seen: list[tuple[Tensor, Tensor]] = []

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Take how far training is."""
        self.progress = epoch / max(epochs - 1, 1)

    def refresh(self, dataset: Any) -> None:
        """Make the prototypes anew, and look for partners once it is time."""
        said, labels = over_clips(self, dataset, self._remembered)
        cameras, spectra = said[:, -2:].long().unbind(1)
        self.memory.start(said[:, :-2], labels, cameras, spectra)
        for level in self.levels:
            start = self.mining.get(level, 0.0)
            if self.progress >= start:
                done = (self.progress - start) / max(1 - start, 1e-9)
                first, last = self.quantiles
                self.memory.mine(level, first + (last - first) * done)

    def _remembered(self, inputs: Inputs) -> Tensor:
        """Return the prototypes of clips, their cameras and spectra, `(B, D + 2)`."""
        tokens, projected = self.frame_tokens(inputs)
        count = min(self.segments, tokens.shape[1])
        mask = inputs["frame_mask"].tensor_split(count, 1)
        frames = zip(
            tokens[:, :, 0].tensor_split(count, 1),
            projected[:, :, 0].tensor_split(count, 1),
            mask,
            strict=True,
        )
        made = [self._behind_necks(self._of_frames(*one)) for one in frames]
        view = [inputs[name].float()[:, None] for name in ("camids", "spectrum")]
        return torch.cat([of_segments(torch.stack(made, 1)), *view], 1)

    def _behind_necks(self, features: Mapping[str, Tensor]) -> Tensor:
        return unit(torch.cat([neck(features[name]) for name, neck in self.necks.items()], 1))

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the pooled frames, as they are and projected, and what attention made of them."""
        tokens, projected = self.frame_tokens(inputs)
        return self._of_frames(tokens[:, :, 0], projected[:, :, 0], inputs.get("frame_mask"))

    def _of_frames(
        self, frames: Tensor, projected: Tensor, mask: Tensor | None
    ) -> dict[str, Tensor]:
        features = {
            name: self.pools[name](own, mask)[0]
            for name, own in (("visual", frames), ("projected", projected))
        }
        if self.temporal is not None:
            features["temporal"] = self.temporal(frames, mask)
        return features

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.necks[name]

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the term of the own view, and one for each level of partners."""
        labels = gather(labels)
        found = self.features(inputs)
        made = self._behind_necks({name: gather(one) for name, one in found.items()})
        if self.training:
            self._seen.append((made.detach(), labels))
        terms = {"own": self.memory.own(made, labels)}
        return terms | {name: self.memory.across(name, made, labels) for name in self.levels}

    def after_update(self) -> None:
        """Move the rows of the tracklets seen since the last update."""
        if self._seen:
            features, labels = zip(*self._seen, strict=True)
            self.memory.move(torch.cat(features), torch.cat(labels))
            self._seen.clear()

    def shown(self, dataset: Any) -> dict[str, float]:
        """Return how many of the pairs that were found are right, and how many were found.

        This alone looks at who is who, and nothing is learnt of it.
        """
        pids = torch.from_numpy(dataset.table["pid"].to_numpy("int64", copy=True))
        found = {}
        for level in self.levels:
            first, second = (rows.cpu() for rows in self.memory.pairs(level)[:2])
            right = (pids[first] == pids[second]) & (pids[first] > 0)
            known = (pids[first] > 0) & (pids[second] > 0)
            wanted = self._wanted(pids, level)
            if len(first) and wanted:
                found[f"{level}_precision"] = float(right.sum() / known.sum().clamp(min=1))
                found[f"{level}_recall"] = float(right.sum() / wanted)
        return found

    def _wanted(self, pids: Tensor, level: str) -> int:
        """Return how many pairs of a level show one person, each counted from both sides."""
        views, spectra = self.memory.views.cpu(), self.memory.spectra.cpu()
        total = 0
        for pid in torch.unique(pids[pids > 0]):
            own = pids == pid
            is_same = spectra[own] == spectra[own][:, None]
            is_other_view = views[own] != views[own][:, None]
            total += int((~is_same if level == "spectra" else is_same & is_other_view).sum())
        return total
