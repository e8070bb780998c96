"""Training of the model that re-identifies.

Run one:   python -m train.stage2 --run walkers
"""

from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.stage import Stage, run_stage

if TYPE_CHECKING:
    from train.run.training import Training

AVERAGE = {"type": "train.run.averaging.AverageHook"}


def stage2(stage: Stage) -> "Training":
    """Train the system that a line of `runs` names (stage 2).

    Writes models/RUN/stage2.safetensors, and curves to reports/RUN/stage2/. A stopped run
    continues where its last epoch ended.

    Example: python -m train.stage2 --run walkers stage2.lr=1e-5
    """
    from train.run.compose import compose
    from train.run.processes import choose_device
    from train.run.setup import (
        fit_sampler,
        report_dir,
        shard_files,
        take_captions,
        take_data,
        take_needs,
        take_start,
        use_joints,
    )
    from train.run.training import Training

    knobs, runtime = stage.params.stage2, stage.params.runtime
    choose_device(runtime.device, knobs.precision, runtime.deterministic)
    config = compose("stage2", stage.params, stage.params.encoder_of(stage.key), stage.line.model)
    take_data(stage, config)
    needs_at_test = take_needs(config)
    inputs = (*shard_files(stage), *take_captions(stage, config), *take_start(stage, config))
    use_joints(config)
    _check_start(stage, config)
    config["model"]["classes"] = fit_sampler(stage, config)
    if knobs.ema:
        config["custom_hooks"].append(AVERAGE | {"decay": knobs.ema})
    if knobs.held_out:
        config |= _validation(stage, config["train_dataloader"]["dataset"], needs_at_test)
        config["custom_hooks"].append({"type": "train.run.hooks.HeldOutHook"})
        config["train_cfg"]["val_begin"] = knobs.epochs + 1  # the hook validates
    return Training(
        stage,
        config,
        inputs,
        stage.out(paths.stage2_file(stage.key)),
        report_dir(stage),
        about=about_model(stage, config, needs_at_test),
        then="embed",
        learn=_learn(stage, config) if knobs.held_out else None,
    )


def about_model(stage: Stage, config: dict[str, Any], needs_at_test: list[str]) -> dict[str, Any]:
    """Return what stands in the file of a model about itself: all that is needed to use it."""
    data = config["train_dataloader"]["dataset"]
    names = ("clip_frames", "frame_size", "shuffle_frames")
    return {
        "stage": "stage2",
        "system": stage.line.model,
        "encoder": stage.params.encoder_of(stage.key),
        "skeleton": config["model"].get("skeleton"),
        "held_out": stage.params.stage2.held_out,
        "dataset": stage.dataset,
        "model": config["model"],
        "clips": {name: data[name] for name in names} | {"needs": needs_at_test},
        "seed": stage.params.stage2.seed,
    }


def _check_start(stage: Stage, config: dict[str, Any]) -> None:
    """Check that an encoder that is not trained here was trained before."""
    from train.registry import MODELS
    from train.trained import has_guide

    hooks = [hook["type"] for hook in config["custom_hooks"]]
    if "train.run.hooks.TowersHook" in hooks:
        return
    line: Any = stage.line
    model, starts = config["model"], f"{stage.key} starts from {line.start}"
    if has_guide(model):
        raise PipelineError(
            f"{line.model} is guided by a skeleton encoder that this stage does not train, "
            f"but {starts}. Let it start from stage 1, or set "
            "stage2.settings.without=[skeleton]"
        )
    is_random = (model.get("visual") or {}).get("weights") is None
    if getattr(MODELS.get(model["type"]), "keeps_encoder", False) and is_random:
        raise PipelineError(
            f"{line.model} leaves its visual encoder as it comes, but {starts}, where it is "
            "random. Let it start from stage 1, from models/RUN/stage2.safetensors of another run, "
            "or from published weights"
        )


def _validation(stage: Stage, data: dict[str, Any], needs_at_test: list[str]) -> dict[str, Any]:
    """Return the loop that scores the held-out identities by the dataset's own camera rule."""
    from extract.rules import rules_of

    index = stage.read(paths.index_file(stage.dataset))
    metric = {
        "type": "train.run.validation.RetrievalMetric",
        "same_camera_counts": rules_of(index, stage.rebuild("index"))["same_camera_counts"],
    }
    names = ("root", "clip_frames", "frame_size", "shuffle_frames", "held_out", "limit")
    dataset = {
        "type": "train.data.clips.TestDataset",
        "splits": ["train"],
        **{name: data[name] for name in names},
        "needs": needs_at_test,
    }
    loader = {
        "dataset": dataset,
        "sampler": {"type": "train.data.sampler.ShareSampler"},
        "batch_size": 32,
        "num_workers": 0,
        "collate_fn": {"type": "train.data.collate.collate"},
    }
    return {
        "val_dataloader": loader,
        "val_cfg": {"type": "ValLoop"},
        "val_evaluator": {"type": "Evaluator", "metrics": metric},
    }


def _learn(stage: Stage, config: dict[str, Any]) -> Any:
    """Return what asks the held-out people how much skeletons count, how near strangers come."""

    def ask(model: Any, runner: Any) -> dict[str, Any]:
        from train.run.calibration import described_people, skeleton_weights
        from train.run.strangers import strangers

        people = runner.val_dataloader.dataset
        found = described_people(model, people, stage.params.runtime.workers)
        pids = people.table["pid"].to_numpy()
        if model.skeleton is None or model.visual is None:
            return {"strangers": strangers(found, pids, comparison=model.comparison())}
        rule = config["val_evaluator"]["metrics"]["same_camera_counts"]
        weights = skeleton_weights(found, people.table, rule)
        return {"skeleton_weight": weights, "strangers": strangers(found, pids, weights)}

    return ask


if __name__ == "__main__":
    run_stage("stage2", stage2)
