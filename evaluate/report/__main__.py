"""One page that shows what came out: scores, curves, ranked lists, skeletons, settings.

Run one:   python -m evaluate.report --run walkers
"""

from typing import TYPE_CHECKING

from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from evaluate.report.build import Report


def report(stage: Stage) -> "Report":
    """Show what came out as one page and ranked-list pictures.

    Writes reports/RUN/report.html, which opens offline, PNGs to reports/RUN/ranked/, and
    cameras.json for a plot by camera.

    Example: python -m evaluate.report --run walkers
    """
    from evaluate.report.build import Report

    return Report(stage)


if __name__ == "__main__":
    run_stage("report", report)
