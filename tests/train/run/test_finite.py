import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from pipeline.errors import PipelineError
from tests.stages import make
from train.run.finite import PATIENCE, FiniteHook, check_weights
from train.run.optim import AutocastOptimWrapper


class Run:
    """A run of one weight, without data: each step takes the loss that a test thinks of."""

    def __init__(self, precision: str = "float32", accumulate: int = 1) -> None:
        self.model, self.iter, self.train_dataloader = nn.Linear(1, 1), 0, range(10)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.optim_wrapper = AutocastOptimWrapper(
            precision, optimizer=optimizer, accumulative_counts=accumulate
        )
        self.hook = FiniteHook("stage2")

    def step(self, factor: float = 1.0, term: float = 0.0) -> None:
        """Train a step on `factor * weight`, beside a term that has no gradient."""
        terms = {"loss_id": factor * self.model.weight.sum(), "loss_frame": torch.tensor(term)}
        outputs = {"loss": sum(terms.values()), **terms, "accuracy": torch.tensor(torch.nan)}
        self.optim_wrapper.update_params(outputs["loss"])
        self.hook.after_train_iter(self, 0, None, outputs)
        self.iter += 1

    def check(self) -> None:
        self.hook.after_train_epoch(self)


def test_finite_numbers_stop_nothing():
    run = Run()
    for factor in (1.0, 0.0, -1e15, 1e15):
        run.step(factor)
    run.check()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_the_first_bad_step_and_its_term_are_named_however_late_one_asks(bad):
    run = Run()
    for step in range(1, 26):
        run.step(term=bad if step in (13, 20) else 0.0)
    with pytest.raises(PipelineError) as stopped:
        run.check()
    assert "stage2: loss_frame of the Linear became infinite or NaN in step 13 (epoch 2)" in str(
        stopped.value
    )
    assert "Lower stage2.lr" in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_a_bad_gradient_is_named_although_all_losses_after_it_are_bad_too():
    run = Run()
    # The root of 0 has the derivative infinity.
    loss = (run.model.weight * 0.0).sum().abs().sqrt()
    run.optim_wrapper.update_params(loss)
    run.hook.after_train_iter(run, 0, None, {"loss": loss, "loss_id": loss})
    run.iter += 1
    run.step()
    with pytest.raises(PipelineError, match=r"the gradient of the Linear became .* in step 1 "):
        run.check()


def test_a_step_that_the_scaler_skips_is_no_error():
    run = Run("float16")
    for factor in (1e35, 1.0, torch.inf, 1.0):
        run.step(factor)
    assert run.optim_wrapper.scaler.get_scale() < 2**16
    assert run.model.weight.isfinite()
    run.check()


def test_a_skipped_update_forgives_all_the_batches_it_accumulated():
    run = Run("float16", accumulate=3)
    for factor in (1.0, torch.inf, 1.0, 1.0, 1.0, 1.0):
        run.step(factor)
    run.check()
    run = Run("float32", accumulate=3)
    for factor in (1.0, torch.inf):
        run.step(factor)
    with pytest.raises(PipelineError, match=r"loss_id .* in step 2 "):
        run.check()


def test_a_scaler_that_skips_every_step_is_an_error():
    run = Run("float16")
    run.step()
    for _ in range(PATIENCE):
        run.step(torch.nan)
    with pytest.raises(PipelineError, match=r"loss_id .* Set stage2\.precision=float32"):
        run.check()


def test_weights_and_statistics_are_looked_at():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    check_weights(model, "stage1")
    model[1].running_var[1] = torch.inf
    with pytest.raises(PipelineError, match=r"1\.running_var.*nothing was published.*stage1\.lr"):
        check_weights(model, "stage1")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_step_is_watched_without_waiting_for_the_device(precision):
    run = Run(precision)
    # Tensors without values: whoever looks at one fails.
    unknown = torch.tensor(1.0, device="meta")
    run.optim_wrapper.largest_gradient = unknown
    for _ in range(2):
        run.hook.after_train_iter(run, 0, None, {"loss": unknown, "loss_id": unknown})
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        run.hook.check(run)


FRAME = "heads.frame.classifier.weight"
# Overrides, the weight that breaks, and what is said. An epoch has two steps; with two identities
# held out, one.
RUNS = {
    "stage1": ([], "visual.proj.weight", "stage1: loss_id, loss_contrast of the Stage1Model", 5),
    "alone": (
        ["stage1.skeleton_epochs=4"],
        "head.classifier.weight",
        "stage1: loss_id of the SkeletonModel",
        5,
    ),
    "averaged": (["stage2.ema=0.9"], FRAME, "stage2: loss_frame of the CsipModel", 5),
    "held out": (["stage2.held_out=2"], FRAME, "stage2: loss_frame of the CsipModel", 3),
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_that_breaks_publishes_nothing_and_leaves_finite_checkpoints(
    after_stage1, monkeypatch, kind
):
    overrides, weight, said, step = RUNS[kind]

    def poison(hook: FiniteHook, runner: Runner) -> None:
        if runner.epoch == 2:
            with torch.no_grad():
                runner.model.get_parameter(weight).fill_(torch.nan)

    if kind == "held out":
        # They must be strangers to stage 1 too.
        make("stage1", "tiny", *overrides)
        first = Path("work/try/trial/models/tiny/stage1.safetensors")
        first.rename("models/tiny/stage1.safetensors")
        shutil.rmtree("work/try")
    monkeypatch.setattr(FiniteHook, "before_train_epoch", poison)
    section = said.partition(":")[0]
    with pytest.raises(PipelineError, match=rf"{said} .* in step {step} \(epoch 3\)") as stopped:
        make(section, "tiny", *overrides, f"{section}.epochs=4")
    assert f"Lower {section}.lr" in str(stopped.value)
    assert not (after_stage1 / "work/try/trial/models").exists()
    assert not (after_stage1 / "work/try/trial/reports").exists()
    kept = {file.name: torch.load(file, weights_only=True) for file in after_stage1.rglob("*.pth")}
    assert "epoch_2.pth" in kept
    assert not kept.keys() - {"epoch_2.pth", "best_1.pth", "best_2.pth"}
    for state in kept.values():
        for value in state.get("state_dict", state).values():
            assert value.isfinite().all()
