"""The baseline: who walks there, by the mean of the frames."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from train.models.base import Head, Neck, ReidModel, identity_terms
from train.parts.batch import Inputs, masked_mean
from train.parts.gather import gather
from train.parts.losses import BatchHardTripletLoss
from train.registry import MODELS


@MODELS.register_module()
class VisualModel(ReidModel):
    """The mean of a clip's frames, before and after the encoder's projection.

    >>> import torch
    >>> from train.models.visual import VisualModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> model = VisualModel(dict(type=cnn, name="test_resnet", size=(64, 32), out_dim=16), 5)
    >>> model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape
    torch.Size([2, 112])
    """

    terms = ("id", "triplet")
    masks_frames = True

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        margin: float = 0.3,
        label_smoothing: float = 0.1,
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the encoder and a head for each feature.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training identities.
            skeleton: Not looked at.
            weights: Of the terms `id` and `triplet`.
            margin: Of the triplet losses.
            label_smoothing: Of the identity losses.
            neck: Describe a clip by the features before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.
        """
        super().__init__(visual, None, "visual", data_preprocessor, neck, weights)
        self.label_smoothing = label_smoothing
        sizes = {"visual": self.visual.width, "projected": self.visual.out_dim}
        self.heads = nn.ModuleDict({name: Head(size, classes) for name, size in sizes.items()})
        self.triplet = BatchHardTripletLoss(margin)

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the means of the frames' class tokens, as they are and projected."""
        tokens, projected = self.frame_tokens(inputs)
        mask = inputs.get("frame_mask")
        return {
            "visual": masked_mean(tokens[:, :, 0], mask),
            "projected": masked_mean(projected[:, :, 0], mask),
        }

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a feature."""
        return self.heads[name].neck

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return both terms, and the accuracy of the visual head."""
        features = {name: gather(found) for name, found in self.features(inputs).items()}
        labels = gather(labels)
        terms, logits = identity_terms(
            features, labels, self.heads, self.triplet, self.label_smoothing
        )
        return terms | {"accuracy": (logits["visual"].argmax(1) == labels).float().mean()}
