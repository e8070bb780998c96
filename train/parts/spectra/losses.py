"""Losses between spectra: an identity is the same in both, and so is where features lie."""

import torch
from torch import Tensor, nn

from train.parts.losses import euclidean, hardest_of
from train.parts.precision import in_float32
from train.registry import MODELS

# Of the mean squared distance: the widths of the kernel of `MmdLoss`.
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def shares(labels: Tensor, spectrum: Tensor) -> Tensor:
    """Return how much of the centre of its identity and spectrum each clip is, `(B, B)`.

    Row i averages the clips of i's identity in i's spectrum.

    >>> shares(torch.tensor([0, 0, 0]), torch.tensor([1, 1, 2]))[0].tolist()
    [0.5, 0.5, 0.0]
    """
    is_same = (labels[:, None] == labels) & (spectrum[:, None] == spectrum)
    return is_same / is_same.sum(1, keepdim=True)


def in_both(labels: Tensor, spectrum: Tensor) -> Tensor:
    """Return `(B,)`: whether a clip's identity is in the batch in the other spectrum too."""
    return across(labels, spectrum).any(1)


def across(labels: Tensor, spectrum: Tensor) -> Tensor:
    """Return `(B, B)`: whose identity is the same and whose spectrum is the other, if known."""
    is_known = (spectrum > 0)[:, None] & (spectrum > 0)
    return (labels[:, None] == labels) & (spectrum[:, None] != spectrum) & is_known


@MODELS.register_module()
class HeteroCentreLoss(nn.Module):
    """The centre of an identity in one spectrum is near its own in the other, far from all others.

    Triplets of centres, of which a batch has one for each identity and spectrum (Liu, Tan and Zhou,
    arXiv 2008.06223).

    >>> from train.parts.spectra.losses import HeteroCentreLoss
    >>> features = torch.tensor([[0.0], [0.1], [9.0], [9.0]])
    >>> HeteroCentreLoss()(features, torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 1, 2])).item()
    0.0
    """

    def __init__(self, margin: float = 0.3) -> None:
        """Take the margin, in units of the features."""
        super().__init__()
        self.margin = margin

    @in_float32
    def forward(self, features: Tensor, labels: Tensor, spectrum: Tensor) -> Tensor:
        """Return the mean over the centres that have one of their identity in the other spectrum.

        Args:
            features: `(B, C)`.
            labels: `(B,)`.
            spectrum: `(B,)`: 1 or 2; clips with 0 are in no centre that counts.
        """
        share = shares(labels, spectrum).to(features)
        distance = euclidean(share @ features)
        is_other = (labels[:, None] != labels) & (spectrum > 0)
        far, near, counts = hardest_of(distance, across(labels, spectrum), is_other)
        # Where there is no other at all, `near` is no number.
        violation = (self.margin + far - torch.where(counts, near, 0.0)).relu()
        # Every centre once, however many clips it is of.
        weight = counts * share.diagonal()
        return (weight * violation).sum() / weight.sum().clamp(min=torch.finfo(share.dtype).eps)


@MODELS.register_module()
class MmdLoss(nn.Module):
    """How differently features lie in both spectra: the squared maximum mean discrepancy.

    Gaussian kernels of five widths about the mean squared distance (Gretton et al., JMLR 2012).
    Only identities that are there in both spectra count, all alike, so that what differs is the
    spectrum and not who is there.

    >>> from train.parts.spectra.losses import MmdLoss
    >>> features = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    >>> MmdLoss()(features, torch.tensor([0, 0, 0, 0]), torch.tensor([1, 1, 2, 2])).item()
    0.0
    """

    @in_float32
    def forward(self, features: Tensor, labels: Tensor, spectrum: Tensor) -> Tensor:
        """Return the discrepancy, zero where no identity is there in both spectra.

        Args:
            features: `(B, C)`.
            labels: `(B,)`.
            spectrum: `(B,)`: 1 or 2; clips with 0 are left out.
        """
        counts = in_both(labels, spectrum)
        weight = shares(labels, spectrum).to(features).diagonal() * counts
        pairs = counts[:, None] & counts
        square = (features[:, None] - features).square().sum(2)
        mean = (square * pairs).sum() / pairs.sum().clamp(min=1)
        mean = mean.detach().clamp(min=torch.finfo(mean.dtype).tiny)
        kernel = torch.stack([(-square / (width * mean)).exp() for width in WIDTHS]).mean(0)
        is_visible = spectrum == 1
        sign = torch.where(is_visible, weight, -weight)
        total = (weight * is_visible).sum().clamp(min=1)
        return (sign @ kernel @ sign / total**2).clamp(min=0)
