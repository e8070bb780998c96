"""Join frames, 2D joints and 3D joints into Parquet shards.

Run one dataset:   python -m shards.write --dataset walkers
"""

from typing import TYPE_CHECKING

from pipeline import console, paths
from pipeline.cli import Dataset, DryRun, Limit, Overrides, Quiet, Stage, Verbose, run, start

if TYPE_CHECKING:
    from shards.write.plan import Plan


def main(
    dataset: Dataset,
    overrides: Overrides = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Join frames and joints of a dataset into Parquet shards, data/shards/DATASET/.

    Example: python -m shards.write --dataset walkers shards.shard_mb=64
    """
    stage = start("shards", dataset, overrides, limit, dry_run, verbose, quiet)
    from extract.engine.chunks import is_current
    from shards.write.join import write_shards
    from shards.write.plan import plan_shards

    plan = plan_shards(stage)
    out = stage.out(paths.shards_dir(dataset))
    if dry_run:
        _print_plan(stage, plan)
        return
    if is_current(out, plan.fingerprint):
        console.say(f"{out} is up to date")
        return
    write_shards(plan, out)
    files = sorted(out.glob("*.parquet"))
    size = console.size(sum(file.stat().st_size for file in files))
    amount = (
        f"{plan.frames} frames of {len(plan.tracklets)} tracklets in {len(files)} files, {size}"
    )
    console.summary(f"{out}/", amount, f"dvc repro stage1@{dataset}")


def _print_plan(stage: Stage, plan: "Plan") -> None:
    rows = [
        (split, tracklets, frames, plan.finished(split))
        for split, tracklets, frames in plan.by_split()
    ]
    console.table(
        f"shards@{stage.dataset}", ("split", "tracklets", "frames", "files finished"), rows
    )
    kept = "frames inside" if stage.params.shards.embed_frames else "paths of frames"
    console.say(f"{kept}, about {stage.params.shards.shard_mb} MB a file")
    console.say(f"to {stage.out(paths.shards_dir(stage.dataset))}/")


if __name__ == "__main__":
    run(main)
