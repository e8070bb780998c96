"""What a step costs: it waits for no device, falls back to no Python, keeps little."""

import copy

import pytest
import torch
from torch import nn

from bench.syncs import Syncs
from tests.train.two_processes import SKELETON, VISUAL, batch, model
from train.memories import passes
from train.memories.passes import over_clips
from train.models.contrast import Stage1Model
from train.parts.losses import SupConLoss
from train.parts.norms import masked_norm
from train.parts.temporal import SkeletonGuidedTemporalModule
from train.run.finite import FiniteHook


def systems():
    first = {"stage1": model("stage1"), "stage2": model("stage2")}
    return first | {"with identities": Stage1Model(VISUAL, SKELETON, classes=4)}


@pytest.mark.parametrize("name", ["stage1", "stage2", "with identities"])
def test_a_step_waits_for_no_device(name):
    net, (inputs, labels) = systems()[name].train(), batch()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], fused=True)
    hook, runner = FiniteHook("stage2"), Stepping()
    with Syncs() as syncs:
        terms = net(inputs, labels, mode="loss")
        sum(term for key, term in terms.items() if key.startswith("loss")).backward()
        optimizer.step()
        hook.after_train_iter(runner, 0, None, terms)
    assert not syncs.found


class Stepping:
    """As much of a runner and its optimizer's wrapper as the hook looks at."""

    iter = 0
    largest_gradient = torch.tensor(1.0)

    @property
    def optim_wrapper(self):
        return self

    @property
    def scaler(self):
        return self

    def should_update(self) -> bool:
        return True

    def is_enabled(self) -> bool:
        return False


def test_what_waits_is_counted():
    values, mask = torch.randn(4), torch.tensor([True, False, True, True])
    with Syncs() as syncs:
        values[mask].sum()
        if mask.any():
            values.nonzero()
        values.sum().backward if values.requires_grad else values.max().item()
    assert syncs.found == {"index": 1, "_local_scalar_dense": 2, "nonzero": 1}


@pytest.mark.parametrize("good", [8, 5, 2])
def test_a_masked_norm_is_that_of_the_clips_that_count(good):
    torch.manual_seed(good)
    norm, features = nn.BatchNorm1d(6), torch.randn(8, 6, requires_grad=True)
    nn.init.normal_(norm.weight)
    theirs, keep = copy.deepcopy(norm), torch.arange(8) < good
    ours = masked_norm(norm, features, keep)[keep]
    expected = theirs(features[keep])
    torch.testing.assert_close(ours, expected)
    (own,) = torch.autograd.grad(ours.square().sum(), features, retain_graph=True)
    (other,) = torch.autograd.grad(expected.square().sum(), features)
    torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)
    assert norm.state_dict().keys() == theirs.state_dict().keys()
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])


@pytest.mark.parametrize("good", [0, 1])
def test_fewer_than_two_move_no_statistics(good):
    norm = nn.BatchNorm1d(3)
    before = copy.deepcopy(norm.state_dict())
    assert masked_norm(norm, torch.randn(4, 3), torch.arange(4) < good).isfinite().all()
    assert all(torch.equal(x, before[name]) for name, x in norm.state_dict().items())


def test_clips_that_do_not_count_change_no_contrast():
    loss, keep = SupConLoss(), torch.tensor([True, True, False, True, True])
    labels = torch.tensor([0, 0, 1, 1, 0])
    visual, skeleton = torch.randn(2, 5, 8)
    expected = loss(visual[keep], skeleton[keep], labels[keep])
    torch.testing.assert_close(loss(visual, skeleton, labels, keep), expected)


@pytest.mark.parametrize("name", ["stage1", "with identities"])
def test_a_batch_without_any_skeleton_teaches_nothing(name):
    net, (inputs, labels) = systems()[name].train(), batch()
    inputs["mask"] = torch.zeros_like(inputs["mask"])
    terms = net(inputs, labels, mode="loss")
    losses = [term for key, term in terms.items() if key.startswith("loss")]
    assert [loss.item() for loss in losses] == [0.0] * len(losses)
    sum(losses).backward()
    assert all((p.grad == 0).all() for p in net.parameters() if p.grad is not None)
    assert terms["match_accuracy"] == 0


def temporal(dropout: float = 0.1):
    torch.manual_seed(0)
    return SkeletonGuidedTemporalModule(dim=32, skeleton_dim=16, heads=4, dropout=dropout).train()


def test_both_paths_at_once_are_two_calls_with_the_same_dropout():
    sgtm, visual = temporal(), torch.randn(2, 4, 9, 32, requires_grad=True)
    skeleton, mask = torch.randn(2, 4, 17, 16), torch.rand(2, 4) > 0.3
    torch.manual_seed(1)
    two = sgtm(visual), sgtm(visual, skeleton, mask)
    torch.manual_seed(1)
    one = sgtm(visual, skeleton, mask, both=True)
    for ours, expected in zip(one, two, strict=True):
        torch.testing.assert_close(ours, expected)
    weights = [p for name, p in sgtm.named_parameters()]
    gradients = [
        torch.autograd.grad(a.square().sum() + b.sin().sum(), [visual, *weights], allow_unused=True)
        for a, b in (one, two)
    ]
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_the_wide_layer_is_made_again_and_not_kept():
    sgtm, visual = temporal(), torch.randn(2, 4, 64, 32)
    widths = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: widths.append(x.shape[-1]) or x, lambda x: x
    ):
        sgtm(visual)
    # The weights of the layer are this wide; of its activations none is kept.
    assert 128 not in widths


def test_four_parts_are_a_graph_each():
    net = model("stage2").train()
    given = {
        "visual": (torch.randn(2, 3, 64, 32), torch.zeros(2, dtype=torch.int64)),
        "skeleton": (torch.randn(1, 4, 17, 3), torch.ones(1, 4, dtype=torch.bool)),
        "updater": (torch.randn(1, 9, 16), torch.randn(1, 20, 16)),
        "temporal": (torch.randn(1, 4, 9, 64), torch.randn(1, 4, 18, 16), None, True),
    }
    for name, inputs in given.items():
        torch._dynamo.reset()
        found = torch._dynamo.explain(getattr(net, name))(*inputs)
        assert found.graph_break_count == 0, (name, found.break_reasons)


class Numbered(torch.utils.data.Dataset):
    """Clips that are their own number."""

    workers = 0

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int):
        return {"inputs": {"xyz": torch.full((2,), float(index))}, "labels": index % 3}


class Still(nn.Module):
    data_preprocessor = None


def test_shares_of_all_processes_are_the_whole_in_order(monkeypatch):
    whole = over_clips(Still(), Numbered(), lambda inputs: inputs["xyz"], 3)
    torch.testing.assert_close(whole[0][:, 0], torch.arange(7.0))
    shares: list[list[torch.Tensor]] = []
    for rank in range(2):
        own: list[torch.Tensor] = []
        monkeypatch.setattr(passes, "get_dist_info", lambda rank=rank: (rank, 2))
        monkeypatch.setattr(passes, "gather", lambda x, own=own: own.append(x) or x.repeat(2, 1)
                            if x.dim() > 1 else own.append(x) or x.repeat(2))  # fmt: skip
        over_clips(Still(), Numbered(), lambda inputs: inputs["xyz"], 3)
        shares.append(own)
    monkeypatch.setattr(passes, "gather", lambda share: torch.cat([shares[0][i], shares[1][i]]))
    for i, expected in enumerate(whole):
        torch.testing.assert_close(passes._in_order(shares[0][i], 2, 7), expected)
