"""What the models have in common: two towers, heads, and the descriptors made of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from pipeline.errors import PipelineError, did_you_mean
from train.parts.batch import Inputs, has_skeleton, only
from train.parts.precision import unit
from train.registry import MODELS

Descriptor = Literal["visual", "skeleton", "both"]
Neck = Literal["before", "after"]


class ReidModel(BaseModel):
    """What the models of both stages share: two towers and the descriptors made from them.

    A system is a subclass with `features`, `losses`, and what it says of itself here.

    Attributes:
        needs: Columns of a batch (`train.parts.batch`) that training looks at.
        needs_at_test: Those that a description is made of; `predict` sees no other.
        terms: Names of the terms that `losses` returns; `weights` says what each counts.
        parts: What may be left out of it: `without`.
        keeps_encoder: Whether the visual encoder stays as it comes; runs start from a trained one.
        reads_pids: Whether it learns who is who; else each training tracklet is a class of its own.
        masks_frames: Whether it heeds `frame_mask`; else clips are never padded (the data sets
            repeat frames of short tracklets).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"frames"})
    needs_at_test: ClassVar[frozenset[str]] = frozenset({"frames", "camids"})
    terms: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[str, ...]] = ()
    keeps_encoder: ClassVar[bool] = False
    reads_pids: ClassVar[bool] = True
    masks_frames: ClassVar[bool] = False
    # Whatever conf/encoder and conf/skeleton name; None where a system has no such tower.
    visual: Any
    skeleton: Any
    heads: Any

    def __init__(
        self,
        visual: dict[str, Any] | None,
        skeleton: dict[str, Any] | None,
        descriptor: Descriptor,
        data_preprocessor: dict[str, Any] | None,
        neck: Neck = "before",
        weights: Mapping[str, float] | None = None,
        without: Sequence[str] = (),
    ) -> None:
        """Build the towers; either may be left out.

        Args:
            visual: Configuration of the visual encoder.
            skeleton: Configuration of the skeleton encoder.
            descriptor: What `predict` describes a clip by.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
            neck: Describe it by the features before or after their batch norms.
            weights: What each term of the loss counts; 1 where nothing is said.
            without: Names of `parts` that are left out.

        Raises:
            PipelineError: If there is no such term or part.
        """
        # MMEngine would look it up in its own registry unless its Runner set the scope.
        super().__init__(MODELS.build(data_preprocessor) if data_preprocessor else None)
        self.visual = MODELS.build(visual) if visual else None
        self.skeleton = MODELS.build(skeleton) if skeleton else None
        self.descriptor, self.neck = descriptor, neck
        self.check(weights or {}, without)
        self.weights, self.without = dict(weights or {}), frozenset(without)

    @classmethod
    def check(cls, weights: Collection[str], without: Collection[str]) -> None:
        """Check that terms of the loss and parts are some of this system.

        Raises:
            PipelineError: If not; the message names the nearest right one.
        """
        for names, known, what in (
            (weights, cls.terms, "term of the loss"),
            (without, cls.parts, "part to leave out"),
        ):
            for name in names:
                if name not in known:
                    hint = did_you_mean(name, known) if known else "It has none"
                    raise PipelineError(f"{cls.__name__} has no {what} {name!r}. {hint}")

    def forward(
        self, inputs: Inputs, labels: Tensor | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Tensor:
        """Return losses (`loss`), the descriptors `(B, C)` (`predict`) or features (`tensor`)."""
        if mode == "loss":
            return self._weighed(self.losses(inputs, labels))
        if mode == "predict":
            return self.describe(only(inputs, self.looked_at()), self.descriptor)
        return self.features(inputs)

    def looked_at(self) -> frozenset[str]:
        """Return the columns of a batch that a description is made of, as it is asked for."""
        return self.needs_at_test | ({"xyz"} if self.descriptor != "visual" else set())

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss by name, unweighted, and what else the log should show."""
        raise NotImplementedError

    def _weighed(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what MMEngine adds up, `loss_<term>`, and what it only shows."""
        made = {}
        for name, value in found.items():
            if name in self.terms:
                made[f"loss_{name}"] = self.weights.get(name, 1.0) * value
            else:
                made[name] = value.detach()
        return made

    def comparison(self) -> dict[str, Any]:
        """Return what the distance of two descriptors is (`pipeline.distances`)."""
        return {"kind": "cosine"}

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Be told how far training is: epochs done, of how many; called before `refresh`."""

    def shown(self, dataset: Any) -> dict[str, float]:
        """Return what the curves should show of what was refreshed; nothing is learnt of it."""
        return {}

    def refresh(self, dataset: Any) -> None:
        """Make anew what is made of all training clips; called before an epoch by `RefreshHook`.

        Args:
            dataset: A `ClipDataset`; `dataset[i]` with a plain index changes nothing.
        """

    def after_update(self) -> None:
        """Move what follows the weights without a gradient; called after every update."""

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
        return self._joined(self._features_of(descriptor, inputs), inputs, self.neck)

    def describe_at_necks(self, inputs: Inputs, descriptor: Descriptor) -> dict[Neck, Tensor]:
        """Return the descriptors before and after the necks: the encoders run once for both."""
        features = self._features_of(descriptor, inputs)
        return {neck: self._joined(features, inputs, neck) for neck in get_args(Neck)}

    def _features_of(self, descriptor: Descriptor, inputs: Inputs) -> dict[str, Tensor]:
        if descriptor == "skeleton":
            return {"skeleton": self.skeleton_feature(inputs)}
        return self.features(inputs)

    def _joined(self, features: Mapping[str, Tensor], inputs: Inputs, neck: Neck) -> Tensor:
        if neck == "after":
            features = {name: self.neck_of(name)(feature) for name, feature in features.items()}
        made = unit(torch.cat(list(features.values()), dim=1))
        # Behind a neck, what is made of no skeleton would be a place like any other.
        return made * has_skeleton(inputs)[:, None] if "skeleton" in features else made

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


def identity_terms(
    features: Mapping[str, Tensor],
    labels: Tensor,
    heads: Mapping[str, nn.Module],
    triplet: nn.Module,
    label_smoothing: float,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the sums of identity and of triplet losses over features, and their logits by name.

    Args:
        features: `(B, C)` each, of all processes.
        labels: `(B,)` of all processes.
        heads: One for each feature.
        triplet: A loss of features and labels.
        label_smoothing: Of the identity losses.
    """
    logits: dict[str, Tensor] = {}
    identity = triplets = labels.new_zeros((), dtype=next(iter(features.values())).dtype)
    for name, feature in features.items():
        logits[name] = heads[name](feature)
        loss = F.cross_entropy(logits[name], labels, label_smoothing=label_smoothing)
        identity = identity + loss
        triplets = triplets + triplet(feature, labels)
    return {"id": identity, "triplet": triplets}, logits


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
