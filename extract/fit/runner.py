"""Run one short fit under MMEngine's Runner, without files, hooks or logs that nobody reads."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from extract.engine import models
from pipeline import console


class Bfloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 where the device has it.

    MMEngine's AmpOptimWrapper (0.10.7) refuses the CPU.
    """

    def __init__(self, device: str, **kwargs: Any) -> None:
        """Wrap an optimizer for a model on `device`."""
        super().__init__(**kwargs)
        self._device = device
        self._precision = "bfloat16" if models.fast_bfloat16(device) else "float32"

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Yield the context of one forward pass."""
        with super().optim_context(model), models.autocast(self._device, self._precision):
            yield


def answer_in_float32(model: nn.Module) -> None:
    """Let the loss and the accuracy of an MMPose model see float32, whatever its layers run in.

    Its heads hand their output to NumPy, which has no bfloat16.
    """
    forward = model.head.forward
    # Heads call their own `forward`, so a hook would not be asked.
    model.head.forward = lambda features: forward(features).float()


class _MeterHook(Hook):
    """Shows the loss on the progress bar."""

    def __init__(self, meter: console.Meter, batch_items: int) -> None:
        self._meter, self._items = meter, batch_items

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Advance by one batch."""
        self._meter.advance(self._items, loss=f"{outputs['loss'].item():.4f}")


def train(
    name: str,
    model: nn.Module,
    batches: torch.utils.data.IterableDataset,
    batch_items: int,
    lr: float,
    weight_decay: float,
    device: str,
    seed: int,
) -> None:
    """Train `model` in place with AdamW, a short warm-up and a cosine decay.

    Args:
        name: What progress calls it.
        model: An MMPose model.
        batches: Yields what the model's data preprocessor takes, a whole batch at a time.
        batch_items: Items in a batch, for the rate shown.
        lr: Highest learning rate.
        weight_decay: Of AdamW.
        device: Where the model is.
        seed: Of dropout; the Runner would draw one at random.
    """
    answer_in_float32(model)
    iterations = len(batches)
    warm_up = max(1, iterations // 20)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    clip = {"max_norm": 1.0}
    with (
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory() as folder,
        console.progress(iterations * batch_items, "items", name) as meter,
    ):
        # MMEngine 0.10.7 imports pkg_resources, which setuptools 80 announces to drop.
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        runner = Runner(
            model=model,
            work_dir=folder,
            train_dataloader=torch.utils.data.DataLoader(batches, batch_size=None),
            train_cfg={"by_epoch": False, "max_iters": iterations, "val_interval": iterations + 1},
            optim_wrapper=Bfloat16OptimWrapper(device, optimizer=optimizer, clip_grad=clip),
            param_scheduler=[
                {"type": "LinearLR", "start_factor": 0.05, "by_epoch": False, "end": warm_up},
                {"type": "CosineAnnealingLR", "by_epoch": False, "begin": warm_up,
                 "end": iterations, "eta_min": lr * 0.002},
            ],
            default_hooks={"checkpoint": None, "logger": None, "sampler_seed": None},
            custom_hooks=[_MeterHook(meter, batch_items)],
            # MMEngine keeps its objects by name in the process: two fits must not share one.
            experiment_name=uuid4().hex,
            default_scope="mmpose", log_level="ERROR", randomness={"seed": seed},
        )  # fmt: skip
        runner.train()
