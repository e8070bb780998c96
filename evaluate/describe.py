"""A trained model that describes people anywhere: of a run, or of a folder that was taken away."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evaluate.given import GIVEN, Frame, pictures_of, rows_of
from pipeline.distances import distances_of
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files.reading import reason
from pipeline.schema import VIEW

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.stage import Stage
    from train.trained import Trained

BATCH_CLIPS = 8
_OF_PICTURES = ("frames", "heights", "erased")


class Likeness(NamedTuple):
    """How alike two tracklets are.

    Attributes:
        distance: Smaller is more alike.
        strangers: The share of pairs of two persons that lie as near, as the people say who were
            held out of training; None where none were.
        is_same: Whether the distance lies within the threshold; None where there is none.
    """

    distance: float
    strangers: float | None
    is_same: bool | None


class Describer:
    """A trained model that describes people anywhere.

    >>> describer = Describer.load("walkers")  # doctest: +SKIP
    >>> anna = describer.describe(sorted(Path("anna").glob("*.jpg")))  # doctest: +SKIP
    >>> describer.compare(anna, describer.describe(others)).is_same  # doctest: +SKIP
    False

    Attributes:
        trained: What was trained.
        model: On the device, in evaluation mode.
        threshold: The distance within which two tracklets are taken for one person, or None.
    """

    def __init__(self, trained: "Trained", frames: str, threshold: float | None = None) -> None:
        """Build the model.

        Args:
            trained: What was trained.
            frames: `embed.frames`.
            threshold: Of `compare`.

        Raises:
            PipelineError: If it looks at what cannot be given.
        """
        self.trained, self.threshold = trained, threshold
        self.model: Any = trained.model()
        self._is_dense = frames == "dense"
        known = {*_OF_PICTURES, *GIVEN, "camids", *VIEW}
        if strange := sorted(self.model.looked_at() - known):
            raise PipelineError(
                f"the model looks at {' and '.join(strange)}, which is known of datasets alone. "
                "Use evaluate.embed"
            )

    @classmethod
    def load(cls, folder: str | Path) -> "Describer":
        """Load a folder that `evaluate.publish` wrote, wherever it lies.

        On a GPU if there is one; `CUDA_VISIBLE_DEVICES=` hides it. Nothing is downloaded, and no
        code that the folder may bring along is run.

        Raises:
            PipelineError: If it is none, is damaged, or asks for what is no part of this project.
        """
        from evaluate.publish.folder import CONFIG, FIX, read

        config, trained = read(Path(folder))
        threshold = config.threshold.distance if config.threshold else None
        try:
            return cls(trained, config.preprocessing.frames, threshold)
        except Exception as error:  # classes fail in many ways at settings that make no sense
            file = Path(folder) / CONFIG
            raise PipelineError(f"{file} describes no model ({reason(error)}). {FIX}") from error

    @classmethod
    def of_run(cls, stage: "Stage") -> "Describer":
        """Load the model of stage 2 of a run.

        Raises:
            PipelineError: If it is not trained yet.
        """
        from train.run.processes import choose_device
        from train.trained import Trained

        choose_device(stage.params.runtime.device, deterministic=stage.params.runtime.deterministic)
        return cls(Trained.of(stage), stage.params.embed.frames)

    def describe(
        self,
        frames: Sequence[Frame] = (),
        *,
        camid: int = -1,
        view: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> np.ndarray:
        """Return the feature `(C,)` of a tracklet, made as `evaluate.embed` makes it.

        Args:
            frames: Of one person in their order: `(H, W, 3)` RGB uint8, or files of images.
            camid: Which camera of training saw it; -1 if none did.
            view: How it was seen, by the columns of `pipeline.schema.VIEW`, as
                `{"platform": "aerial"}`.
            given: What a model looks at beside frames, one of each: `xyz` `(T, 17, 3)`, joints
                around the pelvis in metres, NaN where there are none; `kps` `(T, 17, 3)`, x and y
                of COCO joints in pixels, and their score; `silhouettes`, `(H, W)` each, true where
                the person is seen.

        Raises:
            PipelineError: If the model needs what was not given, or it is not as it should be.
        """
        import torch

        from train.data.clips import chunked, split_dense

        count = self._check(frames, given)
        rows, length = np.arange(count), self.trained.clip_frames
        parts = split_dense(rows, length) if self._is_dense else [rows]
        seen = self._seen(camid, view or {})
        made = []
        with torch.no_grad():
            for first in range(0, len(parts), BATCH_CLIPS):
                own = parts[first : first + BATCH_CLIPS]
                clips = [self._clip(frames, given, chunked(part, length)) | seen for part in own]
                batch = {name: torch.stack([one[name] for one in clips]) for name in clips[0]}
                made.append(self.model.test_step({"inputs": batch}).float().cpu().numpy())
        weights = [len(part) for part in parts]
        return np.average(np.concatenate(made), axis=0, weights=weights).astype(np.float32)

    def compare(self, one: np.ndarray, other: np.ndarray) -> Likeness:
        """Return how alike two tracklets are, by their features `(C,)`."""
        from train.run.strangers import share_within

        distance = float(self.distances(one[None], other[None])[0, 0])
        noted = self.trained.strangers
        strangers = share_within(distance, noted) if noted else None
        is_same = None if self.threshold is None else distance <= self.threshold
        return Likeness(distance, strangers, is_same)

    def distances(self, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Return the distances `(N, M)` of `(N, C)` features and `(M, C)` others, float32.

        Raises:
            PipelineError: If they are no features, or of different models.
        """
        queries, gallery = np.asarray(queries), np.asarray(gallery)
        if queries.ndim != 2 or queries.shape[1:] != gallery.shape[1:]:
            raise PipelineError(
                f"features of the shapes {queries.shape} and {gallery.shape} are not compared. "
                "Give those that one model made"
            )
        return distances_of(self.trained.comparison, queries, gallery)[: len(queries)]

    def resemblance(self, frames: Sequence[Frame]) -> np.ndarray:
        """Return how much each place of each frame resembles its class token, `(N, h, w)`.

        It is the cosine between tokens of the visual encoder. Where the class token is the mean of
        the others, as in a convolutional encoder, that is how much a place adds to it.

        Raises:
            PipelineError: If the model looks at more than frames.
        """
        import torch
        import torch.nn.functional as F

        rows = np.arange(self._check(frames, {}))
        clip = self._clip(frames, {}, rows) | self._seen(-1, {})
        with torch.no_grad():
            batch = {"inputs": {name: values[None] for name, values in clip.items()}}
            inputs = self.model.data_preprocessor(batch)["inputs"]
            tokens = F.normalize(self.model.frame_tokens(inputs)[0][0].float(), dim=-1)
        cosine = (tokens[:, 1:] @ tokens[:, :1].mT)[..., 0].cpu().numpy()
        height, width = self.trained.size
        high = round((cosine.shape[1] * height / width) ** 0.5)
        return cosine.reshape(len(frames), high, -1)

    @property
    def needs(self) -> Collection[str]:
        """What it looks at, of `frames`, `xyz`, `kps` and `silhouettes`."""
        return self.model.looked_at() & {"frames", *GIVEN}

    def _check(self, frames: Sequence[Frame], given: Mapping[str, Any]) -> int:
        """Return the number of frames of what was given, one of each."""
        for name in given.keys() - GIVEN.keys():
            raise PipelineError(f"nobody looks at {name!r}. {did_you_mean(name, GIVEN)}")
        whole: dict[str, Any] = {"frames": frames, **given}
        if lacking := sorted(name for name in self.needs if not len(whole.get(name, ()))):
            raise PipelineError(
                f"the model looks at {' and '.join(lacking)}, and none came. Give describe them: "
                "a dataset has skeletons of its frames (docs/own_videos.md)"
            )
        counts = {name: len(values) for name, values in whole.items() if len(values)}
        if len(set(counts.values())) != 1:
            said = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise PipelineError(
                f"a tracklet of {said or 'no frames'} came. Give one of each a frame"
            )
        return next(iter(counts.values()))

    def _seen(self, camid: int, view: Mapping[str, Any]) -> "dict[str, Tensor]":
        import pandas as pd

        from train.data.columns import seen

        for name in view.keys() - set(VIEW):
            raise PipelineError(f"no view is called {name!r}. {did_you_mean(name, VIEW)}")
        row = {"camid": camid} | dict.fromkeys(VIEW, np.nan) | dict(view)
        return {name: values[0] for name, values in seen(pd.DataFrame([row])).items()}

    def _clip(
        self, frames: Sequence[Frame], given: Mapping[str, Any], rows: np.ndarray
    ) -> "dict[str, Tensor]":
        """Return the clip of some frames, as `train.data.tracklets` loads one."""
        import torch

        from train.data.columns import masks, placed, skeletons

        clip = {"frame_mask": torch.ones(len(rows), dtype=torch.bool)}
        sizes = np.ones((len(rows), 2))
        if len(frames):
            pictures, sizes = pictures_of([frames[row] for row in rows], self.trained.size)
            clip["frames"] = torch.from_numpy(pictures).permute(0, 3, 1, 2)
            clip["heights"] = torch.from_numpy(sizes[:, 1].astype(np.int64))
            clip["erased"] = torch.zeros(len(rows), dtype=torch.bool)
        own = {name: rows_of(name, values, rows) for name, values in given.items()}
        if "xyz" in own:
            clip["xyz"], clip["mask"] = skeletons(own["xyz"])
        if "kps" in own:
            clip["kps"] = placed(own["kps"][..., :2], own["kps"][..., 2], sizes)
        if "silhouettes" in own:
            whole = [255 * (one > 0).astype(np.uint8) for one in own["silhouettes"]]
            clip["silhouettes"] = masks(whole, self.trained.size)
        return clip
