"""A memory of the training identities: the mean of what was seen of each."""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.memories.passes import over_clips
from train.memories.prototypes import sums_of
from train.parts.batch import Inputs, masked_mean
from train.parts.losses import LogitScale
from train.parts.precision import in_float32, unit
from train.parts.prototypes import PrototypeUpdater, prototype_logits
from train.registry import MODELS


@MODELS.register_module()
class IdentityMemory(nn.Module):
    """One row for each identity, that takes the place of a text about it.

    After TF-CLIP (Yu et al., AAAI 2024, arXiv 2312.09627): rows are means of projected class
    tokens, read in the light of each clip by an updater.

    >>> import torch
    >>> from train.memories.identity import IdentityMemory
    >>> memory = IdentityMemory(classes=5, dim=16)
    >>> memory.fill(torch.randn(10, 16), torch.arange(10) % 5)
    >>> memory(torch.randn(3, 16), torch.randn(3, 9, 16)).shape
    torch.Size([3, 5])
    """

    rows: Tensor

    def __init__(
        self,
        classes: int,
        dim: int,
        temperature: float = 0.07,
        updater: dict[str, Any] | None = None,
        with_updater: bool = True,
    ) -> None:
        """Make an empty memory.

        Args:
            classes: Training identities K.
            dim: Channels D.
            temperature: Of the logits at the start; it is learnt.
            updater: More settings of the `PrototypeUpdater`.
            with_updater: Whether clips change what they are compared with.
        """
        super().__init__()
        self.classes, self.scale = classes, LogitScale(temperature)
        self.updater = PrototypeUpdater(**{"dim": dim} | (updater or {})) if with_updater else None
        self.register_buffer("rows", torch.zeros(classes, dim))

    @torch.no_grad()
    @in_float32
    def fill(self, features: Tensor, labels: Tensor) -> None:
        """Set each row to the mean direction of its identity's features.

        Args:
            features: `(N, D)` of the training tracklets, made in evaluation mode.
            labels: `(N,)`.

        Raises:
            PipelineError: If the features are of another size.
        """
        if features.shape[1] != self.rows.shape[1]:
            raise PipelineError(
                f"features of {features.shape[1]} numbers came to a memory of {self.rows.shape[1]}"
            )
        self.rows.copy_(unit(sums_of(unit(features), labels, self.classes)))

    def forward(
        self, features: Tensor, tokens: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Return the logits `(B, K)`: scaled cosines.

        Args:
            features: `(B, D)`.
            tokens: `(B, L, D)` of the clips, for the updater.
            rows: `(K, D)` to compare with in place of the memory's own, as captions refine them.
        """
        memory = (self.rows if rows is None else rows)[None]
        if self.updater is not None and tokens is not None:
            memory = memory + self.updater(memory, tokens)
        return self.scale() * prototype_logits(features, memory.expand(len(features), -1, -1))


def remember(memory: IdentityMemory, model: Any, dataset: Any) -> None:
    """Fill a memory with the projected class tokens of all training clips.

    Args:
        memory: What to fill.
        model: A `ReidModel`; its cameras are told to it as in training.
        dataset: A `ClipDataset`.
    """

    def projected(inputs: Inputs) -> Tensor:
        _, tokens = model.frame_tokens(inputs)
        return masked_mean(tokens[:, :, 0], inputs.get("frame_mask"))

    memory.fill(*over_clips(model, dataset, projected))
