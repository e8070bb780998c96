"""Stop a run whose numbers are no longer finite, before anything of it is kept."""

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.registry import HOOKS
from train.run.processes import bare

NEVER = 2**62
PATIENCE = 25


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop when a term of the loss, a gradient or a weight is infinite or not a number.

    In which step that began is noted on the device, since asking in every step would make a GPU
    wait; `check` asks before a log line, and so does the end of an epoch, before there is a score,
    a checkpoint or anything to publish.

    Steps that the scaler of float16 skips are how it finds its scale: what they brought is
    forgotten, unless so many are skipped in a row that no scale will do.

    Args:
        section: Section of params.yaml whose knobs the run has.
    """

    priority = "VERY_HIGH"

    def __init__(self, section: str) -> None:
        """Start with nothing noted."""
        self._section = section
        # By names: the first step in which each was not finite, since the last update and ever.
        self._recent: dict[tuple[str, ...], Tensor] = {}
        self._first: dict[tuple[str, ...], Tensor] = {}
        self._skipped: Tensor | int = 0

    @torch.no_grad()
    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Note what is not finite."""
        step, wrapper = runner.iter + 1, runner.optim_wrapper
        self._note(step, {n: x for n, x in (outputs or {}).items() if n.startswith("loss")})
        if wrapper.should_update():
            self._note(step, {"the gradient": wrapper.largest_gradient})
            if wrapper.scaler.is_enabled():
                self._forgive(~wrapper.largest_gradient.isfinite())
        elif wrapper.scaler.is_enabled():
            # Whether this is forgiven shows when the weights are updated.
            return
        for names, steps in self._recent.items():
            self._first[names] = torch.minimum(self._first.get(names, steps), steps)
        self._recent.clear()

    def _note(self, step: int, values: dict[str, Tensor]) -> None:
        names = tuple(values)
        steps = torch.where(torch.stack(list(values.values())).isfinite(), NEVER, step)
        self._recent[names] = torch.minimum(self._recent.get(names, steps), steps)

    def _forgive(self, is_skipped: Tensor) -> None:
        """Forget what was noted since the last update if the scaler skips this one."""
        self._skipped = (self._skipped + 1) * is_skipped
        is_forgiven = is_skipped & (self._skipped < PATIENCE)
        for names, steps in self._recent.items():
            self._recent[names] = torch.where(is_forgiven, NEVER, steps)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check everything, and on behalf of all processes."""
        for steps in self._first.values():
            all_reduce(steps, "min")
        self.check(runner)
        check_weights(bare(runner.model), self._section)

    def check(self, runner: Runner) -> None:
        """Stop if anything was noted.

        Raises:
            PipelineError: With the step, what was not finite in it, and the knob to turn.
        """
        first: dict[str, int] = {}
        for names, steps in self._first.items():
            for name, step in zip(names, steps.tolist(), strict=True):
                first[name] = min(step, first.get(name, NEVER))
        step = min(first.values(), default=NEVER)
        if step == NEVER:
            return
        found = [name for name, at in first.items() if at == step]
        # A broken term breaks the sum, and the sum the gradient.
        terms = [name for name in found if name.startswith("loss_")] or found[:1]
        epoch = (step - 1) // len(runner.train_dataloader) + 1
        model = type(bare(runner.model)).__name__
        raise PipelineError(
            f"{self._section}: {', '.join(terms)} of the {model} became infinite or NaN in step "
            f"{step} (epoch {epoch}); nothing was published. {self._advice(runner, step)}"
        )

    def _advice(self, runner: Runner, step: int) -> str:
        if runner.optim_wrapper.dtype != torch.float32:
            return f"Set {self._section}.precision=float32, or lower {self._section}.lr"
        if step == 1:
            return "Nothing was learnt before: the shards, or the weights it starts from, are bad"
        return f"Lower {self._section}.lr"


def check_finite(runner: Runner) -> None:
    """Stop a run in which anything was not finite so far; its weights are not looked at."""
    for hook in runner.hooks:
        if isinstance(hook, FiniteHook):
            hook.check(runner)


def check_weights(model: nn.Module, section: str) -> None:
    """Stop if a parameter or buffer of a model is not finite.

    Raises:
        PipelineError: With its name, and the knob to turn.
    """
    state = {name: x for name, x in model.state_dict().items() if x.is_floating_point()}
    is_finite = torch.stack([x.isfinite().all() for x in state.values()]).tolist()
    bad = [name for name, fine in zip(state, is_finite, strict=True) if not fine]
    if bad:
        raise PipelineError(
            f"{section}: {bad[0]} and {len(bad) - 1} other weights of the {type(model).__name__} "
            f"became infinite or NaN; nothing was published. Lower {section}.lr, or set "
            f"{section}.precision=float32"
        )
