"""Compare the 2D stage with MMPose's own inferencer, from JPEGs on disk to tables on disk.

Run it:   python -m bench.pose2d
One case: python -m bench.pose2d --case float32-flip

Both run RTMPose-t with random weights on the same rendered crops and the same cores, models loaded
and warm. The opponent is `MMPoseInferencer` as its manual calls it, then with its flip test off.
"""

import os
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from bench.extraction import project, random_weights, warm, write_spec
from bench.measure import Case, Json, case, compare_peak_memory, finish, seconds
from pipeline import console
from pipeline.cli import run
from pipeline.errors import PipelineError, did_you_mean

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
