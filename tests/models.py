"""Models as stage 2 publishes them, that have learnt nothing."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.stage import start
from train.registry import DATASETS, MODELS
from train.run.compose import Config, compose
from train.run.setup import take_needs
from train.stage2 import about_model
from train.weights.checkpoint import save


def configured(run: str, *overrides: str) -> tuple[Any, Config]:
    """Return the stage and its configuration, for four identities, without looking for shards."""
    stage = start("stage2", run, list(overrides))
    config = compose("stage2", stage.params, stage.params.encoder_of(run), stage.line.model)
    config["model"]["classes"] = 4
    config["train_dataloader"]["dataset"]["root"] = f"data/shards/{stage.dataset}"
    return stage, config


def publish(run: str = "fake", *overrides: str, with_prototypes: bool = False) -> nn.Module:
    """Publish a model with random weights, and if asked for with the prototypes of its dataset."""
    from train.memories.prototypes import prototypes

    stage, config = configured(run, *overrides)
    torch.manual_seed(0)
    model = MODELS.build(config["model"])
    if with_prototypes and model.updater is not None:
        data = DATASETS.build(dict(config["train_dataloader"]["dataset"]))
        model.set_prototypes(*prototypes(model, data, 4))
    for head in model.heads.values() if hasattr(model, "heads") else [model.head]:
        head.neck.running_mean.normal_()
    about = about_model(stage, config, take_needs(config)) | {"epoch": 1}
    save(Path(f"models/{run}/stage2.safetensors"), model, {"about": about})
    return model
