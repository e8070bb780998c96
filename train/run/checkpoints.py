"""Checkpoints that survive a kill, and what is found of them."""

import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from pipeline import console, paths
from pipeline.errors import PipelineError
from pipeline.files.tensors import read_pickle
from pipeline.names import listed
from pipeline.openmmlab import safe_loading
from train.registry import HOOKS
from train.run.processes import bare

# What a checkpoint holds.
_KEPT = {"meta", "state_dict", "optimizer", "param_schedulers", "message_hub"}


@HOOKS.register_module()
class ResumeHook(Hook):
    """Write checkpoints that a kill cannot damage, and that load without running code.

    The file gets its name when it is complete, and the one before stays until then. Unlike those
    of MMEngine's own hook it holds no history buffers and no configuration, which PyTorch would
    refuse to load (mmengine#1655), and no path, so the folder can be moved.

    Args:
        minutes: Between two checkpoints; one is written at the end of an epoch.
    """

    # After the schedule has moved the rate.
    priority = "VERY_LOW"

    def __init__(self, minutes: float) -> None:
        """Take the interval; the last epoch is kept in any case."""
        self._seconds, self._saved = 60 * minutes, time.monotonic()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the frozen parts, which the model has already."""
        own = bare(runner.model).state_dict()
        checkpoint["state_dict"] = own | checkpoint["state_dict"]

    def after_train_epoch(self, runner: Runner) -> None:
        """Save what `Runner.resume` needs."""
        due = time.monotonic() - self._saved >= self._seconds or self.is_last_train_epoch(runner)
        if not due or not is_main_process():
            return
        info = runner.message_hub.runtime_info
        kept = {name: info[name] for name in ("history", "best") if name in info}
        checkpoint = {
            "meta": {
                "epoch": runner.epoch + 1,
                "iter": runner.iter,
                "seed": runner.seed,
                "dataset_meta": runner.train_dataloader.dataset.metainfo,
            },
            "state_dict": bare(runner.model).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "param_schedulers": [one.state_dict() for one in runner.param_schedulers],
            "message_hub": {
                "log_scalars": {},
                "runtime_info": kept,
                "resumed_keys": dict.fromkeys(kept, True),
            },
        }
        runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        if "ema_state_dict" not in checkpoint:
            checkpoint["state_dict"] = without_frozen(runner, bare(runner.model))
        folder = Path(runner.work_dir)
        final = folder / f"epoch_{runner.epoch + 1}.pth"
        with paths.write_atomic(final) as temporary:
            torch.save(checkpoint, temporary)
        best = best_file(folder, kept["best"]["epoch"]) if "best" in kept else None
        for older in {*folder.glob("epoch_*.pth"), *folder.glob("best_*.pth")} - {final, best}:
            older.unlink()
        self._saved = time.monotonic()


def frozen_parts(model: nn.Module) -> list[str]:
    """Return which towers of a model do not learn: each comes from a file, or from the seed."""
    towers = {name: getattr(model, name, None) for name in ("visual", "skeleton")}
    return [
        name
        for name, tower in towers.items()
        if tower is not None and not any(p.requires_grad for p in tower.parameters())
    ]


def without_frozen(runner: Runner, model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a run's model, or of its average, without frozen towers."""
    frozen = tuple(f"{name}." for name in frozen_parts(bare(runner.model)))
    return {name: x for name, x in model.state_dict().items() if not name.startswith(frozen)}


def best_file(folder: Path, epoch: int) -> Path:
    """Return where the weights of the best epoch lie.

    It stays until a checkpoint knows a better one, so that the two always belong together.
    """
    return folder / f"best_{epoch}.pth"


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the sound checkpoint of the last epoch in a folder, wherever that was moved to."""
    found = {
        int(number): file
        for file in listed(folder, "epoch_*.pth")
        if (number := file.stem.removeprefix("epoch_")).isdecimal()
    }
    return next((found[one] for one in sorted(found, reverse=True) if _is_sound(found[one])), None)


def _is_sound(checkpoint: Path) -> bool:
    """Return whether a run can go on from a checkpoint, and say so where it cannot."""
    safe_loading()
    try:
        content = read_pickle(checkpoint, "The epochs since are trained again")
        if not isinstance(content, dict) or not content.keys() >= _KEPT:
            raise PipelineError(f"{checkpoint} is no checkpoint. The run begins again")
    except PipelineError as error:
        console.warn(str(error))
        return False
    return True
