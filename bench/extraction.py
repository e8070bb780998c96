"""A project of rendered frames and models with random weights, to measure the pose stages in."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import seconds
from pipeline.stage import Stage

ROOT = Path(__file__).parent.parent
SPEC = """
source: local
licence: none
{kind}: {{config: {config}, checkpoint: weights.safetensors{more}}}
"""


def write_spec(
    name: str, kind: str, config: str, checkpoint: Callable[[Any], None], **more
) -> None:
    """Describe a model with random weights in conf/weights/, and let `checkpoint` write them."""
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    Path("conf/weights").mkdir(parents=True, exist_ok=True)
    Path(f"conf/weights/{name}.yaml").write_text(
        SPEC.format(kind=kind, config=config, more=rest), encoding="utf-8"
    )
    folder = Path("data/weights") / name
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint(folder / "weights.safetensors")


def random_weights(config: str) -> Callable[[Path], None]:
    """Return a function that writes random weights of a model of MMPose's model zoo."""
    from safetensors.torch import save_file

    from extract.engine import models

    path = Path(find_spec("mmpose").origin).parent / ".mim" / config
    path = path if path.exists() else ROOT / config
    return lambda file: save_file(
        models.build(models.read_config(path), None, "cpu").state_dict(), file
    )


@contextmanager
def project(frames: int) -> Generator[Stage]:
    """Make a project folder with rendered frames of 128 x 256 pixels, and work in it."""
    from pipeline.params.config import load

    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            shutil.copy(ROOT / "params.yaml", "params.yaml")
            _make_frames(frames)
            params = load()
            weights = {"pose2d": "bench", "pose3d": "bench"}
            dataset = params.datasets["walkers"].model_copy(update=weights)
            params = params.model_copy(update={"datasets": {"bench": dataset}})
            yield Stage("pose2d", "bench", "bench", params)
        finally:
            os.chdir(home)


def _make_frames(count: int) -> None:
    """Write tracklets of 64 frames and their index; 256 different pictures stand for all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from extract.walkers.clip import film
    from extract.walkers.frame import scene
    from extract.walkers.person import distractor
    from pipeline.schema import INDEX, with_metadata

    rng = np.random.default_rng(0)
    pictures = [
        jpeg
        for seed in range(4)
        for jpeg in film(distractor(rng), scene(0, seed % 4), np.arange(64), rng).jpegs
    ]
    rows = []
    for number in range(-(-count // 64)):
        names = [f"{number:05d}/{i:03d}.jpg" for i in range(min(64, count - 64 * number))]
        folder = Path("data/raw/bench") / f"{number:05d}"
        folder.mkdir(parents=True)
        for i, name in enumerate(names):
            (folder.parent / name).write_bytes(pictures[(64 * number + i) % len(pictures)])
        keys = {"tracklet": f"{number:05d}", "pid": number, "camid": 0, "split": "train"}
        numbers = list(range(len(names)))
        rows.append(keys | {"frames": names, "frame_numbers": numbers, "clothes": None})
    path = Path("data/index/bench.parquet")
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=with_metadata(INDEX)), path)


@contextmanager
def warm(stage: Stage, plan: Callable[[Stage], Any]) -> Generator[Callable[[], float]]:
    """Start workers with the model of a stage; yields a function that runs the stage once.

    It returns frames per second from the first file read to the last one written.
    """
    from extract.engine import cluster
    from extract.engine.chunks import ChunkStore

    job = plan(stage)
    name = f"{stage.name}-{job.fingerprint}"
    with cluster.connect(stage.params.runtime) as client, cluster.loaded(client, name, job.work):

        def once() -> float:
            store = ChunkStore(job.folder, len(job.chunks))
            job.folder.mkdir(parents=True, exist_ok=True)
            chunks = [
                cluster.Chunk(i, frames, store.path(i).absolute(), part)
                for i, (frames, part) in enumerate(job.chunks)
            ]

            def make() -> None:
                for _ in cluster.run(client, name, chunks):
                    pass
                store.publish(job.output, lambda split: {})

            return job.frames / seconds(make)

        once()
        yield once
