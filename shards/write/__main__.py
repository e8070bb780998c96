"""Join frames, 2D joints and 3D joints into Parquet shards.

Run one dataset:   python -m shards.write --dataset walkers
"""

from typing import TYPE_CHECKING

from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from shards.write.plan import Plan


def shards(stage: Stage) -> "Plan":
    """Join frames and joints of a dataset into Parquet shards, data/shards/DATASET/.

    Example: python -m shards.write --dataset walkers shards.shard_mb=64
    """
    from shards.write.plan import plan_shards

    return plan_shards(stage)


if __name__ == "__main__":
    run_stage("shards", shards)
