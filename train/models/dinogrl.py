"""DinoGRL: how somebody looks and how somebody walks, bands of both that teach each other."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.encoders.gait import SilhouetteEncoder
from train.encoders.stems import by_spectrum, give_stems
from train.models.base import Descriptor, Neck, ReidModel
from train.parts.batch import Inputs, masked_max
from train.parts.exchange import GranularExchange
from train.parts.gather import gather
from train.parts.losses import PartTripletLoss
from train.parts.pyramid import PartHead, PyramidParts
from train.registry import MODELS

STREAMS = ("gait", "appearance")


@MODELS.register_module()
class DinoGrlModel(ReidModel):
    """After DinoGRL (ACM MM 2025, arXiv 2511.04281): a stream of frames and one of silhouettes.

    The maximum over a clip is cut into bands, coarse to fine; the whole of each stream reads the
    bands of the other. A description is the bands of both, as they are, and the distance the mean
    of theirs. The order of frames does not count: that is so in the paper's code too.

    Ours: silhouettes that shards hold in place of a mask on DINOv2 (which is a setting), a smaller
    network for them, stems that add something for infrared light alone.

    >>> from train.models.dinogrl import DinoGrlModel
    >>> cnn = "train.encoders.image.CnnEncoder"
    >>> fine = dict(type=cnn, name="test_resnet", size=(128, 64), out_dim=16, output_stride=8)
    >>> inputs = dict(frames=torch.rand(2, 4, 3, 128, 64), silhouettes=torch.ones(2, 4, 128, 64))
    >>> DinoGrlModel(fine, 5, dim=16)(inputs, mode="predict").shape
    torch.Size([2, 1120])
    """

    needs_at_test = frozenset({"frames", "camids", "spectrum"})
    terms = ("id", "triplet", "mask", "mask_smooth", "part_smooth", "diversity")
    parts = ("gait", "appearance", "exchange", "stems")
    masks_frames = True
    # None where it is left out.
    gait: Any

    def __init__(
        self,
        visual: dict[str, Any],
        classes: int,
        skeleton: dict[str, Any] | None = None,
        gait: dict[str, Any] | None = None,
        dim: int = 256,
        bands: Sequence[int] = (1, 2, 4, 8, 16),
        scale: float = 16.0,
        compare: Literal["euclidean", "cosine"] = "euclidean",
        without: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        margin: float = 0.2,
        label_smoothing: float = 0.1,
        descriptor: Descriptor = "visual",
        neck: Neck = "before",
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        """Build the streams; their sizes follow from the encoders.

        Args:
            visual: Configuration of the visual encoder.
            classes: Training identities.
            skeleton: Not looked at.
            gait: Configuration of an encoder of `train.encoders.gait`; of silhouettes if not said.
            dim: Channels of a band.
            bands: In how many bands rows are cut, one after the other; the whole comes first.
            scale: What cosines with the classes are multiplied with.
            compare: What the distance of two bands is.
            without: Leave out a stream (`gait` or `appearance`), the `exchange` between both, or
                the `stems`: then infrared light enters as visible light does.
            weights: Of the terms; `mask_smooth`, `part_smooth` and `diversity` as published if not
                said.
            margin: Of the triplet losses.
            label_smoothing: Of the identity losses.
            descriptor: `visual`; there is no other.
            neck: Describe a clip by the bands before or after their batch norms.
            data_preprocessor: Configuration of a `ClipPreprocessor`.

        Raises:
            PipelineError: If nothing is left, or the rows cannot be cut into bands.
        """
        self.names = [name for name in STREAMS if name not in without]
        if not self.names:
            raise PipelineError("dinogrl has nothing without gait and appearance. Leave out one")
        weights = {"mask_smooth": 0.02, "part_smooth": 0.01, "diversity": 5.0} | dict(weights or {})
        seen = visual if "appearance" in self.names else None
        super().__init__(seen, None, "visual", data_preprocessor, neck, weights, without)
        self.label_smoothing, self.scale, self.compare = label_smoothing, scale, compare
        widths = self._make_streams(gait)
        self.pyramids = nn.ModuleDict(
            {name: PyramidParts(widths[name], dim, tuple(bands)) for name in self.names}
        )
        self.exchange: Any = None
        self.count = sum(bands)
        if "exchange" not in self.without and len(self.names) == 2:
            self.exchange = GranularExchange(dim, tuple(bands)[1:])
            self.count += len(bands) - 1
        self.heads = nn.ModuleDict(
            {name: PartHead(self.count, dim, classes) for name in self.names}
        )
        self.triplet = PartTripletLoss(margin)

    def _make_streams(self, gait: dict[str, Any] | None) -> dict[str, int]:
        """Make the encoders of the streams that are wanted; return how many channels each gives."""
        widths, self.gait = {}, None
        if "gait" in self.names:
            self.gait = MODELS.build(gait) if gait else SilhouetteEncoder()
            widths["gait"] = self.gait.out_dim
        if "appearance" in self.names:
            widths["appearance"] = self.visual.width
            # Nothing here looks at projected tokens.
            self.visual.proj.requires_grad_(False)
            if "stems" not in self.without:
                give_stems(self.visual)
        return widths

    def looked_at(self) -> frozenset[str]:
        """Return the columns of a batch that a description is made of."""
        return self.needs_at_test | (self.gait.needs_at_test if self.gait is not None else set())

    def comparison(self) -> dict[str, Any]:
        """Return that the distance is the mean over the bands of both streams."""
        parts = self.count * len(self.names)
        return {"kind": "parts", "parts": parts, "metric": self.compare}

    def frame_tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return tokens and projected tokens; infrared frames come through their own stem."""
        if "stems" not in self.without and "spectrum" in inputs:
            frames = inputs["frames"]
            spectrum = inputs["spectrum"].repeat_interleave(frames.shape[1])
            told = by_spectrum(frames.flatten(0, 1), spectrum).unflatten(0, frames.shape[:2])
            inputs = {**inputs, "frames": told}
        return super().frame_tokens(inputs)

    def _bands(self, inputs: Inputs) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the bands `(B, P, D)` of each stream, and losses of the gait encoder's own."""
        mask, found, terms = inputs.get("frame_mask"), {}, {}
        if self.gait is not None:
            cells, terms = self.gait(inputs)
            found["gait"] = self.pyramids["gait"](masked_max(cells, mask))
        if "appearance" in self.names:
            cells = self.frame_tokens(inputs)[0][:, :, 1:]
            cells = masked_max(cells, mask).unflatten(1, self.visual.cells)
            found["appearance"] = self.pyramids["appearance"](cells)
        return found, terms

    def _exchanged(self, bands: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `(B, P + G, D)` of each stream, after the wholes have read the other's bands."""
        if self.exchange is None:
            return bands
        both = self.exchange(*(bands[name] for name in STREAMS))
        return dict(zip(STREAMS, both, strict=True))

    def features(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the bands `(B, P, D)` of each stream."""
        return self._exchanged(self._bands(inputs)[0])

    def neck_of(self, name: str) -> nn.Module:
        """Return the batch norm of a stream, over all its bands at once."""
        return self.heads[name].neck

    def _joined(self, features: Mapping[str, Tensor], inputs: Inputs, neck: Neck) -> Tensor:
        """Return all bands of all streams, one after the other, of the length that they have."""
        if neck == "after":
            features = {name: self.heads[name].normed(found) for name, found in features.items()}
        return torch.cat(list(features.values()), dim=1).flatten(1)

    def losses(self, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms, and the mean accuracy of the bands."""
        bands, terms = self._bands(inputs)
        labels = gather(labels)
        features = self._exchanged({name: gather(found) for name, found in bands.items()})
        identity, triplet, hits = [], [], []
        for name, found in features.items():
            cosines = self.heads[name](found).transpose(1, 2)
            identity.append(
                F.cross_entropy(
                    self.scale * cosines,
                    labels[:, None].expand(-1, cosines.shape[2]),
                    label_smoothing=self.label_smoothing,
                )
            )
            triplet.append(self.triplet(found, labels))
            hits.append((cosines.argmax(1) == labels[:, None]).float().mean())
        terms |= {"id": torch.stack(identity).sum(), "triplet": torch.stack(triplet).sum()}
        return terms | {"accuracy": torch.stack(hits).mean()}
