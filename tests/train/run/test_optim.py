from collections.abc import Callable

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from train.run.optim import (
    AutocastOptimWrapper,
    GroupedOptimWrapperConstructor,
    WarmupCosineLR,
    WarmupStepLR,
)


def rates(make: Callable, base: float, epochs: int) -> torch.Tensor:
    wrapper = OptimWrapper(torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=base))
    schedule = make(wrapper)
    seen = []
    for _ in range(epochs):
        seen.append(wrapper.get_lr()["lr"][0])
        wrapper.step()
        schedule.step()
    return torch.tensor(seen)


@pytest.mark.golden
def test_stage_1_rates_agree_with_the_reference(golden):
    theirs = golden("schedules").outputs["stage1_lr_by_epoch"]
    shape = {"warmup_lr": 1e-5, "warmup_epochs": 5, "min_lr": 1e-6, "epochs": 120}
    ours = rates(lambda wrapper: WarmupCosineLR(wrapper, lr=3.5e-4, **shape), 3.5e-4, 120)
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-5, atol=0)


@pytest.mark.golden
def test_stage_2_rates_agree_with_the_reference(golden):
    theirs = golden("schedules").outputs["stage2_lr_by_epoch"]
    shape = {"warmup_factor": 0.1, "warmup_epochs": 10, "milestones": [30, 50, 70]}
    ours = rates(lambda wrapper: WarmupStepLR(wrapper, **shape), 5e-6, 80)
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-5, atol=0)


def test_a_schedule_that_was_saved_goes_on_where_it_was():
    def build() -> tuple[OptimWrapper, WarmupStepLR]:
        wrapper = OptimWrapper(torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0))
        return wrapper, WarmupStepLR(wrapper, 0.1, 4, [6])

    def go(wrapper, schedule, epochs):
        seen = []
        for _ in range(epochs):
            seen.append(wrapper.get_lr()["lr"][0])
            wrapper.step()
            schedule.step()
        return seen

    whole = go(*build(), 9)
    wrapper, schedule = build()
    first = go(wrapper, schedule, 5)
    later, continued = build()
    later.load_state_dict(wrapper.state_dict())
    continued.load_state_dict(schedule.state_dict())
    assert first + go(later, continued, 4) == whole


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual, self.heads = nn.Linear(2, 2), nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_biases_and_new_modules_learn_at_their_own_rates():
    net = Net()
    build = GroupedOptimWrapperConstructor(
        {"type": "train.run.optim.AutocastOptimWrapper", "optimizer": {"type": "Adam", "lr": 0.5}},
        {"bias_lr_mult": 2.0, "new_lr_mult": 10.0, "pretrained": ["visual."]},
    )
    groups = build(net).optimizer.param_groups
    rate_of = {id(own): group["lr"] for group in groups for own in group["params"]}
    assert rate_of == {
        id(net.visual.weight): 0.5,
        id(net.visual.bias): 1.0,
        id(net.heads.weight): 5.0,
        id(net.heads.bias): 5.0,
    }


def test_bfloat16_runs_on_the_cpu_and_leaves_float32_weights():
    net = nn.Linear(4, 4)
    wrapper = AutocastOptimWrapper("bfloat16", optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    before = net.weight.detach().clone()
    with wrapper.optim_context(net):
        out = net(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().square().mean())
    assert net.weight.dtype == torch.float32
    assert not torch.equal(net.weight, before)


def test_accumulated_batches_move_weights_like_one_large_batch():
    data = torch.randn(8, 4)

    def moved(parts: int) -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Linear(4, 1)
        wrapper = AutocastOptimWrapper(
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1), accumulative_counts=parts
        )
        for part in data.chunk(parts):
            with wrapper.optim_context(net):
                loss = net(part).square().mean()
            wrapper.update_params(loss)
        return net.weight.detach()

    torch.testing.assert_close(moved(1), moved(4))


def test_float16_scales_the_loss_and_clips_the_true_gradient():
    net = nn.Linear(4, 1)
    wrapper = AutocastOptimWrapper(
        "float16",
        optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        clip_grad={"max_norm": 1e-3},
    )
    before = net.weight.detach().clone()
    # The first scales overflow, and such steps are skipped.
    while torch.equal(net.weight, before):
        with wrapper.optim_context(net):
            loss = net(torch.ones(2, 4)).float().mean()
        wrapper.update_params(loss)
    assert (net.weight - before).norm() <= 1.01e-3


def test_the_loss_scale_survives_a_checkpoint():
    def build():
        return AutocastOptimWrapper(
            "float16", optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        )

    wrapper, other = build(), build()
    wrapper.scaler.load_state_dict(wrapper.scaler.state_dict() | {"scale": 77.0})
    other.load_state_dict(wrapper.state_dict())
    assert other.scaler.get_scale() == 77.0
