"""How parameters move: mixed precision on any device, parameter groups, schedules by epoch."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, pi
from typing import Any, Literal

import torch
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from torch import nn

from train.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
)
from train.run.processes import bare

FUSED = ("Adam", "AdamW", "SGD")
Precision = Literal["float32", "bfloat16", "float16"]


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass in a lower precision, on a CPU as well as on a GPU.

    MMEngine's own AmpOptimWrapper refuses to start without a GPU.

    Args:
        precision: `float16` also scales the loss, against gradients that underflow.
        **kwargs: As for OptimWrapper: optimizer, accumulative_counts, clip_grad.

    Attributes:
        largest_gradient: Of the last update, scaled as it came: one number on the device.
    """

    def __init__(self, precision: Precision = "float32", **kwargs: Any) -> None:
        """Prepare the scaler, which does nothing unless the precision is float16."""
        super().__init__(**kwargs)
        self.dtype = getattr(torch, precision)
        self.device = self.optimizer.param_groups[0]["params"][0].device.type
        self.scaler = torch.amp.GradScaler(self.device, enabled=precision == "float16")

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass; hold back gradient synchronisation while accumulating."""
        with super().optim_context(model), self.autocast():
            yield

    def autocast(self) -> torch.autocast:
        """Return the context in which models compute in the precision of training."""
        return torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32)

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Backpropagate the scaled loss."""
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip the true gradients and update, unless a scaled gradient overflowed."""
        gradients = [
            one.grad
            for group in self.optimizer.param_groups
            for one in group["params"]
            if one.grad is not None
        ]
        self.largest_gradient = torch.nn.utils.get_total_norm(gradients, float("inf"))
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def _clip_grad(self) -> None:
        """Clip; MMEngine's way also reads the norm, for which a GPU has to be waited for."""
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        self.clip_func([p for p in parameters if p.requires_grad], **self.clip_grad_kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state and the loss scale."""
        return super().state_dict() | {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both back."""
        state = dict(state_dict)
        self.scaler.load_state_dict(state.pop("scaler"))
        super().load_state_dict(state)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor:
    """Build an optimizer with one group per learning rate.

    New modules learn `new_lr_mult` times as fast as pretrained ones, and the biases of pretrained
    ones `bias_lr_mult` times (the recipe of TransReID and CLIP-ReID). Frozen parameters are left
    out. MMEngine's default constructor makes a group per parameter, which keeps Adam from
    updating many tensors in one call.

    Args:
        optim_wrapper_cfg: The wrapper's configuration, with `optimizer`.
        paramwise_cfg: `bias_lr_mult`, `new_lr_mult`, and `pretrained`: the prefixes of the
            modules that are not new.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        """Keep both."""
        self._wrapper = dict(optim_wrapper_cfg)
        self._optimizer = dict(self._wrapper.pop("optimizer"))
        self._rules = {"bias_lr_mult": 1.0, "new_lr_mult": 1.0, "pretrained": ("",)}
        self._rules |= paramwise_cfg or {}

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Group the parameters of `model` that need gradients."""
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in bare(model).named_parameters():
            if parameter.requires_grad:
                groups.setdefault(self._multiplier(name), []).append(parameter)
        if self._optimizer["type"] in FUSED and all(
            p.is_cuda for own in groups.values() for p in own
        ):
            # One kernel for all weights, and none that waits for the scaler of float16.
            self._optimizer["fused"] = True
        lr = self._optimizer["lr"]
        params = [{"params": own, "lr": lr * mult} for mult, own in sorted(groups.items())]
        optimizer = OPTIMIZERS.build(self._optimizer | {"params": params})
        return OPTIM_WRAPPERS.build(self._wrapper | {"optimizer": optimizer})

    def _multiplier(self, name: str) -> float:
        if not name.startswith(tuple(self._rules["pretrained"])):
            return self._rules["new_lr_mult"]
        return self._rules["bias_lr_mult"] if name.endswith("bias") else 1.0


class _EpochLR(LRSchedulerMixin, _ParamScheduler):
    """Sets the rate of the epoch that begins, counted from 1, to `base * factor(epoch)`."""

    def factor(self, epoch: int) -> float:
        """Return the rate of an epoch as a share of the full rate."""
        raise NotImplementedError

    def _get_value(self) -> list[float]:
        # A closed form: the rate cannot drift, and a resumed run has the same to the last bit.
        share = self.factor(self.last_step + 1)
        return [base * share for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_EpochLR):
    """Rise linearly from `warmup_lr`, then fall along a cosine to `min_lr` (stage 1).

    Args:
        optimizer: The wrapped optimizer.
        lr: Full rate, which the two others are shares of.
        warmup_lr: Rate that the rise starts from.
        warmup_epochs: Length of the rise.
        min_lr: Rate of the last epoch.
        epochs: Length of the run.
        **kwargs: As for any MMEngine schedule.
    """

    def __init__(
        self,
        optimizer: OptimWrapper,
        lr: float,
        warmup_lr: float,
        warmup_epochs: int,
        min_lr: float,
        epochs: int,
        **kwargs: Any,
    ) -> None:
        """Store the shape; the parent sets the first epoch's rate."""
        self.start, self.end_share = warmup_lr / lr, min_lr / lr
        self.warmup_epochs, self.epochs = warmup_epochs, epochs
        super().__init__(optimizer, **kwargs)

    def factor(self, epoch: int) -> float:
        """Return the share of the full rate."""
        if epoch < self.warmup_epochs:
            return self.start + (1 - self.start) * epoch / self.warmup_epochs
        fallen = (1 + cos(pi * min(epoch / self.epochs, 1.0))) / 2
        return self.end_share + (1 - self.end_share) * fallen


@PARAM_SCHEDULERS.register_module()
class WarmupStepLR(_EpochLR):
    """Rise linearly, then multiply the rate by `gamma` at every milestone (stage 2).

    Args:
        optimizer: The wrapped optimizer.
        warmup_factor: Share of the full rate that the rise starts from.
        warmup_epochs: Length of the rise.
        milestones: Epochs, counted from 1, from which the rate is lower.
        gamma: Factor of each drop.
        **kwargs: As for any MMEngine schedule.
    """

    def __init__(
        self,
        optimizer: OptimWrapper,
        warmup_factor: float,
        warmup_epochs: int,
        milestones: list[int],
        gamma: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Store the shape; the parent sets the first epoch's rate."""
        self.start, self.warmup_epochs = warmup_factor, warmup_epochs
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, **kwargs)

    def factor(self, epoch: int) -> float:
        """Return the share of the full rate."""
        risen = min(epoch / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0
        warmup = self.start + (1 - self.start) * risen
        return warmup * self.gamma ** bisect_right(self.milestones, epoch)
