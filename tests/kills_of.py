"""What `tests.kills` runs beside single stages; importing it imports what is heavy in them."""

import importlib
import os
import random
import shutil
import sys
import time
from pathlib import Path

from extract.engine import models
from extract.fit import fit as fitting
from extract.weights import main
from pipeline import console, paths
from tests.kills import forked

models.import_mmpose()
for name in (
    "extract.engine.cluster", "extract.fit.pose2d", "extract.fit.pose3d", "extract.pose2d.work",
    "extract.pose3d.work", "hydra", "omegaconf", "sklearn", "timm", "train.data.clips",
    "train.data.preprocess", "train.data.sampler", "train.data.transforms", "train.describe",
    "train.encoders.image", "train.encoders.skeleton", "train.models.contrast",
    "train.models.csip", "train.models.skeleton", "train.run.averaging", "train.run.calibration",
    "train.run.compose", "train.run.curves", "train.run.setup", "train.run.training",
    "train.run.validation", "train.trained", "evaluate.report.build", "evaluate.report.sections",
    "evaluate.report.space", "evaluate.score.run", "evaluate.score.scoring",
):  # fmt: skip
    importlib.import_module(name)


def fit() -> None:
    """Fit the pose models of the walkers, but hardly."""
    fitting.ITERATIONS_2D = fitting.ITERATIONS_3D = 2
    for size in (fitting.CLIPS_2D, fitting.CLIPS_3D, fitting.CLIPS_HELD_OUT):
        size |= {"cameras": 2, "clips": 34 if size is fitting.CLIPS_3D else 8}
    main("walkers_pose", quiet=True)


def weights() -> None:
    """Download weights."""
    main("toy", quiet=True)


def report() -> None:
    """Write the report, which says nothing of how long stages took."""
    from tests.stages import make

    shutil.rmtree(paths.WORK / "times", ignore_errors=True)
    make("report", os.environ["KILLED_RUN"])
    console.set_quiet(False)


STAGES = (
    "walkers", "index", "pose2d", "pose3d", "shards",
    "stage1", "stage2", "embed", "score", "report",
)  # fmt: skip


def make_stage(stage: str) -> None:
    """Run a stage of the pipeline for the walkers."""
    from tests.stages import make

    if stage == "report":
        os.environ["KILLED_RUN"] = "walkers"
        report()
    else:
        make(stage, "walkers")


def pipeline(folder: str) -> None:
    """Run the whole pipeline in a folder, and print how long each stage takes."""
    for stage in STAGES:
        began = time.monotonic()
        assert not forked(Path(folder), lambda stage=stage: make_stage(stage))
        print(f"took {time.monotonic() - began:.2f}", flush=True)


def killed_pipeline(folder: str, times: str, *seconds: str) -> None:
    """Kill each stage so often at random moments before it ends; print how often all were.

    Args:
        folder: The project.
        times: How often to kill a stage.
        seconds: How long each takes undisturbed.
    """
    rng, killed = random.Random(0), 0
    for stage, whole in zip(STAGES, map(float, seconds), strict=True):
        run, left = lambda stage=stage: make_stage(stage), int(times)
        for _ in range(4 * int(times)):
            if not left:
                break
            if forked(Path(folder), run, seconds=rng.uniform(0.05, 0.8) * whole):
                left -= 1
            else:
                # It was faster: once more, as DVC would when its output is gone.
                shutil.rmtree(Path(folder) / "work/done", ignore_errors=True)
        killed += int(times) - left
        assert not forked(Path(folder), run), stage
    print(f"killed {killed}")


if __name__ == "__main__":
    {"pipeline": pipeline, "killed_pipeline": killed_pipeline}[sys.argv[1]](*sys.argv[2:])
