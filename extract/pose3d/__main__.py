"""Lift the 2D joints of every tracklet to 3D.

Run one dataset:   python -m extract.pose3d --dataset walkers
"""

from typing import TYPE_CHECKING

from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from extract.engine.job import Job


def pose3d(stage: Stage) -> "Job":
    """Lift the 2D joints of every tracklet to 3D.

    Example: python -m extract.pose3d --dataset walkers --limit 5 pose3d.smooth=savgol
    """
    from extract.pose3d.plan import plan

    return plan(stage)


if __name__ == "__main__":
    run_stage("pose3d", pose3d)
