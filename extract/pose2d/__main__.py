"""Find the 2D joints of every frame.

Run one dataset:   python -m extract.pose2d --dataset walkers
"""

from typing import TYPE_CHECKING

from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from extract.engine.job import Job


def pose2d(stage: Stage) -> "Job":
    """Find the 2D joints of every frame.

    Example: python -m extract.pose2d --dataset walkers --limit 5 pose2d.flip_test=true
    """
    from extract.pose2d.plan import plan

    return plan(stage)


if __name__ == "__main__":
    run_stage("pose2d", pose2d)
