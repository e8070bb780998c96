"""One feature per test tracklet, and the baselines it has to beat.

Run one data set:   python -m evaluate.embed --dataset walkers
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import console, paths, schema
from pipeline.cli import Dataset, DryRun, Limit, Overrides, Quiet, Stage, Verbose, run, start
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from train.data.clips import TestDataset

CHUNK = 512
BATCH = 32
RANDOM_CHANNELS = 128


def main(
    dataset: Dataset,
    overrides: Overrides = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Describe every query and gallery tracklet by one feature.

    Writes data/features/<dataset>.parquet, and beside it <dataset>_baselines.parquet: random
    features, those of the untrained model, and the colours of the frames.

    Example: python -m evaluate.embed --dataset walkers embed.frames=dense
    """
    stage = start("embed", dataset, overrides, limit, dry_run, verbose, quiet)
    from pipeline.lock import locked

    job = Embedding(stage)
    if dry_run:
        job.plan()
        return
    if job.is_done():
        console.say(f"{job.output} is up to date")
        return
    with locked(job.work, job.output):
        job.make()
    amount = f"{len(job.data.table)} tracklets, {job.channels} numbers each"
    console.summary(job.output, amount, f"python -m evaluate.score --dataset {dataset}")


class Embedding:
    """One run of the stage.

    Attributes:
        stage: The command.
        data: The test tracklets.
        has_frames: Whether there are pictures, and so colours.
        output: The table of features.
    """

    def __init__(self, stage: Stage) -> None:
        """Check that the model and the knobs belong together.

        Raises:
            PipelineError: If stage 2 has not run, or was trained with other settings.
        """
        from shards.read import Shards
        from train.data.clips import TestDataset
        from train.run.processes import choose_device
        from train.run.training import digest
        from train.stage2 import configure
        from train.weights.checkpoint import load

        choose_device(stage.params.runtime.device)
        self.stage, self.knobs = stage, stage.params.embed
        self.weights = paths.stage2_file(stage.dataset)
        if not self.weights.exists():
            raise PipelineError(f"{self.weights} is missing. Run: {stage.rebuild('stage2')}")
        self._state, metadata = load(self.weights)
        self._config = configure(stage)
        self._config["model"]["classes"] = metadata["about"]["classes"]
        self._set_modality()
        data = self._config["train_dataloader"]["dataset"]
        self._options = {
            "root": data["root"],
            "splits": ["query", "gallery"],
            "clip_frames": data["clip_frames"],
            "image_size": data["image_size"],
            "frames": self.knobs.frames,
            "shuffle_frames": data["shuffle_frames"],
            "limit": stage.limit,
        }
        self.has_frames = Shards(Path(data["root"])).has_frames
        if not self.has_frames:
            self._options["with_frames"] = False
        self.data = TestDataset(**self._options)
        self.output = stage.out(paths.features_file(stage.dataset))
        self.baselines = stage.out(paths.baselines_file(stage.dataset))
        decides = {"model": self._config["model"], "data": self._options}
        files = [self.weights, *self.data.shards.files]
        self.fingerprint = digest(decides, files)
        self.work = paths.work_dir("embed", stage.dataset, self.fingerprint)

    def _set_modality(self) -> None:
        trained, wanted = self.stage.params.stage2.modality, self.stage.params.modality
        if wanted == trained:
            return
        if trained == "skeleton" or not self.stage.params.stage2.use_skeleton:
            raise PipelineError(
                f"embed.modality is {wanted}, but stage 2 trained no such encoder. "
                "Set embed.modality to null"
            )
        self._config["model"]["modality"] = wanted
        if wanted == "both":
            self._config["model"]["skeleton_weight"] = self.knobs.skeleton_weight

    def is_done(self) -> bool:
        """Return whether both tables are those that this run would make."""
        import pyarrow.parquet as pq

        return all(
            file.exists()
            and schema.metadata(pq.read_schema(file)).get("fingerprint") == self.fingerprint
            for file in (self.output, self.baselines)
        )

    def plan(self) -> None:
        """Print what would be done."""
        rows = [
            ("tracklets", len(self.data.table)),
            ("clips", len(self.data)),
            ("frames of a tracklet", self.knobs.frames),
            ("described by", self.stage.params.modality),
            ("weights", self.weights),
            ("features", self.output),
        ]
        console.table(f"embed of {self.stage.dataset}", ("what", "value"), rows)

    def make(self) -> None:
        """Make both tables, continuing an earlier run."""
        import shutil

        trained = self._model(is_trained=True)
        features = {
            "feature": self._all("trained", lambda: describe(trained)),
            "untrained": self._all("untrained", lambda: describe(self._model(is_trained=False))),
        }
        self.channels = features["feature"].shape[1]
        rng = np.random.default_rng(self.stage.params.stage2.seed)
        random = rng.standard_normal((len(self.data.table), RANDOM_CHANNELS))
        baselines = {"random": random, "untrained": features["untrained"]}
        if self.has_frames:
            colour = self._all("colour", lambda: colours)
            # Cosines of colours say little: what counts is how they differ from the average.
            baselines["colour"] = colour - colour.mean(0)
        self._write(self.output, {"feature": features["feature"]})
        self._write(self.baselines, baselines)
        shutil.rmtree(self.work)

    def _model(self, is_trained: bool) -> "torch.nn.Module":
        """Build the model, as stage 2 left it or as training began: pretrained weights at most."""
        import torch

        from train.registry import MODELS
        from train.weights.checkpoint import load_part

        config = json.loads(json.dumps(self._config["model"]))
        if is_trained and "visual" in config:
            config["visual"]["weights"] = None
        torch.manual_seed(self.stage.params.stage2.seed)
        model = MODELS.build(config)
        if is_trained:
            load_part(model, self._state, "", self.weights)
        elif model.visual is not None:
            model.visual.init_weights()
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def _all(self, name: str, describer: Callable[[], Any]) -> np.ndarray:
        """Return a feature `(N, C)` of every tracklet: the mean over its clips."""
        describe_batch = describer()
        files = [self.work / f"{name}-{start:08d}.npy" for start in range(0, len(self.data), CHUNK)]
        missing = [i for i, file in enumerate(files) if not file.exists()]
        done = len(self.data) - sum(min(CHUNK, len(self.data) - i * CHUNK) for i in missing)
        with console.progress(len(self.data), "clips", f"embed {name}", done) as meter:
            for i in missing:
                clips = range(i * CHUNK, min((i + 1) * CHUNK, len(self.data)))
                rows = [
                    row for batch in self._batches(clips, meter) for row in describe_batch(batch)
                ]
                with paths.write_atomic(files[i]) as temporary, temporary.open("wb") as file:
                    np.save(file, np.stack(rows))
        values = np.concatenate([np.load(file) for file in files])
        return self.data.average(values).astype(np.float32)

    def _batches(self, clips: range, meter: console.Meter) -> Any:
        from torch.utils.data import DataLoader, Subset

        workers = self.stage.params.runtime.workers
        for batch in DataLoader(Subset(self.data, clips), BATCH, num_workers=workers):
            yield batch
            meter.advance(len(batch["labels"]))

    def _write(self, path: Path, features: dict[str, np.ndarray]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = tracklet_columns(self.data, paths.index_file(self.stage.dataset))
        for name, values in features.items():
            flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            table = table.append_column(name, column)
        metadata = {
            "dataset": self.stage.dataset,
            "fingerprint": self.fingerprint,
            "frames": self.knobs.frames,
            "modality": self.stage.params.modality,
        }
        table = table.cast(schema.with_metadata(table.schema, **metadata))
        with paths.write_atomic(path) as temporary:
            pq.write_table(table, temporary)


def describe(model: "torch.nn.Module") -> Callable[[dict[str, Any]], np.ndarray]:
    """Return the function from a batch to unit features `(B, C)`."""
    import torch

    @torch.no_grad()
    def features(batch: dict[str, Any]) -> np.ndarray:
        return model.test_step(batch).float().cpu().numpy()

    return features


def colours(batch: dict[str, Any]) -> np.ndarray:
    """Return the median colour of torso and legs of each clip, `(B, 6)`.

    Only the middle of the frames counts, where the person is.
    """
    frames = batch["inputs"]["frames"].numpy()
    height, width = frames.shape[-2:]
    left, right = int(0.35 * width), int(0.65 * width)
    medians = []
    for top, bottom in ((0.2, 0.5), (0.5, 0.8)):
        part = frames[..., int(top * height) : int(bottom * height), left:right]
        medians.append(np.median(part, axis=(1, 3, 4)))
    return np.concatenate(medians, 1).astype(np.float32) / 255


def tracklet_columns(data: "TestDataset", index: Path) -> "pa.Table":
    """Return tracklet, pid, camid, split, clothes and trial of every tracklet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema.check(index, schema.INDEX, "dvc repro index")
    rows = pq.read_table(index, columns=["tracklet", "clothes"])
    clothes = dict(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
    trial = schema.metadata(pq.read_schema(index)).get("trial")
    frame = data.table
    columns = {name: frame[name].tolist() for name in ("tracklet", "pid", "camid", "split")}
    columns["clothes"] = [clothes[name] for name in columns["tracklet"]]
    columns["trial"] = [None if trial is None else int(trial)] * len(frame)
    kept = [field for field in schema.features(1) if field.name in columns]
    return pa.table(columns, pa.schema(kept))


if __name__ == "__main__":
    run(main)
