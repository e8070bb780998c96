"""The losses of both stages, as parts of their own."""

import math

import torch
from torch import Tensor, nn

from train.parts.precision import in_float32, unit
from train.registry import MODELS


class LogitScale(nn.Module):
    """A learnable inverse temperature.

    >>> round(LogitScale(temperature=0.07)().item(), 3)
    14.286
    """

    def __init__(self, temperature: float = 0.07, limit: float = 100.0) -> None:
        """Start at `1 / temperature` and never pass `limit`, as CLIP does."""
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.limit = limit

    def forward(self) -> Tensor:
        """Return what to multiply cosines with."""
        return self.log_scale.exp().clamp(max=self.limit)


@MODELS.register_module()
class SupConLoss(nn.Module):
    """Draw together what two modalities say of one person (CSIP-ReID, equations 4 and 5).

    >>> from train.parts.losses import SupConLoss
    >>> one_each = torch.eye(2)
    >>> SupConLoss()(one_each, one_each, torch.tensor([0, 1])).item() < 1e-4
    True
    """

    def __init__(self, temperature: float = 0.07) -> None:
        """Start from a temperature, which is learnt."""
        super().__init__()
        self.scale = LogitScale(temperature)

    @in_float32
    def forward(
        self, visual: Tensor, skeleton: Tensor, labels: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        """Return the sum of both directions, on unit vectors.

        Args:
            visual: `(B, C)`.
            skeleton: `(B, C)`.
            labels: `(B,)`; pairs of equal labels are positives, whichever clips they come from.
            keep: `(B,)`, True for clips that count; all do when it is left out.
        """
        logits = self.scale() * unit(visual) @ unit(skeleton).T
        return supcon(logits, labels, keep) + supcon(logits.T, labels, keep)


def supcon(logits: Tensor, labels: Tensor, keep: Tensor | None = None) -> Tensor:
    """Return the mean over anchors of the mean `-log p` of their positives.

    Args:
        logits: `(B, B)`, rows are anchors of one kind, columns are clips of the other.
        labels: `(B,)` of rows and columns.
        keep: `(B,)`, True for rows and columns that count.
    """
    is_positive = labels[:, None] == labels
    if keep is not None:
        is_positive = is_positive & keep & keep[:, None]
        logits = logits.masked_fill(~keep, torch.finfo(logits.dtype).min)
    found = torch.where(is_positive, logits.log_softmax(1), 0.0).sum(1)
    return -mean_of(found / is_positive.sum(1).clamp(min=1), keep)


def mean_of(values: Tensor, keep: Tensor | None) -> Tensor:
    """Return the mean of the `(B,)` values that count; zero if none does.

    No value is picked out: how many there are is known to the device alone, which need not be
    waited for.

    >>> mean_of(torch.tensor([1.0, 9.0]), torch.tensor([True, False])).item()
    1.0
    """
    if keep is None:
        return values.mean()
    return torch.where(keep, values, 0.0).sum() / keep.sum().clamp(min=1)


@MODELS.register_module()
class BatchHardTripletLoss(nn.Module):
    """Each clip's hardest positive must be nearer than its hardest negative, by a margin.

    Euclidean distance of the features as they are (Hermans et al., arXiv 1703.07737).

    >>> from train.parts.losses import BatchHardTripletLoss
    >>> features = torch.tensor([[0.0], [0.1], [9.0], [9.1]])
    >>> BatchHardTripletLoss()(features, torch.tensor([0, 0, 1, 1])).item()
    0.0
    """

    def __init__(self, margin: float = 0.3) -> None:
        """Take the margin, in units of the features."""
        super().__init__()
        self.margin = margin

    @in_float32
    def forward(self, features: Tensor, labels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the mean over the clips that have a positive and a negative in the batch.

        Args:
            features: `(B, C)`.
            labels: `(B,)`.
            keep: `(B,)`, True for clips that count; all do when it is left out.
        """
        furthest, nearest, counts = hardest(features, labels, keep)
        return mean_of((self.margin + furthest - nearest).relu(), counts)


def hardest(
    features: Tensor, labels: Tensor, keep: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distances of the furthest positive and the nearest negative of each clip, `(B,)`.

    And whether it has both; arguments are those of `BatchHardTripletLoss`.
    """
    is_same = labels[:, None] == labels
    known = torch.ones_like(labels, dtype=torch.bool) if keep is None else keep
    pairs = known & known[:, None]
    is_positive = (is_same & pairs).fill_diagonal_(False)
    is_negative = ~is_same & pairs
    return hardest_of(torch.cdist(features, features), is_positive, is_negative)


def hardest_of(
    distance: Tensor, is_positive: Tensor, is_negative: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `hardest` does, of distances `(B, B)` and of who is whose positive and negative.

    Args:
        distance: `(B, B)`, none below zero; rows are anchors.
        is_positive: `(B, B)`.
        is_negative: `(B, B)`.
    """
    furthest = distance.masked_fill(~is_positive, 0.0).max(1).values
    nearest = distance.masked_fill(~is_negative, torch.inf).min(1).values
    return furthest, nearest, is_positive.any(1) & is_negative.any(1)


@MODELS.register_module()
class PartTripletLoss(nn.Module):
    """All triplets of a batch, part by part; the mean is over those that violate the margin.

    After GaitSet (arXiv 1811.06186): an anchor is its own positive too.

    >>> from train.parts.losses import PartTripletLoss
    >>> parts = torch.tensor([0.0, 0.0, 9.0, 9.0])[:, None, None].expand(4, 2, 1)
    >>> PartTripletLoss()(parts, torch.tensor([0, 0, 1, 1])).item()
    0.0
    """

    def __init__(self, margin: float = 0.2) -> None:
        """Take the margin, in units of the features."""
        super().__init__()
        self.margin = margin

    @in_float32
    def per_part(self, parts: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each part, `(P,)`, of `(B, P, C)` features."""
        distance = euclidean(parts.transpose(0, 1))
        is_same = labels[:, None] == labels
        violation = (self.margin + distance[..., None] - distance[:, :, None]).relu()
        counts = is_same[:, :, None] & ~is_same[:, None]
        violation = (violation * counts).flatten(1)
        return violation.sum(1) / (violation > 0).sum(1).clamp(min=1)

    def forward(self, parts: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the parts."""
        return self.per_part(parts, labels).mean()


@MODELS.register_module()
class VisibleTripletLoss(nn.Module):
    """The hardest triplets of each part, among the clips that show it.

    >>> from train.parts.losses import VisibleTripletLoss
    >>> parts = torch.tensor([0.0, 0.0, 9.0, 9.0])[:, None, None].expand(4, 2, 1)
    >>> is_visible = torch.ones(4, 2, dtype=torch.bool)
    >>> VisibleTripletLoss()(parts, torch.tensor([0, 0, 1, 1]), is_visible).item()
    0.0
    """

    def __init__(self, margin: float = 0.3) -> None:
        """Take the margin, in units of the features."""
        super().__init__()
        self.margin = margin

    @in_float32
    def forward(self, parts: Tensor, labels: Tensor, is_visible: Tensor) -> Tensor:
        """Return the mean over anchors that have a positive and a negative which show the part.

        Args:
            parts: `(B, P, C)`.
            labels: `(B,)`.
            is_visible: `(B, P)`.
        """
        distance = euclidean(parts.transpose(0, 1))
        shown = is_visible.T[:, :, None] & is_visible.T[:, None]
        is_same = labels[:, None] == labels
        is_self = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive, negative = shown & is_same & ~is_self, shown & ~is_same
        far = distance.masked_fill(~positive, 0.0).amax(2)
        near = distance.masked_fill(~negative, torch.finfo(distance.dtype).max).amin(2)
        counts = positive.any(2) & negative.any(2)
        violation = (self.margin + far - near.where(counts, far.detach())).relu() * counts
        return violation.sum() / counts.sum().clamp(min=1)


@MODELS.register_module()
class CentreLoss(nn.Module):
    """Half the mean squared distance of features from a learnt centre of their identity.

    Wen et al., ECCV 2016.

    >>> from train.parts.losses import CentreLoss
    >>> loss = CentreLoss(classes=2, dim=3)
    >>> loss(loss.centres[[0, 1]], torch.tensor([0, 1])).item()
    0.0
    """

    def __init__(self, classes: int, dim: int) -> None:
        """Make a centre of `dim` channels for each of the identities."""
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, dim))

    @in_float32
    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of features `(B, C)`."""
        return 0.5 * (features - self.centres[labels]).square().sum(1).mean()


@MODELS.register_module()
class WeightedTripletLoss(nn.Module):
    """Far positives and near negatives count more, and there is no margin (AGW, arXiv 2001.04193).

    >>> from train.parts.losses import WeightedTripletLoss
    >>> features = torch.tensor([[0.0], [0.0], [999.0], [999.0]])
    >>> WeightedTripletLoss()(features, torch.tensor([0, 0, 1, 1])).item()
    0.0
    """

    @in_float32
    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the clips of `(B, C)` features."""
        distance = euclidean(features)
        is_same = labels[:, None] == labels
        lowest = torch.finfo(distance.dtype).min
        far = distance.masked_fill(~is_same, lowest).softmax(1) * is_same
        near = (-distance).masked_fill(is_same, lowest).softmax(1) * ~is_same
        return nn.functional.softplus((distance * (far - near)).sum(1)).mean()


def euclidean(features: Tensor) -> Tensor:
    """Return the distances `(..., N, N)` of `(..., N, C)`; between equals the gradient is zero."""
    square = (features[..., :, None, :] - features[..., None, :, :]).square().sum(-1)
    is_zero = square == 0
    return square.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)


def no_loss(model: nn.Module) -> Tensor:
    """Return the loss of a batch that has nothing to compare: zero.

    It depends on all trained parameters, for whose gradients DistributedDataParallel waits.
    """
    return 0.0 * sum(one.sum() for one in model.parameters() if one.requires_grad)
