"""Compare reading training clips from shards with reading a JPEG and a JSON file per frame.

Run it:   python -m bench.loader
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.measure import Json, case, finish, seconds
from pipeline import schema
from pipeline.cli import run

PEOPLE, FRAMES, CLIP, RUNS = 12, 48, 8, 31
CHANGES = (
    {"type": "train.data.transforms.ClipFlip", "prob": 0.5},
    {"type": "train.data.transforms.ClipErase", "prob": 0.5, "value": [124, 116, 104]},
)


def render(folder: Path) -> list[list[Path]]:
    """Write the frames of some tracklets both ways; return the JPEG files of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from extract.walkers.clip import film
    from extract.walkers.frame import scene
    from extract.walkers.person import distractor

    rows, files = [], []
    for pid in range(PEOPLE):
        rng = np.random.default_rng(pid)
        clip = film(distractor(rng), scene(0, pid % 4), np.arange(FRAMES), rng)
        own = []
        for number, jpeg in enumerate(clip.jpegs):
            xyz = rng.normal(size=51).astype(np.float32).tolist()
            file = folder / f"frames/{pid:04}/{number:03}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(jpeg)
            file.with_suffix(".json").write_text(json.dumps({"xyz": xyz}))
            own.append(file)
            rows.append(
                {"tracklet": f"{pid:04}", "pid": pid, "camid": 0, "split": "train",
                 "frame": number, "frame_number": number, "path": file.name, "width": 128,
                 "height": 256, "xy_px": [0.0] * 34, "score": [1.0] * 17, "xyz": xyz,
                 "interpolated": False, "jpeg": jpeg, "status": 0}
            )  # fmt: skip
        files.append(own)
    shard = folder / "data/shards/bench/train-00000.parquet"
    shard.parent.mkdir(parents=True)
    columns = schema.with_metadata(schema.SHARD, dataset="bench", embed_frames=True)
    table = pa.Table.from_pylist(rows, columns)
    pq.write_table(
        table, shard, row_group_size=schema.ROW_GROUP_FRAMES, compression="none",
        use_dictionary=False,
    )  # fmt: skip
    return files


def ours(folder: Path, changes: Sequence[dict] = ()) -> Callable[[], object]:
    """Return what loads one clip of every tracklet from the shards, and changes it as asked."""
    from train.data.clips import ClipDataset
    from train.data.sampler import Draw

    data = ClipDataset(str(folder / "data/shards/bench"), CLIP, (256, 128), changes)
    return lambda: [data[Draw(index, (0, 0, index))] for index in range(len(data))]


def usual(files: list[list[Path]]) -> Callable[[], object]:
    """Return what the public video re-identification loaders do: Pillow, one frame at a time."""
    import torch
    from PIL import Image
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.Resize((256, 128), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
            transforms.RandomErasing(),
        ]
    )

    def clip(own: list[Path], rng: np.random.Generator) -> object:
        chosen = [own[int(i)] for i in np.sort(rng.integers(0, len(own), CLIP))]
        frames = [change(Image.open(file).convert("RGB")) for file in chosen]
        skeletons = [json.loads(file.with_suffix(".json").read_text())["xyz"] for file in chosen]
        return torch.stack(frames), torch.tensor(skeletons).view(CLIP, 17, 3)

    return lambda: [clip(own, np.random.default_rng(i)) for i, own in enumerate(files)]


def bare(files: list[list[Path]]) -> Callable[[], object]:
    """Return what decodes as many frames with OpenCV, from memory, and does nothing else."""
    import cv2

    jpegs = [
        [np.frombuffer(file.read_bytes(), np.uint8) for file in own[:: FRAMES // CLIP]]
        for own in files
    ]
    return lambda: [[cv2.imdecode(jpeg, cv2.IMREAD_COLOR) for jpeg in own] for own in jpegs]


def main(json_file: Json = None) -> None:
    """Compare loading clips of 8 frames with the usual loader, and with decoding alone."""
    import contextlib

    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        files = render(folder)
        loaders = {
            "read": ours(folder),
            "changed": ours(folder, CHANGES),
            "usual": usual(files),
            "bare": bare(files),
        }
        rates: dict[str, list[float]] = {loader: [] for loader in loaders}
        for loader in loaders.values():
            loader()
        for _ in range(RUNS):
            for loader, load in loaders.items():
                rates[loader].append(PEOPLE / seconds(load))
    names = {
        "mirrored and erased, usual loader": ("changed", "usual"),
        "mirrored and erased, cv2.imdecode alone": ("changed", "bare"),
        "read, cv2.imdecode alone": ("read", "bare"),
    }
    cases = {
        name: case(rates[a], rates[b], "clips/s", more_is_better=True)
        for name, (a, b) in names.items()
    }
    finish("loader", cases, json_file)


if __name__ == "__main__":
    run(main)
