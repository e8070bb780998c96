"""HAMoBE: experts for appearance, shape and gait on a frozen encoder, weighed for each pair."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from train.models.base import Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs
from train.parts.experts import (
    AppearanceExpert,
    GaitExpert,
    PairGate,
    PairTripletLoss,
    ShapeExpert,
    TapMixer,
    imbalance,
)
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss
from train.parts.precision import unit
from train.registry import MODELS

EXPERTS = {"appearance": AppearanceExpert, "shape": ShapeExpert, "gait": GaitExpert}


@MODELS.register_module()
class HamobeModel(ReidModel):
    """After HAMoBE (ICCV 2025, arXiv 2508.05038), of which the abstract and figures are known.

    Certain are the frozen encoder, several of its layers, three experts and a gate that looks at
    query and gallery; all sizes, losses and the form of the gate are ours. A description is the
    experts' features, one after the other, and what the gate looks at: `pipeline.distances` weighs
    them for each pair as training did.

    >>> from train.models.hamobe import HamobeModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> visual = dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16)
    >>> model = HamobeModel(visual, 5, experts=dict(dim=32))
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 128])
    """

    terms = ("id", "triplet", "clothes", "pairs", "balance")
    parts = (*EXPERTS, "gate")
    keeps_encoder = True
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        experts: dict[str, Any] | None = None,
        gate_width: int = 32,
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the experts; the encoder stays as it comes.

        Args:
            visual: Configuration of the visual encoder, which shows its inner layers.
            classes: Training identities.
            skeleton: Not looked at.
            experts: `dim` and `heads` of the experts.
            gate_width: Numbers of a clip that the gate looks at.
            without: Leave out an expert, or the `gate`: the others count alike.
            weights: Of the terms; `id` 0.25 and `balance` 0.01 if not said.
            margin: Of the triplet losses.
            label_smoothing: Of the identity losses.
            neck: Describe a clip, and let the gate look at it, by the features before or after
                their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        weights = {"id": 0.25, "balance": 0.01} | dict(weights or {})
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing = label_smoothing
        self.visual.requires_grad_(False)
        settings: dict[str, Any] = {"dim": 256, "heads": 4} | (experts or {})
        dim, names = settings["dim"], [name for name in EXPERTS if name not in self.without]
        widths = self.visual.tap_widths
        self.mixers = nn.ModuleDict({name: TapMixer(widths, **settings) for name in names})
        self.experts = nn.ModuleDict({name: EXPERTS[name](**settings) for name in names})
        self.heads = nn.ModuleDict({name: Head(dim, classes) for name in names})
        self.gate: Any = None
        if "gate" not in self.without and len(names) > 1:
            self.gate = PairGate(len(names), dim, gate_width)
        self.triplet, self.pair_triplet = BatchHardTripletLoss(margin), PairTripletLoss(margin)

    def train(self, mode: bool = True) -> "HamobeModel":
        """Switch to training; the encoder stays in evaluation."""
        super().train(mode)
        self.visual.eval()
        return self

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the feature `(B, D)` of each expert."""
        frames, camids = inputs["frames"], inputs.get("camids")
        batch, mask = frames.shape[:2], inputs.get("frame_mask")
        if camids is not None:
            camids = camids.repeat_interleave(batch[1])
        with torch.no_grad():
            taps = self.visual.taps(frames.flatten(0, 1), camids)
        taps = [tap.unflatten(0, batch) for tap in taps]
        return {
            name: expert(self.mixers[name](taps), mask) for name, expert in self.experts.items()
        }

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of an expert's feature."""
        return self.heads[name].neck

    def _joined(self, features: Mapping[str, Tensor], inputs: Inputs, neck: Neck) -> Tensor:
        """Return `(B, E D + U)`: the experts' features, together of length one, and the gate's."""
        found = self._stacked(features, neck)
        descriptors = unit(unit(found).flatten(1))
        if self.gate is None:
            return descriptors
        return torch.cat([descriptors, self.gate.asks(found)], dim=1)

    def _stacked(self, features: Mapping[str, Tensor], neck: Neck) -> Tensor:
        """Return the features `(B, E, D)` that are compared."""
        is_after = neck == "after"
        made = [self.neck_of(n)(one) if is_after else one for n, one in features.items()]
        return torch.stack(made, dim=1)

    def comparison(self) -> dict[str, Any]:
        """Return the gate, with which descriptors are compared."""
        if self.gate is None:
            return super().comparison()
        return self.gate.comparison() | {"names": list(self.experts)}

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, the mean accuracy of the heads, and how much each expert counts."""
        features = {name: gather(found) for name, found in self.features(inputs).items()}
        labels = gather(labels)
        terms, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        if "shape" in features and "clothes" in inputs:
            shape = unit(features["shape"])
            apart = (1 - shape @ shape.T).clamp(min=0)
            terms["clothes"] = self.pair_triplet(apart, labels, gather(inputs["clothes"]))
        if self.gate is not None:
            found = self._stacked(features, self.neck)
            scores, weights = self.gate(found, self.gate.asks(found))
            terms["pairs"] = self.pair_triplet((1 - scores).clamp(min=0), labels)
            terms["balance"] = imbalance(weights)
            shares = weights.flatten(1).mean(1)
            terms |= {f"counts_{n}": one for n, one in zip(features, shares, strict=True)}
        hits = [(one.argmax(1) == labels).float().mean() for one in logits.values()]
        return terms | {"accuracy": torch.stack(hits).mean()}
