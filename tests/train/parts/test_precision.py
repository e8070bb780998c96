from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from train.models.contrast import _match_accuracy
from train.parts.losses import BatchHardTripletLoss, SupConLoss
from train.parts.precision import cosine_distance, unit
from train.parts.prototypes import prototype_logits
from train.parts.transg import SkeletonPromptLoss

LABELS = torch.arange(6).repeat_interleave(2)
PROMPT = SkeletonPromptLoss(dim=16, joints=17, frames=4)


def contrasts(frames: Tensor, prototypes: Tensor) -> Tensor:
    mask = torch.ones(12, 4, dtype=torch.bool)
    return torch.stack(PROMPT._contrasts(frames, LABELS, prototypes[:6], mask))


# What compares features, as functions of tensors whose first dimension is 12.
COMPARE: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "unit": (unit, [(16,)]),
    "cosine distance": (cosine_distance, [(16,), (16,)]),
    "prototype logits": (prototype_logits, [(16,), (6, 16)]),
    "contrast": (lambda a, b: SupConLoss(0.01)(a, b, LABELS), [(16,), (16,)]),
    "triplets": (lambda a: BatchHardTripletLoss(5.0)(a, LABELS), [(16,)]),
    "prompt contrasts": (contrasts, [(4, 16), (16,)]),
    "match accuracy": (lambda a, b: _match_accuracy(a, b, LABELS), [(16,), (16,)]),
}


def evaluate(
    compare: Callable[..., Tensor], features: list[Tensor], lower: torch.dtype | None
) -> tuple[Tensor, list[Tensor]]:
    """Return values and gradients, computed inside autocast where a lower precision is given."""
    inputs = [x.clone().requires_grad_() for x in features]
    with torch.autocast("cpu", lower, enabled=lower is not None):
        value = compare(*inputs)
    if value.requires_grad:
        value.float().sum().backward()
    return value.detach(), [x.grad for x in inputs if x.grad is not None]


@pytest.mark.parametrize("name", COMPARE)
@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99))
def test_features_are_compared_in_float32_whatever_autocast_says(name, lower, seed):
    compare, shapes = COMPARE[name]
    torch.manual_seed(seed)
    # Features of untrained towers: a large part in common.
    features = [1 + 0.1 * torch.randn(12, *shape) for shape in shapes]
    value, gradients = evaluate(compare, features, lower)
    assert value.dtype == torch.float32
    # To the last bit: nothing in there was rounded.
    torch.testing.assert_close(
        (value, gradients), evaluate(compare, features, None), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", COMPARE)
def test_features_that_come_in_bfloat16_are_raised_before_they_are_compared(name):
    compare, shapes = COMPARE[name]
    rounded = [torch.randn(12, *shape).bfloat16() for shape in shapes]
    value, _ = evaluate(compare, rounded, torch.bfloat16)
    expected, _ = evaluate(compare, [x.float() for x in rounded], None)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
