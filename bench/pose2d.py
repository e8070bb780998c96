"""Compare the 2D stage with MMPose's own inferencer, from JPEGs on disk to tables on disk.

Run it:   python -m bench.pose2d
One case: python -m bench.pose2d --case float32-flip

Both run RTMPose-t with random weights on the same rendered crops and the same cores, models loaded
and warm. The opponent is `MMPoseInferencer` as its manual calls it, then with its flip test off.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.measure import Case, Json, case, compare_peak_memory, finish, seconds
from pipeline import console
from pipeline.cli import run
from pipeline.errors import PipelineError, did_you_mean
from pipeline.stage import Stage

ROOT = Path(__file__).parent.parent
# The network of the rendered dataset: so small that memory for frames would show.
SMALL = "conf/weights/walkers_pose/pose2d.py"
CONFIG = "configs/body_2d_keypoint/rtmpose/body8/rtmpose-t_8xb256-420e_body8-256x192.py"
# A chunk of the stage for each core.
FRAMES_PER_CORE, OPPONENT_FRAMES, RUNS = 1024, 96, 3
BATCHES, BATCH_FRAMES = 6, 64
FEW, MANY = 2000, 20_000
LABELS = {
    "flip": "MMPoseInferencer",
    "no-flip": "MMPoseInferencer without flip test",
    "forward": "bare forward pass",
}
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


def stock(config: Path) -> Callable[[bool, int], float]:
    """Load MMPose's inferencer; returns a function to frames per second.

    It takes whether to use the flip test, and torch's threads.
    """
    from extract.engine import models

    models.import_mmpose()
    import torch
    from mmpose.apis import MMPoseInferencer

    inferencer = MMPoseInferencer(pose2d=str(config), det_model="whole_image", device="cpu")
    files = [str(file) for file in islice(sorted(Path("data/raw").rglob("*.jpg")), OPPONENT_FRAMES)]

    def infer(flip_test: bool, threads: int) -> float:
        torch.set_num_threads(threads)
        inferencer.inferencer.model.test_cfg["flip_test"] = flip_test
        return len(files) / seconds(lambda: list(inferencer(files)))

    infer(False, 1)
    return infer


@contextmanager
def bare_forward(config: Path) -> Generator[Callable[[], float]]:
    """Load the network alone in a process per core; yields a function to frames per second."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:

        def forward() -> float:
            return sum(pool.map(_forward_speed, [config] * cores))

        forward()
        yield forward


def _forward_speed(config: Path) -> float:
    network = _network(config)
    return BATCHES * BATCH_FRAMES / seconds(lambda: [network() for _ in range(BATCHES)])


@lru_cache
def _network(config: Path) -> Callable[[], object]:
    """Return a function that runs the network on a batch, on one core, as a worker would run it."""
    import torch

    from extract.engine import models
    from extract.pose2d.estimator import Estimator

    models.keep_memory()
    models.set_threads(1)
    estimator = Estimator(config, None)
    width, height = estimator.input_size
    images = torch.randn(BATCH_FRAMES, 3, height, width).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> object:
        return estimator._forward(estimator._model, images)

    return forward


def _speed(precision: str, opponents: list[str]) -> dict[str, Case]:
    """Measure the stage and each opponent in turn."""
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        stage = stack.enter_context(project(FRAMES_PER_CORE * cores))
        write_spec("bench", "estimator", CONFIG, random_weights(CONFIG), min_score=0.2)
        knobs = stage.params.pose2d.model_copy(update={"precision": precision})
        runtime = stage.params.runtime.model_copy(update={"workers": cores})
        params = stage.params.model_copy(update={"pose2d": knobs, "runtime": runtime})
        from extract.engine.spec import load
        from extract.pose2d.plan import plan

        config = load("bench").config("estimator").absolute()
        speeds: dict[str, Callable[[], float]] = {}
        if {"flip", "no-flip"} & set(opponents):
            infer = stock(config)
            # The better of one thread and all: on busy machines torch's threads wait.
            speeds["flip"] = lambda: max(infer(True, n) for n in {1, cores})
            speeds["no-flip"] = lambda: max(infer(False, n) for n in {1, cores})
        if "forward" in opponents:
            speeds["forward"] = stack.enter_context(bare_forward(config))
        once = stack.enter_context(warm(replace(stage, params=params), plan))
        ours: list[float] = []
        theirs: dict[str, list[float]] = {name: [] for name in opponents}
        for _ in range(RUNS):
            ours.append(once())
            for name in opponents:
                theirs[name].append(speeds[name]())
    return {
        f"{precision}, {LABELS[name]}": case(ours, found, "frames/s", True)
        for name, found in theirs.items()
    }


def _memory(frames: int) -> None:
    """Run the stage with a small network, scheduler and worker in this very process."""
    from distributed import LocalCluster

    from extract.pose2d.plan import plan

    with (
        project(frames) as stage,
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
    ):
        Path(SMALL).parent.mkdir(parents=True)
        shutil.copy(ROOT / SMALL, SMALL)
        write_spec("bench", "estimator", SMALL, random_weights(SMALL), min_score=0.2)
        runtime = stage.params.runtime.model_copy(update={"scheduler": cluster.scheduler_address})
        params = stage.params.model_copy(update={"runtime": runtime})
        plan(replace(stage, params=params)).make()


def few_frames() -> None:
    """Extract a few frames."""
    _memory(FEW)


def many_frames() -> None:
    """Extract ten times as many."""
    _memory(MANY)


def main(
    cases: Annotated[
        list[str] | None, typer.Option("--case", help="One of those this prints; default: all.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Compare the 2D stage with MMPose's own inferencer; each case takes a few minutes."""
    from extract.engine.models import fast_bfloat16

    precisions = ("float32", "bfloat16") if fast_bfloat16("cpu") else ("float32",)
    known = [f"{precision}-{name}" for precision in precisions for name in LABELS] + ["memory"]
    for name in cases or ():
        if name not in known:
            raise PipelineError(f"{name!r} is no case here. {did_you_mean(name, known)}")
    chosen = cases or known
    console.say(f"cases: {', '.join(chosen)}")
    found: dict[str, Case] = {}
    for precision in precisions:
        opponents = [name for name in LABELS if f"{precision}-{name}" in chosen]
        found |= _speed(precision, opponents) if opponents else {}
    if "memory" in chosen:
        found[f"peak memory: {MANY:,} frames, {FEW:,} frames"] = compare_peak_memory(
            many_frames, few_frames
        )
    finish("pose2d", found, json_file)


if __name__ == "__main__":
    run(main)
