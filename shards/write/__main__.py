"""Join frames, 2D joints and 3D joints into Parquet shards.

Run one dataset:   python -m shards.write --dataset walkers
"""

from typing import TYPE_CHECKING

from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from shards.write.run import Writing


def shards(stage: Stage) -> "Writing":
    """Join frames and joints of a dataset into Parquet shards, data/shards/DATASET/.

    Example: python -m shards.write --dataset walkers shards.shard_mb=64
    """
    from shards.write.run import Writing

    return Writing(stage)


if __name__ == "__main__":
    run_stage("shards", shards)
