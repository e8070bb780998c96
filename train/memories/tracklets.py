"""A memory of the training tracklets, and which of them seem to show one person."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.memories.prototypes import sums_of
from train.parts.precision import in_float32, unit
from train.registry import MODELS

Level = Literal["views", "spectra"]
LEVELS: tuple[Level, ...] = ("views", "spectra")
# Of a tracklet that is no candidate: small, but finite, since a row may have no candidate at all.
_NEVER = -1e4


class Pairs(NamedTuple):
    """Tracklets that are taken for one person: `(M,)` rows of either side, and their cosine."""

    first: Tensor
    second: Tensor
    cosine: Tensor


@MODELS.register_module()
class TrackletMemory(nn.Module):
    """A prototype of each training tracklet, and its likely partners in other views.

    After HiTPro (2026), of which no code is public. A view is a camera in one spectrum. Partners
    are found twice: in other views of one spectrum, and then, between what the first partners have
    in common, in views of another spectrum.

    >>> from train.memories.tracklets import TrackletMemory
    >>> memory = TrackletMemory(tracklets=4, dim=2)
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]])
    >>> memory.start(rows, torch.arange(4), torch.tensor([0, 0, 1, 1]), torch.ones(4))
    >>> memory.mine("views", quantile=0.0)
    >>> memory.pairs("views").second.tolist()
    [2, 3, 0, 1]
    """

    bank: Tensor
    views: Tensor
    spectra: Tensor
    partners: Tensor
    shares: Tensor

    def __init__(
        self,
        tracklets: int,
        dim: int,
        momentum: float = 0.9,
        temperature: float = 0.07,
        softness: float = 0.1,
        most: int = 16,
    ) -> None:
        """Make an empty bank.

        Args:
            tracklets: Training tracklets N.
            dim: Channels D.
            momentum: How much of a row stays when it moves.
            temperature: Of the logits.
            softness: Temperature of the shares that partners have.
            most: Partners of a tracklet that are kept for each level, the most similar ones.
        """
        super().__init__()
        self.momentum, self.temperature, self.softness = momentum, temperature, softness
        self.register_buffer("bank", torch.zeros(tracklets, dim))
        self.register_buffer("views", torch.zeros(tracklets, dtype=torch.long))
        self.register_buffer("spectra", torch.zeros(tracklets, dtype=torch.long))
        size = (len(LEVELS), tracklets, most)
        self.register_buffer("partners", torch.zeros(size, dtype=torch.long))
        self.register_buffer("shares", torch.zeros(size))

    @torch.no_grad()
    @in_float32
    def start(self, features: Tensor, labels: Tensor, cameras: Tensor, spectra: Tensor) -> None:
        """Fill the bank, and forget all partners.

        Args:
            features: `(M, D)` of the tracklets.
            labels: `(M,)`, each tracklet's row; rows of several are their mean direction.
            cameras: `(M,)`.
            spectra: `(M,)`, 0 where unknown.
        """
        self.bank.copy_(unit(sums_of(unit(features), labels, len(self.bank))))
        _, views = torch.unique(torch.stack([cameras, spectra], 1), dim=0, return_inverse=True)
        self.views[labels] = views.to(self.views)
        self.spectra[labels] = spectra.to(self.spectra)
        self.partners.zero_()
        self.shares.zero_()

    @torch.no_grad()
    def mine(self, level: Level, quantile: float) -> None:
        """Find the partners of one level anew.

        Args:
            level: `views` looks at the prototypes; `spectra` at them and their partners of `views`.
            quantile: Pairs are kept that are as similar as this quantile of what is, for each
                tracklet, the most similar one of all other views of the level.
        """
        rows = self.bank if level == "views" else self._groups()
        pairs = mutual_nearest(rows, self.views, self.spectra, level == "spectra", quantile)
        place = LEVELS.index(level)
        partners, shares = _table(pairs, *self.partners.shape[1:], self.softness)
        self.partners[place], self.shares[place] = partners, shares

    def _groups(self) -> Tensor:
        """Return the direction that a tracklet and its partners have in common, `(N, D)`."""
        place = LEVELS.index("views")
        others = self.bank[self.partners[place]] * self.shares[place][..., None]
        return unit(self.bank + others.sum(1))

    def pairs(self, level: Level) -> Pairs:
        """Return who is whose partner; each pair stands there from both sides."""
        place = LEVELS.index(level)
        first, at = torch.nonzero(self.shares[place], as_tuple=True)
        second = self.partners[place][first, at]
        return Pairs(first, second, (self.bank[first] * self.bank[second]).sum(1))

    @in_float32
    def own(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of `(B, D)` features among the tracklets of their own view.

        The own view's most similar other tracklet is left out: who is seen twice by one camera
        would else be a stranger to himself.
        """
        is_own = F.one_hot(labels, len(self.bank)).bool()
        is_view = self.views == self.views[labels][:, None]
        likeness = self.bank[labels] @ self.bank.T
        nearest = likeness.masked_fill(~is_view | is_own, _NEVER).argmax(1)
        left_out = F.one_hot(nearest, len(self.bank)).bool() & ~is_own
        logits = self._logits(features).masked_fill(~is_view | left_out, _NEVER)
        return F.cross_entropy(logits, labels)

    @in_float32
    def across(self, level: Level, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of features against their partners of a level; 0 where none has any."""
        place = LEVELS.index(level)
        is_same = self.spectra == self.spectra[labels][:, None]
        is_other_view = self.views != self.views[labels][:, None]
        allowed = ~is_same if level == "spectra" else is_same & is_other_view
        likely = self._logits(features).masked_fill(~allowed, _NEVER).log_softmax(1)
        shares = self.shares[place][labels]
        terms = -(shares * likely.gather(1, self.partners[place][labels])).sum(1)
        return terms.sum() / (shares.sum(1) > 0).sum().clamp(min=1)

    def _logits(self, features: Tensor) -> Tensor:
        return unit(features) @ self.bank.T / self.temperature

    @torch.no_grad()
    def move(self, features: Tensor, labels: Tensor) -> None:
        """Move the rows of the tracklets in a batch towards the mean of their features.

        Args:
            features: `(B, D)`, of all processes.
            labels: `(B,)`.
        """
        sums = sums_of(unit(features.detach()).to(self.bank), labels, len(self.bank))
        moved = unit(self.momentum * self.bank + (1 - self.momentum) * unit(sums))
        is_here = torch.bincount(labels, minlength=len(self.bank))[:, None] > 0
        self.bank.copy_(torch.where(is_here, moved, self.bank))


def of_segments(features: Tensor, softness: float = 0.1) -> Tensor:
    """Return the prototype `(B, D)` of tracklets from features of their segments, `(B, S, D)`.

    A segment that is unlike the others counts less: somebody else may have walked through it.
    """
    features = unit(features)
    cosine = (features * unit(features.mean(1, keepdim=True))).sum(2)
    weights = (cosine / softness).softmax(1)
    return unit((weights[..., None] * features).sum(1))


@in_float32
def mutual_nearest(
    rows: Tensor, views: Tensor, spectra: Tensor, across: bool, quantile: float
) -> Pairs:
    """Return pairs of tracklets of two views each of which is the other's nearest there.

    Args:
        rows: `(N, D)`, of length 1.
        views: `(N,)`.
        spectra: `(N,)`; a view has one.
        across: Look at views of different spectra, else of one.
        quantile: Of the best cosines of all tracklets; what is less similar is left out.
    """
    groups: Sequence[Tensor] = [
        torch.nonzero(views == view).flatten() for view in torch.unique(views)
    ]
    best = rows.new_full((len(rows),), -torch.inf)
    found = [(views[:0], views[:0], rows[:0, 0])]
    for i, one in enumerate(groups):
        for other in groups[i + 1 :]:
            if (spectra[one[0]] != spectra[other[0]]) != across:
                continue
            cosine = rows[one] @ rows[other].T
            best[one] = torch.maximum(best[one], cosine.amax(1))
            best[other] = torch.maximum(best[other], cosine.amax(0))
            there, back = cosine.argmax(1), cosine.argmax(0)
            at = torch.nonzero(back[there] == torch.arange(len(one), device=there.device))[:, 0]
            found.append((one[at], other[there[at]], cosine[at, there[at]]))
    first, second, cosines = (torch.cat(parts) for parts in zip(*found, strict=True))
    best = best[best.isfinite()]
    if not len(best):
        return Pairs(first, second, cosines)
    keep = cosines >= torch.quantile(best, quantile)
    return Pairs(first[keep], second[keep], cosines[keep])


def _table(pairs: Pairs, tracklets: int, most: int, softness: float) -> tuple[Tensor, Tensor]:
    """Return partners and their shares, `(N, most)` each, of both sides of pairs."""
    rows, partners = (torch.cat(pairs[:2][::step]) for step in (1, -1))
    cosine = torch.cat([pairs.cosine, pairs.cosine])
    order = torch.argsort(cosine, descending=True, stable=True)
    order = order[torch.argsort(rows[order], stable=True)]
    rows, partners, cosine = rows[order], partners[order], cosine[order]
    rank = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
    keep = rank < most
    at = (rows[keep], rank[keep])
    made = torch.zeros(tracklets, most, dtype=torch.long, device=rows.device)
    scores = cosine.new_full((tracklets, most), -torch.inf)
    made[at], scores[at] = partners[keep], cosine[keep] / softness
    # A row without any would be 0 / 0.
    return made, scores.softmax(1).nan_to_num(0.0)
