"""Contrastive pretraining: a clip's picture and its skeleton should agree.

Run one:   python -m train.stage1 --run walkers
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from train.run.training import Training


def stage1(stage: Stage) -> "Training":
    """Pretrain both towers, so that the picture and the skeleton of a clip agree (stage 1).

    Works on a line of `pretraining`. Writes models/RUN/stage1.safetensors, and curves to
    reports/RUN/stage1/. A stopped run continues where its last epoch ended.

    Example: python -m train.stage1 --run walkers stage1.epochs=5
    """
    from train.run.compose import compose
    from train.run.processes import choose_device
    from train.run.setup import (
        fit_sampler,
        report_dir,
        shard_files,
        take_data,
        take_needs,
        take_start,
        use_joints,
    )
    from train.run.training import Training

    runtime = stage.params.runtime
    choose_device(runtime.device, stage.params.stage1.precision, runtime.deterministic)
    config = compose("stage1", stage.params, stage.line.encoder)
    alone = config.pop("skeleton_run")
    # Whom stage 2 holds out must be a stranger to it in all respects.
    take_data(stage, config)
    take_needs(config)
    shards = shard_files(stage)
    use_joints(config)
    identities = fit_sampler(stage, config)
    before = _alone(stage, config, alone, shards)
    inputs = (*shards, *take_start(stage, config))
    _take_towers(config, before)
    _set_visual(stage, config, identities)
    return Training(
        stage,
        config,
        inputs,
        stage.out(paths.stage1_file(stage.key)),
        report_dir(stage),
        about=_about(stage, config),
        then="stage2",
        before=before,
        faster=None if stage.params.stage1.train_visual else _faster(stage, config, inputs),
    )


def _take_towers(config: dict[str, Any], before: "Training | None") -> None:
    """Begin with the encoder that an earlier run taught, if one did."""
    if before:
        hook = {"type": "train.run.hooks.TowersHook", "path": str(before.output)}
        config["custom_hooks"] = [*config.get("custom_hooks", []), hook]


def _about(stage: Stage, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": "stage1",
        "encoder": stage.line.encoder,
        "skeleton": config["model"]["skeleton"],
        "held_out": stage.params.stage2.held_out,
    }


def _set_visual(stage: Stage, config: dict[str, Any], identities: int) -> None:
    """Freeze the visual encoder, or let one that knows nothing learn who is who too."""
    weights = config["model"]["visual"].get("weights")
    if stage.params.stage1.train_visual:
        if not weights:
            config["model"]["classes"] = identities
        return
    if not weights:
        raise PipelineError(
            f"{stage.line.recipe}: stage1.train_visual is false, but {stage.key} starts from "
            f"{stage.line.start}, which holds no weights. Set it to true, or change start in "
            "params.yaml"
        )
    config["model"]["freeze_visual"] = True
    # Features are kept of the frames as they are, so nothing may change them.
    config["train_dataloader"]["dataset"]["transforms"] = []


def _alone(
    stage: Stage, config: dict[str, Any], changes: dict[str, Any], shards: tuple[Path, ...]
) -> "Training | None":
    """Return the run that teaches the skeleton encoder who is who, without a frame.

    Two encoders that know nothing have nothing to agree about. This one learns in a minute, since
    it decodes no frames.

    Args:
        stage: The command.
        config: The composed configuration.
        changes: What differs in this run.
        shards: The training shards.
    """
    from pipeline.code.fingerprint import fingerprint
    from pipeline.params.config import merge
    from train.run.setup import build_dataset
    from train.run.training import Training

    epochs = stage.params.stage1.skeleton_epochs
    if not epochs:
        return None
    config = merge(config, {"train_dataloader": {"dataset": {"needs": ["xyz"]}}})
    schedules = [schedule | {"epochs": epochs} for schedule in config["param_scheduler"]]
    changes["model"]["skeleton"] = config["model"]["skeleton"]
    config |= changes | {"param_scheduler": schedules}
    config["model"]["classes"] = len(build_dataset(config).pids)
    folder = paths.work_dir("skeleton", stage.key, fingerprint(*shards, config=config))
    return Training(stage, config, shards, folder / "weights.safetensors", folder / "curves")


def _faster(stage: Stage, config: dict[str, Any], inputs: tuple[Path, ...]) -> Any:
    """Return what gives the data set of cached features of a frozen visual encoder."""

    def cached() -> dict[str, Any]:
        from train.data.features import cached_features

        file = cached_features(stage, config, inputs)
        clips = config["train_dataloader"]["dataset"]
        return clips | {"type": "train.data.features.FeatureDataset", "features": str(file)}

    return cached


if __name__ == "__main__":
    run_stage("stage1", stage1)
