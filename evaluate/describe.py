"""A trained model, describing frames from anywhere."""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.stage import Stage

BATCH_CLIPS = 8


class Embedder:
    """A trained model, describing frames from anywhere.

    Attributes:
        weights: Its file.
        model: On the device, in evaluation mode.
        clip_frames: Frames of a clip.
        size: Height and width of a frame in pixels.
    """

    def __init__(self, stage: "Stage") -> None:
        """Load the model of stage 2.

        Raises:
            PipelineError: If it is not trained yet, or looks at skeletons instead of frames.
        """
        from train.run.processes import choose_device
        from train.trained import Trained

        choose_device(stage.params.runtime.device, deterministic=stage.params.runtime.deterministic)
        trained = Trained.of(stage)
        extracted = {"xyz", "kps", "silhouettes"} & set(trained.about["clips"]["needs"])
        if trained.descriptor != "visual" or extracted:
            raise PipelineError(
                f"the model looks at {' and '.join(sorted(extracted)) or 'skeletons'}, and new "
                "frames have none. Make a dataset of them (docs/own_videos.md)"
            )
        self.weights, self.model = trained.file, trained.model()
        self.clip_frames, self.size = trained.clip_frames, trained.size
        self._is_dense = stage.params.embed.frames == "dense"

    def feature(self, frames: list[np.ndarray]) -> np.ndarray:
        """Return the feature `(C,)` of a tracklet, made as `evaluate.embed` makes it."""
        import torch

        from train.data.clips import chunked, split_dense

        rows = np.arange(len(frames))
        parts = split_dense(rows, self.clip_frames) if self._is_dense else [rows]
        clips = torch.stack([self._clip(frames, chunked(part, self.clip_frames)) for part in parts])
        with torch.no_grad():
            made = [
                self.model.test_step({"inputs": self._inputs(part)}).float().cpu().numpy()
                for part in clips.split(BATCH_CLIPS)
            ]
        weights = [len(part) for part in parts]
        return np.average(np.concatenate(made), axis=0, weights=weights).astype(np.float32)

    def resemblance(self, frames: list[np.ndarray]) -> np.ndarray:
        """Return how much each place of each frame resembles its class token, `(N, h, w)`.

        It is the cosine between tokens of the visual encoder. Where the class token is the mean of
        the others, as in a convolutional encoder, that is how much a place adds to it.
        """
        import torch
        import torch.nn.functional as F

        clip = self._clip(frames, np.arange(len(frames)))[None]
        with torch.no_grad():
            inputs = self.model.data_preprocessor({"inputs": self._inputs(clip)})["inputs"]
            tokens = F.normalize(self.model.frame_tokens(inputs)[0][0].float(), dim=-1)
        cosine = (tokens[:, 1:] @ tokens[:, :1].mT)[..., 0].cpu().numpy()
        rows = round((cosine.shape[1] * self.size[0] / self.size[1]) ** 0.5)
        return cosine.reshape(len(frames), rows, -1)

    def _clip(self, frames: list[np.ndarray], rows: np.ndarray) -> Any:
        import torch

        resized = [
            frame
            if frame.shape[:2] == self.size
            else cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_AREA)
            for frame in (frames[row] for row in rows)
        ]
        return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()

    def _inputs(self, clips: Any) -> dict[str, Any]:
        import torch

        from train.data.columns import unseen

        count, length = clips.shape[:2]
        return {
            "frames": clips,
            "frame_mask": torch.ones(count, length, dtype=torch.bool),
            "camids": torch.zeros(count, dtype=torch.int64),
        } | {name: values.repeat(count) for name, values in unseen().items()}
