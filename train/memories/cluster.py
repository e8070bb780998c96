"""A memory of the training identities that moves with each batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.memories.prototypes import sums_of
from train.parts.precision import in_float32, unit
from train.registry import MODELS


@MODELS.register_module()
class ClusterMemory(nn.Module):
    """Two rows for each identity: its mean, and what was hardest to recognise of late.

    After CLIMB (AAAI 2025). Both rows move once a step, from the bank as it stood: the public code
    moves the mean row twice, by each sample and then by their mean, after which the old row counts
    for nothing.

    >>> from train.memories.cluster import ClusterMemory
    >>> memory = ClusterMemory(classes=3, dim=4)
    >>> memory.start(torch.eye(3, 4), torch.arange(3))
    >>> memory(torch.eye(3, 4), torch.arange(3)).item() < 1e-6
    True
    """

    bank: Tensor

    def __init__(
        self, classes: int, dim: int, momentum: float = 0.2, temperature: float = 0.05
    ) -> None:
        """Make an empty bank.

        Args:
            classes: Training identities K.
            dim: Channels D.
            momentum: How much of a row stays when it moves.
            temperature: Of the logits.
        """
        super().__init__()
        self.classes, self.momentum, self.temperature = classes, momentum, temperature
        self.register_buffer("bank", torch.zeros(2 * classes, dim))

    @property
    def is_empty(self) -> bool:
        """Whether `start` was not called, and no state was read."""
        return not self.bank.any()

    @torch.no_grad()
    @in_float32
    def start(self, features: Tensor, labels: Tensor) -> None:
        """Set both rows of each identity to the mean direction of its features.

        Args:
            features: `(N, D)` of the training tracklets, made in evaluation mode.
            labels: `(N,)`.
        """
        means = unit(sums_of(unit(features), labels, self.classes)).to(self.bank)
        self.bank.copy_(torch.cat([means, means]))

    @in_float32
    def logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits `(B, K)` against the mean rows and against the hard rows."""
        logits = unit(features) @ self.bank.T / self.temperature
        return logits[:, : self.classes], logits[:, self.classes :]

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of `(B, D)` features against the bank as it stands."""
        mean, hard = self.logits(features)
        return 0.5 * (F.cross_entropy(hard, labels) + F.cross_entropy(mean, labels))

    @torch.no_grad()
    def move(self, features: Tensor, labels: Tensor) -> None:
        """Move the rows of the identities in a batch; those of others stay as they are.

        The mean row moves to the mean of the identity's features, the hard row to the feature
        that is least like the old mean row.

        Args:
            features: `(B, D)`, of all processes.
            labels: `(B,)`.
        """
        features = unit(features.detach()).to(self.bank)
        members = F.one_hot(labels, self.classes).to(features.dtype).T
        counts = members.sum(1, keepdim=True)
        means = members @ features / counts.clamp(min=1.0)
        own = (features * self.bank[labels]).sum(1)
        # Two samples as hard as each other: the first one, on each device and process alike.
        hardness = torch.where(members.bool(), own, torch.inf)
        hardest = features[hardness.argmin(1)]
        target = torch.cat([means, hardest])
        moved = unit(self.momentum * self.bank + (1 - self.momentum) * target)
        is_here = (counts > 0).repeat(2, 1)
        self.bank.copy_(torch.where(is_here, moved, self.bank))
