"""Find the 2D joints of every frame.

Run one dataset:   python -m extract.pose2d --dataset walkers
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
    """Find the 2D joints of every frame."""
    stage = cli.start("pose2d", dataset, overrides, limit, dry_run, verbose, quiet)
    from extract.engine.job import extract
    from extract.pose2d.plan import plan

    extract(plan(stage))


if __name__ == "__main__":
    cli.run(main)
