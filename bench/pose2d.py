"""Compare the 2D stage with MMPose's own inferencer, from JPEGs on disk to tables on disk.

Run it:   python -m bench.pose2d
One case: python -m bench.pose2d --case float32-flip

All run RTMPose-t with the same random weights on the same rendered crops and the same cores, models
loaded and warm. Opponents: `MMPoseInferencer` as its manual calls it, then with its flip test off;
rtmlib, one crop at a time in ONNX Runtime. The bare forward pass is the fastest of eager, Inductor
and ONNX Runtime, which the line names.
"""

import os
import shutil
import statistics
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.extraction import project, random_weights, warm, write_spec
from bench.measure import Case, Json, case, compare_peak_memory, finish
from bench.opponents import bare_forward, rtmlib, stock
from pipeline import console
from pipeline.cli import run
from pipeline.errors import PipelineError, did_you_mean

ROOT = Path(__file__).parent.parent
# The network of the rendered dataset: so small that memory for frames would show.
SMALL = "conf/weights/walkers_pose/pose2d.py"
CONFIG = "configs/body_2d_keypoint/rtmpose/body8/rtmpose-t_8xb256-420e_body8-256x192.py"
# A chunk of the stage for each core.
FRAMES_PER_CORE, RUNS = 1024, 3
FEW, MANY = 2000, 20_000
LABELS = {
    "flip": "MMPoseInferencer",
    "no-flip": "MMPoseInferencer without flip test",
    "rtmlib": "rtmlib",
    "forward": "bare forward pass",
}


def _speed(precision: str, names: list[str]) -> dict[str, Case]:
    """Measure the stage and each opponent in turn."""
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        stage = stack.enter_context(project(FRAMES_PER_CORE * cores))
        write_spec("bench", "estimator", CONFIG, random_weights(CONFIG), min_score=0.2)
        knobs = stage.params.pose2d.model_copy(update={"precision": precision})
        runtime = stage.params.runtime.model_copy(update={"workers": cores})
        params = stage.params.model_copy(update={"pose2d": knobs, "runtime": runtime})
        from extract.pose2d.plan import plan

        speeds = _opponents(names, stack)
        once = stack.enter_context(warm(replace(stage, params=params), plan))
        ours: list[float] = []
        theirs: dict[str, list[float]] = defaultdict(list)
        for _ in range(RUNS):
            ours.append(once())
            for measure in speeds:
                for label, speed in measure().items():
                    theirs[label].append(speed)
    return {
        f"{precision}, {label}": case(ours, found, "frames/s", True)
        for label, found in _fastest_forward(theirs).items()
    }


def _opponents(names: list[str], stack: ExitStack) -> list[Callable[[], dict[str, float]]]:
    """Load opponents; each function returns frames per second by label."""
    from extract.engine.spec import load

    spec = load("bench")
    files = spec.config("estimator").absolute(), spec.checkpoint("estimator").absolute()
    cores = len(os.sched_getaffinity(0))
    speeds: list[Callable[[], dict[str, float]]] = []
    if {"flip", "no-flip"} & set(names):
        infer = stock(*files)
        for name in {"flip", "no-flip"} & set(names):
            # The better of one thread and all: on busy machines torch's threads wait.
            speeds.append(
                lambda name=name: {LABELS[name]: max(infer(name == "flip", n) for n in {1, cores})}
            )
    if "rtmlib" in names:
        piece = stack.enter_context(rtmlib(*files))
        speeds.append(lambda: {LABELS["rtmlib"]: piece()})
    if "forward" in names:
        forward = stack.enter_context(bare_forward(*files))
        speeds.append(
            lambda: {f"{LABELS['forward']}, {way}": speed for way, speed in forward().items()}
        )
    return speeds


def _fastest_forward(found: dict[str, list[float]]) -> dict[str, list[float]]:
    """Keep the fastest way to run the network alone, beside all others."""
    forwards = {label: runs for label, runs in found.items() if label.startswith(LABELS["forward"])}
    fastest = max(forwards, key=lambda label: statistics.median(forwards[label]), default=None)
    return {
        label: runs for label, runs in found.items() if label not in forwards or label == fastest
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
