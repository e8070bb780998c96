"""Contrastive skeleton-image pretraining.

Run one data set:   python -m train.stage1 --dataset walkers
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.cli import Dataset, DryRun, Limit, Overrides, Quiet, Stage, Verbose, run, start
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from train.run.training import Training


def main(
    dataset: Dataset,
    overrides: Overrides = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train the skeleton encoder to agree with the visual one (stage 1).

    Writes models/<dataset>/stage1.safetensors, and curves to reports/<dataset>/stage1/.
    A stopped run continues where its last epoch ended.

    Example: python -m train.stage1 --dataset walkers stage1.epochs=5
    """
    stage = start("stage1", dataset, overrides, limit, dry_run, verbose, quiet)
    from pipeline import console

    training = prepare(stage)
    if dry_run:
        training.plan()
    elif training.is_done():
        console.say(f"{training.output} is up to date")
    else:
        about = {"stage": "stage1", "encoder": stage.params.stage1.encoder}
        training.train(about, f"python -m train.stage2 --dataset {dataset}", features(training))


def prepare(stage: Stage) -> "Training":
    """Compose the run and check that it can work."""
    from pipeline.compose import compose
    from train.run.processes import choose_device
    from train.run.training import Training, build_dataset, report_dir, shard_files, weight_files

    choose_device(stage.params.runtime.device)
    config = compose("stage1", stage.params)
    config["train_dataloader"]["dataset"] |= {
        "root": str(paths.shards_dir(stage.dataset)),
        "limit": stage.limit,
    }
    shards = shard_files(stage)
    before = alone(stage, config, shards)
    if before:
        hook = {"type": "TowersHook", "path": str(before.output)}
        config["custom_hooks"] = [*config.get("custom_hooks", []), hook]
    inputs = (*shards, *weight_files(config))
    if not stage.params.stage1.train_visual:
        if not config["model"]["visual"].get("weights"):
            raise PipelineError(
                f"stage1.train_visual is false, but {stage.params.stage1.encoder} names no "
                "pretrained weights. Set it to true, or choose another stage1.encoder"
            )
        config["model"]["freeze_visual"] = True
        # Features are kept of the frames as they are, so nothing may change them.
        config["train_dataloader"]["dataset"]["transforms"] = []
    elif not config["model"]["visual"].get("weights"):
        config["model"]["classes"] = len(build_dataset(config).pids)
    output = stage.out(paths.stage1_file(stage.dataset))
    return Training(stage, config, inputs, output, report_dir(stage), before)


def alone(stage: Stage, config: dict[str, Any], shards: tuple[Path, ...]) -> "Training | None":
    """Return the run that teaches the skeleton encoder who is who, without a frame.

    Two encoders that know nothing have nothing to agree about. This one learns in a minute, since
    it decodes no frames.

    Args:
        stage: The command.
        config: The composed configuration; what only this run needs is taken out of it.
        shards: The training shards.
    """
    from pipeline.params.config import merge
    from train.run.training import Training, build_dataset, digest

    changes = config.pop("skeleton_run")
    epochs = stage.params.stage1.skeleton_epochs
    if not epochs:
        return None
    config = merge(config, {"train_dataloader": {"dataset": {"with_frames": False}}})
    schedules = [schedule | {"epochs": epochs} for schedule in config["param_scheduler"]]
    config |= changes | {"param_scheduler": schedules}
    config["model"]["classes"] = len(build_dataset(config).pids)
    folder = paths.work_dir("skeleton", stage.dataset, digest(config, shards))
    return Training(stage, config, shards, folder / "weights.safetensors", folder / "curves")


def features(training: "Training") -> dict[str, Any] | None:
    """Return the data set of cached features where the visual encoder is frozen."""
    if training.stage.params.stage1.train_visual:
        return None
    from train.data.features import cached_features
    from train.run.processes import first_process_first

    with first_process_first():
        file = cached_features(training.stage, training.config, training.inputs)
    clips = training.config["train_dataloader"]["dataset"]
    return clips | {"type": "FeatureDataset", "features": str(file)}


if __name__ == "__main__":
    run(main)
