"""What happens around training: seeds, towers, what is made anew, held-out people, log lines."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from pipeline import console, paths
from train.registry import HOOKS
from train.run.checkpoints import best_file, frozen_parts, without_frozen
from train.run.finite import check_finite
from train.run.processes import bare
from train.weights.checkpoint import load, load_part

LINE_EVERY_S = 30.0


def result(runner: Runner) -> nn.Module:
    """Return the model whose weights count: the running average where there is one."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model.module
    return bare(runner.model)


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed every iteration from (seed, iteration, rank): a resumed run draws the same dropout.

    Once per epoch is not enough: a data loader takes a random number when it starts its workers,
    which a run does once, but a killed and resumed run twice.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed all generators of this process."""
        sequence = np.random.SeedSequence((runner.seed, runner.iter, get_rank()))
        seed = int(sequence.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@HOOKS.register_module()
class TowersHook(Hook):
    """Start from the towers that an earlier run trained.

    Args:
        path: What it published: one tower or both.
    """

    def __init__(self, path: str) -> None:
        """Take the file."""
        self._path = Path(path)

    def before_train(self, runner: Runner) -> None:
        """Load the towers the model has; those that learn only where the run begins."""
        state, _ = load(self._path)
        model = bare(runner.model)
        for name in frozen_parts(model) if runner.epoch else ("visual", "skeleton"):
            part = getattr(model, name)
            if part is not None and any(key.startswith(f"{name}.") for key in state):
                load_part(part, state, f"{name}.", self._path)


@HOOKS.register_module()
class RefreshHook(Hook):
    """Let the model make anew what is made of all training clips, as prototypes, every some epochs.

    It also tells the model after every update that its weights have moved.

    Args:
        every: Epochs between two refreshes; the first happens before the first epoch.
    """

    priority = "HIGH"

    def __init__(self, every: int) -> None:
        """Take the interval."""
        self._every = every

    def before_train_epoch(self, runner: Runner) -> None:
        """Refresh when it is time; between two refreshes the checkpoint carries what was made."""
        model: Any = bare(runner.model)
        model.begin_epoch(runner.epoch, runner.max_epochs)
        if runner.epoch % self._every == 0:
            dataset = runner.train_dataloader.dataset
            dataset.workers = runner.train_dataloader.num_workers
            wrapper: Any = runner.optim_wrapper
            with wrapper.autocast():
                model.refresh(dataset)
            runner.message_hub.update_info("shown", model.shown(dataset))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Tell the model."""
        bare(runner.model).after_update()


@HOOKS.register_module()
class HeldOutHook(Hook):
    """Score the held-out training identities after every epoch and keep the best weights.

    MMEngine's loop validates after the checkpoint is written; a run killed in between would forget
    that score. Here the checkpoint of an epoch holds its score.
    """

    # Before the log line and the checkpoint, which both carry the score.
    priority = "HIGH"

    def after_train_epoch(self, runner: Runner) -> None:
        """Validate; the weights of the best epoch are kept."""
        for metric in runner.val_loop.evaluator.metrics:
            metric.comparison = result(runner).comparison()
        scores = runner.val_loop.run()
        runner.message_hub.update_info("scores", {f"val_{k}": float(v) for k, v in scores.items()})
        best = runner.message_hub.runtime_info.get("best")
        if best is not None and scores["mAP"] <= best["mAP"]:
            return
        best = {"mAP": float(scores["mAP"]), "epoch": runner.epoch + 1}
        runner.message_hub.update_info("best", best)
        if is_main_process():
            file = best_file(Path(runner.work_dir), best["epoch"])
            with paths.write_atomic(file) as temporary:
                torch.save(without_frozen(runner, result(runner)), temporary)


@HOOKS.register_module()
class EpochLogHook(Hook):
    """Print a line per epoch, and keep the numbers for the curves.

    The history travels in the checkpoint, so the curves of a killed and resumed run are those of
    an undisturbed one.
    """

    # Before the checkpoint, which carries the history, and before the schedule moves the rate.
    priority = "ABOVE_NORMAL"

    def before_train(self, runner: Runner) -> None:
        """Write the curves so far."""
        self._history = list(runner.message_hub.runtime_info.get("history", []))
        for epoch, numbers in enumerate(self._history):
            runner.visualizer.add_scalars(numbers, step=epoch + 1)
        self._started, self._first_iter = time.monotonic(), runner.iter
        self._last_line = self._started

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the epoch's sums."""
        self._sums: dict[str, Tensor] = {}
        # A batch without a skeleton has fewer terms.
        self._counts: Counter[str] = Counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Add up; the sums stay on the device, since reading them would make a GPU wait."""
        for name, value in (outputs or {}).items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
            self._counts[name] += 1
        if time.monotonic() - self._last_line > LINE_EVERY_S:
            check_finite(runner)
            done = runner.epoch + (batch_idx + 1) / len(runner.train_dataloader)
            self._line(runner, f"{done:.2f}", self._means(), runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Print the line and add to the history."""
        numbers = self._means() | {"lr": runner.optim_wrapper.get_lr()["lr"][0]}
        for source in ("shown", "scores"):
            numbers |= runner.message_hub.runtime_info.get(source, {})
        self._history.append(numbers)
        runner.message_hub.update_info("history", self._history)
        if is_main_process():
            runner.visualizer.add_scalars(numbers, step=runner.epoch + 1)
        self._line(runner, str(runner.epoch + 1), numbers, runner.iter)

    def _means(self) -> dict[str, float]:
        return {name: float(value) / self._counts[name] for name, value in self._sums.items()}

    def _line(self, runner: Runner, epoch: str, numbers: dict[str, float], done: int) -> None:
        self._last_line = time.monotonic()
        if not is_main_process():
            return
        rate = (done - self._first_iter) / (self._last_line - self._started)
        left = console.duration((runner.max_iters - done) / rate)
        parts = [f"epoch {epoch}/{runner.max_epochs}"]
        parts += [f"{_short(name)} {value:.3g}" for name, value in numbers.items()]
        console.say(console.folded([*parts, console.speed(rate, "it"), f"eta {left}"]))


def _short(name: str) -> str:
    return {"accuracy": "acc", "match_accuracy": "acc"}.get(name, name.removeprefix("loss_"))
