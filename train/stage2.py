"""Prototype-guided fine-tuning.

Run one data set:   python -m train.stage2 --dataset walkers
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
    """Train the model that re-identifies, guided by prototypes and skeletons (stage 2).

    Writes models/<dataset>/stage2.safetensors, and curves to reports/<dataset>/stage2/.
    A stopped run continues where its last epoch ended.

    Example: python -m train.stage2 --dataset walkers stage2.lr=1e-5
    """
    stage = start("stage2", dataset, overrides, limit, dry_run, verbose, quiet)
    from pipeline import console

    training = prepare(stage)
    if dry_run:
        training.plan()
    elif training.is_done():
        console.say(f"{training.output} is up to date")
    else:
        about = {"stage": "stage2", "classes": classes(training.config)}
        training.train(about, f"python -m evaluate.embed --dataset {dataset}")


def prepare(stage: Stage) -> "Training":
    """Compose the run and check that it can work."""
    from train.run.processes import choose_device
    from train.run.training import Training, build_dataset, report_dir, shard_files, weight_files

    choose_device(stage.params.runtime.device)
    knobs, config = stage.params.stage2, configure(stage)
    inputs = [*shard_files(stage), *weight_files(config)]
    data = config["train_dataloader"]["dataset"]
    data |= {"held_out": knobs.held_out, "limit": stage.limit}
    config["model"]["classes"] = len(build_dataset(config).pids)
    if knobs.use_stage1:
        weights = paths.stage1_file(stage.dataset)
        _check_stage1(stage, weights)
        inputs.append(weights)
        config["custom_hooks"].append({"type": "TowersHook", "path": str(weights)})
    elif knobs.modality == "visual" and knobs.use_skeleton:
        raise PipelineError(
            "stage2.use_skeleton needs the skeleton encoder of stage 1, but stage2.use_stage1 is "
            "false. Set use_skeleton to false too"
        )
    if knobs.ema:
        config["custom_hooks"].append({"type": "AverageHook", "decay": knobs.ema})
    if knobs.held_out:
        config |= _validation(data)
        config["custom_hooks"].append({"type": "HeldOutHook"})
        # The hook validates, the loop need not.
        config["train_cfg"]["val_begin"] = knobs.epochs + 1
    output = stage.out(paths.stage2_file(stage.dataset))
    return Training(stage, config, tuple(inputs), output, report_dir(stage))


def configure(stage: Stage) -> dict[str, Any]:
    """Return the configuration of the model and its data, without the number of classes."""
    from pipeline.compose import compose

    knobs = stage.params.stage2
    config = compose("stage2", stage.params)
    skeleton_model = config.pop("skeleton_model")
    data = config["train_dataloader"]["dataset"]
    data["root"] = str(paths.shards_dir(stage.dataset))
    if knobs.modality == "skeleton":
        config["model"], data["with_frames"] = skeleton_model, False
    _use_joints(config["model"], data)
    return config


def _use_joints(model: dict[str, Any], data: dict[str, Any]) -> None:
    """Take the graph of the skeleton encoder, and who mirrors whom, from the shards."""
    from shards.read import Shards

    joints = Shards(Path(data["root"])).layout.name
    if joints == model["skeleton"]["joints"]:
        return
    model["skeleton"]["joints"] = joints
    for transform in data["transforms"]:
        if transform["type"] == "ClipFlip":
            transform["joints"] = joints


def classes(config: dict[str, Any]) -> int:
    """Return the number of training identities."""
    return config["model"]["classes"]


def _check_stage1(stage: Stage, weights: Any) -> None:
    from train.weights.checkpoint import load

    if not weights.exists():
        raise PipelineError(
            f"{weights} is missing. Run: {stage.rebuild('stage1')}, or set stage2.use_stage1=false"
        )
    trained = load(weights)[1]["about"]["encoder"]
    if trained != stage.params.stage2.encoder:
        raise PipelineError(
            f"{weights} was trained with stage1.encoder={trained}, but stage2.encoder is "
            f"{stage.params.stage2.encoder}. Set both to the same"
        )


def _validation(data: dict[str, Any]) -> dict[str, Any]:
    """Return the loop that scores the held-out identities."""
    names = ("root", "clip_frames", "image_size", "shuffle_frames", "held_out")
    dataset = {
        "type": "TestDataset",
        "splits": ["train"],
        **{name: data[name] for name in names},
        "with_frames": data.get("with_frames", True),
    }
    loader = {
        "dataset": dataset,
        "sampler": {"type": "ShareSampler"},
        "batch_size": 32,
        "num_workers": 0,
        "collate_fn": {"type": "default_collate"},
    }
    return {
        "val_dataloader": loader,
        "val_cfg": {"type": "ValLoop"},
        "val_evaluator": {"type": "Evaluator", "metrics": metric},
    }


if __name__ == "__main__":
    run(main)
