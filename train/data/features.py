"""Visual features of a frozen encoder, computed once and kept."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner import set_random_seed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from pipeline import console, machine, paths
from pipeline.code.fingerprint import fingerprint
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.files.arrays import read_npy, read_npz
from pipeline.stage import Stage
from shards.columns import mapped
from train.data.clips import ClipDataset
from train.registry import DATASETS, MODELS
from train.run.compose import Config
from train.run.processes import device, share, wait_for_all

CHUNK_TRACKLETS = 256
FRAMES = 64


@DATASETS.register_module()
class FeatureDataset(ClipDataset):
    """Training clips with the visual feature of the clip in place of its frames.

    The mean over the frames of a clip is taken here, so a batch is as small as its skeletons.

    Args:
        features: File that `cached_features` returned.
        options: As for `ClipDataset`.
    """

    def __init__(self, features: str, **options: Any) -> None:
        """Map the features into memory."""
        settings: dict[str, Any] = options | {"needs": ["xyz"]}
        super().__init__(**settings)
        self._features = np.load(features, mmap_mode="r")

    def clip(self, rows: np.ndarray, position: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Load skeletons and the mean feature of the frames at some global rows."""
        visual = torch.from_numpy(self._features[rows].mean(0))
        return super().clip(rows, position, rng) | {"visual": visual}


class _WholeTracklets(Dataset[tuple[np.ndarray, Tensor, int]]):
    """Whole tracklets: global rows, frames `(n, 3, H, W)` and camera."""

    def __init__(self, clips: ClipDataset) -> None:
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Tensor, int]:
        rows = self._clips.readable(index)
        return rows, self._clips.decoded(rows), int(self._clips.table["camid"].iat[index])


def cached_features(stage: Stage, config: Config, files: Sequence[Path]) -> Path:
    """Return the file of projected features of all training frames, `(F, D)` by global row.

    Args:
        stage: The command.
        config: The composed configuration, with a `ClipDataset`.
        files: What the features depend on: shards and weights.
    """
    model, data = config["model"], config["train_dataloader"]["dataset"]
    decides = {name: model[name] for name in ("visual", "data_preprocessor")}
    decides |= {name: data[name] for name in ("limit", "held_out", "frame_size")}
    decides |= config["randomness"]
    decides["precision"] = config["optim_wrapper"]["precision"]
    decides["code"] = digest(stage.name, stage.key, stage.params)
    folder = paths.work_dir("visual", stage.key, fingerprint(*files, **decides))
    final = folder / "features.npy"
    is_there = _is_whole(final, 2)
    # Nobody may look after another has finished it.
    wait_for_all()
    if is_there:
        return final
    clips: ClipDataset = DATASETS.build(dict(data))
    starts = range(0, len(clips), CHUNK_TRACKLETS)
    chunks = [folder / f"chunk-{start:08d}.npz" for start in starts]
    encode = _Encoder(model, config["randomness"]["seed"], decides["precision"])
    whole = {chunk for chunk in chunks if _is_whole_chunk(chunk)}
    done = len(whole) * CHUNK_TRACKLETS
    with console.progress(len(clips), "tracklets", "visual features", done) as meter:
        for start, chunk in share(zip(starts, chunks, strict=True)):
            if chunk in whole:
                continue
            part = Subset(
                _WholeTracklets(clips), range(start, min(start + CHUNK_TRACKLETS, len(clips)))
            )
            machine.check_readers(stage.params.runtime.workers, 1, {"frames": part[0][1]})
            loader = DataLoader(part, None, num_workers=stage.params.runtime.workers)
            found = [
                (rows, encode(frames, camid)) for rows, frames, camid in _counted(loader, meter)
            ]
            rows, features = (np.concatenate(column) for column in zip(*found, strict=True))
            with paths.write_atomic(chunk) as temporary, temporary.open("wb") as opened:
                np.savez(opened, rows=rows, features=features)
    # Each process described a share; the first one joins them.
    if wait_for_all():
        _join(chunks, final, len(clips.shards))
    wait_for_all()
    return final


def _is_whole(file: Path, axes: int) -> bool:
    """Return whether an array that an earlier run made is there, and can be read."""
    try:
        return read_npy(file, "", mmap_mode="r").ndim == axes
    except PipelineError:
        return False


def _is_whole_chunk(file: Path) -> bool:
    try:
        rows, features = read_npz(file, ("rows", "features"), "")
        return rows.ndim == 1 and features.ndim == 2 and len(rows) == len(features)
    except PipelineError:
        return False


def _counted(loader: DataLoader, meter: console.Meter) -> Iterator[Any]:
    for item in loader:
        yield item
        meter.advance()


def _join(chunks: list[Path], final: Path, frames: int) -> None:
    with paths.write_atomic(final) as temporary:
        array = None
        for chunk in chunks:
            rows, features = read_npz(chunk, ("rows", "features"), "Run the same command again")
            if array is None:
                shape = (frames, features.shape[1])
                array = mapped(temporary, np.float32, shape)
            array[rows] = features
        array.flush()
    for chunk in chunks:
        chunk.unlink()


class _Encoder:
    """The visual encoder that the Runner will build and keep frozen, with its preprocessing."""

    def __init__(self, model: Config, seed: int, precision: str) -> None:
        # Parts that no weights file holds, such as a projection, come from the seed.
        set_random_seed(seed)
        built = MODELS.build(json.loads(json.dumps(model)))
        built.visual.init_weights()
        self._device = torch.device(device())
        built.to(self._device).eval()
        self._visual, self._prepare = built.visual, built.data_preprocessor
        self._dtype = getattr(torch, precision)

    @torch.no_grad()
    def __call__(self, frames: Tensor, camid: int) -> np.ndarray:
        """Return the projected class tokens of `(n, 3, H, W)` frames, `(n, D)`."""
        lower = self._dtype != torch.float32
        out = []
        for part in frames.split(FRAMES):
            batch = self._prepare({"inputs": {"frames": part}})["inputs"]["frames"]
            camids = torch.full((len(part),), camid, device=self._device)
            with torch.autocast(self._device.type, self._dtype, enabled=lower):
                _, projected = self._visual(batch, camids)
            out.append(projected[:, 0].float().cpu().numpy())
        return np.concatenate(out)
