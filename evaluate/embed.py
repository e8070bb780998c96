"""One feature per test tracklet, and the baselines it has to beat.

Run one:   python -m evaluate.embed --run walkers
"""

from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from pipeline import console, paths, schema
from pipeline.errors import PipelineError
from pipeline.files import checked
from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from train.data.clips import TestDataset
    from train.describe import ClipDescriber

CHUNK = 512
RANDOM_CHANNELS = 128


def embed(stage: Stage) -> "Embedding":
    """Describe every query and gallery tracklet by one feature.

    Writes data/features/RUN.parquet, and beside it RUN_baselines.parquet: random features, those
    of the untrained model, the colours of the frames, and where a gate weighs experts, these
    without it.

    Example: python -m evaluate.embed --run walkers embed.frames=dense
    """
    return Embedding(stage)


class Embedding:
    """One run of the stage.

    Attributes:
        stage: The command.
        trained: The model.
        data: The test tracklets.
        has_frames: Whether there are pictures that the model looks at, and so colours.
        output: The table of features.
        baselines: The table of other features.
        then: The stage to run next.
    """

    then = "score"

    def __init__(self, stage: Stage) -> None:
        """Check that the model and the knobs belong together.

        Raises:
            PipelineError: If stage 2 has not run, or was trained with other settings.
        """
        from pipeline.code.fingerprint import fingerprint
        from pipeline.code.hashes import digest
        from train.data.clips import TestDataset
        from train.run.processes import choose_device
        from train.trained import Trained

        choose_device(stage.params.runtime.device, deterministic=stage.params.runtime.deterministic)
        self.stage, self.knobs = stage, stage.params.embed
        self.trained = Trained.of(stage)
        root = stage.read(paths.shards_dir(stage.dataset))
        # Who looks at skeletons alone has no size of frames to compare colours at.
        self.has_frames = "frames" in self.trained.about["clips"]["needs"]
        options = self.trained.about["clips"] | {
            "root": str(root),
            "splits": ["query", "gallery"],
            "frames": self.knobs.frames,
            "limit": stage.limit,
        }
        self.data = TestDataset(**options)
        self._index = stage.read(paths.index_file(stage.dataset))
        self.output = stage.out(paths.features_file(stage.key))
        self.baselines = stage.out(paths.baselines_file(stage.key))
        self._made_of = fingerprint(
            self.trained.file,
            self._index,
            *self.data.shards.files,
            code=digest("embed", stage.key, stage.params),
            model=self.trained.config,
            data=options,
        )
        self.work = stage.work(self._made_of)

    def is_done(self) -> bool:
        """Return whether both tables are those that this run would make."""
        from pipeline.code.fingerprint import is_done

        return is_done(self._made_of, self.output, self.baselines)

    def plan(self) -> None:
        """Print what would be done."""
        rows = [
            ("tracklets", len(self.data.table)),
            ("clips", len(self.data)),
            ("frames of a tracklet", self.knobs.frames),
            ("described by", self.trained.descriptor),
            ("weights", self.trained.file),
            ("features", self.output),
        ]
        console.table(f"embed of {self.stage.key}", ("what", "value"), rows)

    def make(self) -> str:
        """Make both tables, continuing an earlier run."""
        from pipeline.code.fingerprint import note_done
        from pipeline.distances import ungated
        from train.run.processes import wait_for_all

        raw = self.trained.untrained()
        files = self._describe(raw)
        # Each process described a share; the first one writes for all.
        if not wait_for_all():
            return ""
        found = self._joined(files)
        rng = np.random.default_rng(self.trained.about["seed"])
        random = rng.standard_normal((len(self.data.table), RANDOM_CHANNELS))
        baselines = {"random": random, "untrained": found["untrained"]}
        if self.has_frames:
            # Cosines of colours say little: what counts is how they differ from the average.
            baselines["colour"] = found["colour"] - found["colour"].mean(0)
        feature = found["feature"]
        alike = ungated(self.trained.comparison, feature)
        if alike is not None:
            baselines["equal_weights"] = alike
        self._write(self.output, {"feature": feature}, {"feature": self.trained.comparison})
        self._write(self.baselines, baselines, {"untrained": raw.comparison()})
        note_done(self._made_of, self.output, self.baselines)
        paths.discard(self.work)
        return f"{len(self.data.table)} tracklets, {feature.shape[1]} numbers each"

    def _describe(self, raw: Any) -> "list[Path]":
        """Describe the clips that no earlier run has described; return the files of all chunks.

        A clip is decoded once for all that describes it.
        """
        from train.describe import described
        from train.run.processes import share

        total = len(self.data)
        chunks = [range(i, min(i + CHUNK, total)) for i in range(0, total, CHUNK)]
        files = [self.work / f"{chunk.start:08d}.npz" for chunk in chunks]
        own = [(c, f) for c, f in share(zip(chunks, files, strict=True)) if not _is_whole(f)]
        if not own:
            return files
        missing = [chunk for chunk, _ in own]
        done = total - sum(map(len, missing))
        workers = self.stage.params.runtime.workers
        with console.progress(total, "clips", "embed", done) as meter:
            parts = described(self.data, self._describer(raw), workers, missing, meter.advance)
            for (_, file), made in zip(own, parts, strict=True):
                with paths.write_atomic(file) as temporary, temporary.open("wb") as opened:
                    np.savez(opened, **made)
        return files

    def _describer(self, raw: Any) -> "ClipDescriber":
        from train.describe import describe, together

        own = [describe(self.trained.model()), describe(raw, "untrained")]
        return together([*own, colours] if self.has_frames else own)

    def _joined(self, files: "list[Path]") -> dict[str, np.ndarray]:
        """Return features `(N, C)` of every tracklet: means over the frames of its clips."""
        parts: dict[str, list[np.ndarray]] = {}
        for file in files:
            with np.load(file) as chunk:
                for name in chunk.files:
                    parts.setdefault(name, []).append(chunk[name])
        joined = {name: np.concatenate(own) for name, own in parts.items()}
        return {name: self.data.average(own).astype(np.float32) for name, own in joined.items()}

    def _write(
        self,
        path: "Path",
        features: dict[str, np.ndarray],
        comparisons: dict[str, dict[str, Any]],
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from pipeline.code.fingerprint import sha256
        from pipeline.distances import telling

        table = tracklet_columns(self.data, self._index, self.stage.rebuild("index"))
        for name, values in features.items():
            flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            field = telling(pa.field(name, column.type), comparisons.get(name))
            table = table.append_column(field, column)
        metadata = {
            "dataset": self.stage.dataset,
            "run": self.stage.key,
            "frames": self.knobs.frames,
            "weights_sha256": sha256(self.trained.file),
            **self.trained.identity,
        }
        table = table.cast(schema.with_metadata(table.schema, **metadata))
        with paths.write_atomic(path) as temporary:
            pq.write_table(table, temporary)


def _is_whole(file: "Path") -> bool:
    """Return whether a part that a stopped run finished is there, and can be read."""
    try:
        with np.load(file) as chunk:
            return all(chunk[name].ndim == 2 for name in chunk.files)
    except (OSError, ValueError, BadZipFile):
        return False


def colours(batch: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the median `colour` of torso and legs of each clip, `(B, 6)`.

    Only the middle of the frames counts, where the person is.
    """
    frames = batch["inputs"]["frames"].numpy()
    height, width = frames.shape[-2:]
    left, right = int(0.35 * width), int(0.65 * width)
    medians = []
    for top, bottom in ((0.2, 0.5), (0.5, 0.8)):
        part = frames[..., int(top * height) : int(bottom * height), left:right]
        medians.append(np.median(part, axis=(1, 3, 4)))
    return {"colour": np.concatenate(medians, 1).astype(np.float32) / 255}


def tracklet_columns(data: "TestDataset", index: "Path", rebuild: str) -> "pa.Table":
    """Return tracklet, pid, camid, split, how it was seen and split_id of every tracklet.

    Args:
        data: The tracklets.
        index: The index of their dataset.
        rebuild: The command that makes it.
    """
    import pyarrow as pa

    rows = checked.read_index(index, rebuild, ["tracklet", *schema.VIEW])
    seen = {row["tracklet"]: row for row in rows.to_pylist()}
    told = schema.metadata(rows.schema)
    split_id = told.get("split_id", told.get("trial"))  # the second: of version 1
    if split_id is not None and not split_id.isdecimal():
        raise PipelineError(f"{index} says split {split_id!r}, which is no number. Run: {rebuild}")
    frame = data.table
    columns = {name: frame[name].tolist() for name in ("tracklet", "pid", "camid", "split")}
    if strange := next((one for one in columns["tracklet"] if one not in seen), None):
        raise PipelineError(
            f"{index} does not know the tracklet {strange} of the shards. Run: {rebuild}"
        )
    columns |= {
        name: [seen[tracklet][name] for tracklet in columns["tracklet"]] for name in schema.VIEW
    }
    columns["split_id"] = [None if split_id is None else int(split_id)] * len(frame)
    kept = [field for field in schema.features(1) if field.name in columns]
    return pa.table(columns, pa.schema(kept))


if __name__ == "__main__":
    run_stage("embed", embed)
