"""One run of the stage that writes shards."""

from pipeline import console
from pipeline.code.fingerprint import is_done
from pipeline.stage import Stage
from shards.write.plan import first_training, plan_shards


class Writing:
    """One run of the stage.

    Attributes:
        output: The folder of shards.
        then: What to run next.
    """

    def __init__(self, stage: Stage) -> None:
        """Read the index and fingerprint all inputs."""
        self._plan = plan_shards(stage)
        self.output = self._plan.output
        self.then = first_training(stage)

    def is_done(self) -> bool:
        """Return whether the shards are there."""
        return is_done(self._plan.fingerprint, self.output)

    def plan(self) -> None:
        """Print how many shards are finished."""
        plan = self._plan
        rows = [
            (split, tracklets, frames, plan.finished(split))
            for split, tracklets, frames in plan.by_split()
        ]
        columns = ("split", "tracklets", "frames", "files finished")
        console.table(f"shards@{plan.dataset}", columns, rows)
        kept = "frames inside" if plan.embed_frames else "paths of frames"
        console.say(f"{kept}, about {plan.shard_bytes >> 20} MB a file")
        console.say(f"to {self.output}/")

    def make(self) -> str:
        """Write the shards that are missing, and publish all."""
        from shards.write.join import write_shards

        write_shards(self._plan)
        files = sorted(self.output.glob("*.parquet"))
        size = console.size(sum(file.stat().st_size for file in files))
        tracklets = len(self._plan.tracklets)
        return f"{self._plan.frames} frames of {tracklets} tracklets in {len(files)} files, {size}"
