"""Lift the 2D joints of every tracklet to 3D.

Run one dataset:   python -m extract.pose3d --dataset walkers
"""

from pipeline import cli


def main(
    dataset: cli.Dataset,
    overrides: cli.Overrides = None,
    limit: cli.Limit = 0,
    dry_run: cli.DryRun = False,
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Lift the 2D joints of every tracklet to 3D."""
    stage = cli.start("pose3d", dataset, overrides, limit, dry_run, verbose, quiet)
    from extract.engine.job import extract
    from extract.pose3d.plan import plan

    extract(plan(stage))


if __name__ == "__main__":
    cli.run(main)
