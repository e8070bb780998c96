"""LSMRL: partners in training alone, and the path without one is the one of test."""

import pytest
import torch

from tests.train.test_every_model import built, clips, features_of, labels_of, prepared
from train.models.lsmrl import LsmrlModel


def spoken(model: LsmrlModel) -> LsmrlModel:
    """Let what starts silent say something."""
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if name.startswith(("partner.attention.out", "prompts.gate", "along.")):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def taught(model: LsmrlModel, inputs: dict) -> tuple[dict, dict]:
    with torch.no_grad():
        return model.eval()._taught(prepared(model, inputs), labels_of())


@pytest.mark.parametrize("alone", [1.0, 0.0])
def test_clips_left_alone_are_taught_as_they_will_be_tested(alone):
    model, needs, _ = built("lsmrl", alone=alone)
    inputs = clips(needs)
    features, terms = taught(spoken(model), inputs)
    with torch.no_grad():
        tested = model.features(prepared(model, inputs))
    is_same = [torch.allclose(features[n], tested[n], rtol=1e-4, atol=1e-5) for n in tested]
    assert is_same == [alone == 1.0] * 2
    assert (terms["tie"].item() > 1e-6) == (alone == 0.0)


def test_the_path_alone_follows_the_guided_one_and_not_the_other_way_round(monkeypatch):
    model, needs, _ = built("lsmrl")
    inputs = prepared(model, clips(needs, batch=2))
    inputs["frames"].requires_grad_()
    # The first clip is guided by the second, which is left alone.
    draws = {(2, 2): torch.full((2, 2), 0.5), (2,): torch.tensor([0.9, 0.1])}
    monkeypatch.setattr(torch, "rand", lambda shape, device: draws[tuple(torch.empty(shape).shape)])
    _, terms = spoken(model).eval()._taught(inputs, torch.tensor([0, 0]))
    terms["tie"].backward()
    moved = inputs["frames"].grad.abs().amax((1, 2, 3, 4)) > 0
    assert moved.tolist() == [True, False]


def test_at_test_nobody_asks_for_the_spectrum():
    model, needs, needs_at_test = built("lsmrl")
    assert needs == {"frames", "spectrum"}
    assert needs_at_test == {"frames", "camids"}
    inputs = clips(needs_at_test)
    turned = inputs | {"spectrum": 3 - inputs["spectrum"]}
    assert torch.equal(features_of(model, inputs), features_of(model, turned))


def test_prompts_and_names_are_the_same_for_both_spectra():
    """A term for names that hold by day and by night: swapping the spectra changes nothing."""
    model, needs, _ = built("lsmrl", without=["partner"])
    spoken(model).train()
    inputs = prepared(model, clips(needs))
    found = [
        model(inputs | {"spectrum": one}, labels_of(), mode="loss")
        for one in (inputs["spectrum"], 3 - inputs["spectrum"])
    ]
    torch.testing.assert_close(found[0]["loss_names"], found[1]["loss_names"])
    torch.testing.assert_close(found[0]["loss_mmd"], found[1]["loss_mmd"])
    assert "loss_tie" not in found[0]


def test_a_transformer_is_taken_too():
    vit = {"type": "train.encoders.image.VitEncoder", "name": "test_vit", "size": (64, 32)}
    model = LsmrlModel(vit | {"depth": 3, "out_dim": 16}, 3)
    assert not list(model.along.parameters())
    inputs = {"frames": torch.rand(6, 4, 3, 64, 32), "spectrum": torch.tensor([1, 2] * 3)}
    terms = model(inputs, torch.arange(3).repeat_interleave(2), mode="loss")
    sum(value for name, value in terms.items() if name.startswith("loss_")).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
