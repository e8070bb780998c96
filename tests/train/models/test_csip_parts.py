"""CSIP-ReID without some of its parts, some of its skeletons or some of its precision."""

import pytest
import torch

from tests.train.models.small_csip import clips, csip, losses_of


@pytest.mark.parametrize(
    ("without", "terms"),
    [
        ([], {"id", "triplet", "prototype", "frame", "distill"}),
        (["prototypes"], {"id", "triplet", "frame", "distill"}),
        (["temporal"], {"id", "triplet", "prototype"}),
        (["skeleton"], {"id", "triplet", "prototype", "frame"}),
        (
            ["prototypes", "temporal", "skeleton"],
            {"id", "triplet"},
        ),
    ],
)
def test_parts_can_be_switched_off_and_leave_no_idle_parameters(without, terms):
    model = csip(without=without).train()
    losses = losses_of(model, *clips())
    assert losses.keys() == {f"loss_{term}" for term in terms}
    sum(losses.values()).backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    # A frozen tower is the one thing that may do nothing.
    assert not idle


def test_the_skeleton_alone_can_describe_a_clip():
    model = csip(descriptor="skeleton").eval()
    inputs, _ = clips()
    del inputs["frames"]
    descriptor = model(inputs, mode="predict")
    assert descriptor.shape == (8, 16)
    torch.testing.assert_close(descriptor.norm(dim=1), torch.ones(8))


def test_frames_and_skeletons_together_count_as_they_are_weighted():
    model = csip(skeleton_weight=0.25, neck="after").train()
    inputs, labels = clips()
    for _ in range(200):
        losses_of(model, inputs, labels)
    model.eval()
    both = model.describe(inputs, "both")
    visual, skeleton = both.split([both.shape[1] - 16, 16], dim=1)
    torch.testing.assert_close(visual.norm(dim=1), torch.full((8,), 0.8**0.5))
    torch.testing.assert_close(skeleton.norm(dim=1), torch.full((8,), 0.2**0.5))
    # What all have in common is gone: the features point all ways.
    assert skeleton.mean(0).norm() < 0.3 * skeleton.norm(dim=1).mean()
    model.neck = "before"
    assert model.describe(inputs, "skeleton").mean(0).norm() > 0.5
    model.neck = "after"
    other = dict(inputs, xyz=torch.randn(8, 4, 17, 3))
    torch.testing.assert_close(model.describe(other, "both")[:, :-16], visual)
    torch.testing.assert_close(model.describe(other), model.describe(inputs))


def test_a_clip_without_a_good_skeleton_is_described_by_its_frames():
    model = csip().eval()
    inputs, _ = clips()
    inputs["mask"][3] = False
    both = model.describe(inputs, "both")
    assert not both[3, -16:].any()
    torch.testing.assert_close(both.norm(dim=1), torch.ones(8))
    visual = model.describe(dict(inputs, mask=torch.ones(8, 4, dtype=torch.bool)), "both")[3, :-16]
    torch.testing.assert_close(both[3, :-16], visual / visual.norm())


def test_clips_without_skeletons_leave_the_batch_norm_of_skeletons_alone():
    model = csip().train()
    inputs, labels = clips()
    inputs["mask"][:7] = False
    losses_of(model, inputs, labels)
    assert not model.skeleton_neck.running_mean.any()
    inputs["mask"][6] = True
    expected = model.skeleton_feature(inputs)[6:].mean(0)
    losses_of(model, inputs, labels)
    torch.testing.assert_close(model.skeleton_neck.running_mean, 0.1 * expected)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("good", [0, 1])
def test_a_batch_without_skeletons_is_learnt_from_all_the_same(good, precision):
    model = csip().train()
    inputs, labels = clips()
    inputs["mask"][:] = False
    inputs["mask"][:good, 0] = True
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        losses = losses_of(model, inputs, labels)
    assert all(term.isfinite() for term in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_prototype_logits_and_losses_are_float32_under_autocast(monkeypatch):
    model = csip().train()
    seen, cross_entropy = [], torch.nn.functional.cross_entropy
    monkeypatch.setattr(
        "torch.nn.functional.cross_entropy",
        lambda logits, *args, **kwargs: (
            seen.append(logits) or cross_entropy(logits, *args, **kwargs)
        ),
    )
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, *clips())
    assert {term.dtype for term in losses.values()} == {torch.float32}
    assert seen[0].dtype == torch.float32


def test_a_few_steps_lower_every_term():
    model = csip(temporal={"dropout": 0.0}, updater={"dropout": 0.0}).train()
    inputs, labels = clips()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        losses = losses_of(model, inputs, labels)
        history.append({name: term.item() for name, term in losses.items()})
        sum(losses.values()).backward()
        optimizer.step()
    for name in ("loss_id", "loss_triplet", "loss_prototype", "loss_frame"):
        assert history[-1][name] < history[0][name]
