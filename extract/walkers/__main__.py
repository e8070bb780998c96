"""Render the walkers: a dataset in the layout of MARS, with the truth about every joint.

Run:   python -m extract.walkers
"""

from typing import TYPE_CHECKING

from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from extract.walkers.render import Rendering


def walkers(stage: Stage) -> "Rendering":
    """Render walking people as a dataset in the layout of MARS, in data/raw/walkers.

    Example: python -m extract.walkers walkers.identities_test=5
    """
    from extract.walkers.render import Rendering

    return Rendering(stage)


if __name__ == "__main__":
    run_stage("walkers", walkers)
