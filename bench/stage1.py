"""Compare training stage 1 on cached features with running the frozen encoder each time.

Run it:   python -m bench.stage1
"""

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.loader import FRAMES, PEOPLE, render
from bench.measure import Json, compare_seconds, finish
from pipeline.cli import run

if TYPE_CHECKING:
    from train.models.contrast import Stage1Model

# The paper's towers and clips. What the weights are makes no difference to the time.
VISUAL = {"type": "train.encoders.image.VitEncoder"}
SKELETON = {"type": "train.encoders.skeleton.SkeletonGraphTransformer"}
PREPROCESSOR = {
    "type": "train.data.preprocess.ClipPreprocessor",
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
}
# A batch of the recipe: 16 identities with 4 clips each. All batches cost the same.
CLIP, BATCH, RUNS = 8, 64, 3


def train(model: "Stage1Model", data: Any) -> None:
    """Train on one batch: every tracklet some times, other frames of it each time."""
    import torch
    from torch.utils.data import DataLoader

    from train.data.sampler import Draw

    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    draws = [Draw(place % len(data), (0, 0, place)) for place in range(BATCH)]
    for batch in DataLoader(data, BATCH, sampler=draws):
        inputs = model.data_preprocessor(batch)
        loss = model(**inputs, mode="loss")["loss_contrast"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(json_file: Json = None) -> None:
    """Compare a batch of cached features with one that runs the frozen encoder."""
    from train.data.clips import ClipDataset
    from train.data.features import FeatureDataset
    from train.models.contrast import Stage1Model

    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        render(folder)
        model = Stage1Model(
            VISUAL, SKELETON, freeze_visual=True, data_preprocessor=PREPROCESSOR
        ).train()
        clips: dict[str, Any] = {
            "root": str(folder / "data/shards/bench"),
            "clip_frames": CLIP,
            "frame_size": model.visual.size,
        }
        file = folder / "features.npy"
        np.save(file, np.zeros((PEOPLE * FRAMES, model.visual.out_dim), np.float32))
        cached, live = FeatureDataset(str(file), **clips), ClipDataset(**clips)
        found = compare_seconds(
            lambda: train(model, cached), lambda: train(model, live), RUNS, opponent_runs=1
        )
    finish("stage1", {"a batch, frozen CLIP ViT-B/16": found}, json_file)


if __name__ == "__main__":
    run(main)
