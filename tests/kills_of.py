"""What `tests.kills` runs beside single stages; importing it imports what is heavy in them."""

import os
import shutil
from pathlib import Path

import train.run.training  # noqa: F401
from extract.engine import cluster, models  # noqa: F401
from extract.fit import fit as fitting
from extract.weights import main
from pipeline import console, paths

models.import_mmpose()


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


def project_files(folder: Path, root: Path) -> None:
    """Copy what the default run needs beside its own code."""
    for name in ("conf/weights", "data/weights"):
        shutil.copytree(root / name, folder / name, dirs_exist_ok=True)
