"""DinoGRL: two streams of bands, compared band by band, on silhouettes from wherever they come."""

import numpy as np
import pytest
import torch

from pipeline.distances import distances_of
from pipeline.errors import PipelineError
from tests.train.encoders.test_gait import SMALL, VIT
from tests.train.test_every_model import built, clips, features_of, labels_of, loss_of, prepared

TOKENS = {"type": "train.encoders.gait.TokenGaitEncoder", "tokens": VIT, **SMALL}


def test_the_distance_is_the_mean_over_the_bands_of_both_streams():
    model, _, needs = built("dinogrl")
    features = features_of(model, clips(needs))
    comparison = model.comparison()
    assert comparison == {"kind": "parts", "parts": 70, "metric": "euclidean"}
    bands = features.unflatten(1, (70, 16))
    expected = (bands[:, None] - bands[None]).norm(dim=3).mean(2)
    found = distances_of(comparison, features.numpy(), features.numpy())[:]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_at_the_start_the_wholes_have_taken_nothing():
    model, _, needs = built("dinogrl")
    with torch.no_grad():
        bands = model.eval().features(prepared(model, clips(needs)))
    for found in bands.values():
        torch.testing.assert_close(found[:, 31:], found[:, :1].expand(-1, 4, -1))


def test_silhouettes_are_seen_by_gait_and_colours_by_appearance():
    model, _, needs = built("dinogrl", without=["exchange"])
    inputs, other = clips(needs), clips(needs, seed=1)
    before = features_of(model, inputs).chunk(2, dim=1)
    for column, is_same in (("silhouettes", (False, True)), ("frames", (True, False))):
        after = features_of(model, inputs | {column: other[column]}).chunk(2, dim=1)
        assert tuple(torch.equal(a, b) for a, b in zip(before, after, strict=True)) == is_same


def test_the_order_of_frames_does_not_count_and_their_number_is_free():
    model, _, needs = built("dinogrl")
    inputs = clips(needs)
    expected = features_of(model, inputs)
    turned = {n: inputs[n].flip(1) for n in ("frames", "silhouettes", "frame_mask")}
    torch.testing.assert_close(features_of(model, inputs | turned), expected, rtol=1e-4, atol=1e-5)
    short = {n: inputs[n][:, :1] for n in ("frames", "silhouettes", "frame_mask")}
    assert features_of(model, inputs | short).shape == expected.shape


def test_clips_without_silhouettes_are_described_all_the_same():
    model, needs, _ = built("dinogrl")
    inputs = clips(needs)
    inputs["silhouettes"] = torch.zeros_like(inputs["silhouettes"])
    assert features_of(model, inputs).isfinite().all()
    assert loss_of(model.train(), inputs, labels_of()).isfinite()


def test_a_spectrum_counts_once_stems_have_learnt():
    model, _, needs = built("dinogrl")
    inputs = clips(needs)
    turned = inputs | {"spectrum": 3 - inputs["spectrum"]}
    torch.testing.assert_close(features_of(model, inputs), features_of(model, turned))
    stem = next(p for name, p in model.named_parameters() if name.endswith("infrared"))
    torch.nn.init.normal_(stem)
    assert not torch.allclose(features_of(model, inputs), features_of(model, turned))
    alike, _, _ = built("dinogrl", without=["stems"])
    assert not any(name.endswith("infrared") for name, _ in alike.named_parameters())


def test_a_mask_on_frozen_tokens_takes_the_place_of_silhouettes():
    model, needs, needs_at_test = built("dinogrl", gait=TOKENS)
    assert "silhouettes" not in needs | needs_at_test
    inputs = clips(needs)
    found = model.train()(prepared(model, inputs), labels_of(), mode="loss")
    terms = {name.removeprefix("loss_") for name in found if name.startswith("loss_")}
    assert terms == set(model.terms)
    assert found["loss_mask_smooth"] > 0
    sum(value for name, value in found.items() if name.startswith("loss_")).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert features_of(model, inputs).isfinite().all()


def test_silhouettes_are_asked_for_where_they_are_looked_at():
    _, needs, needs_at_test = built("dinogrl")
    assert needs == {"frames", "silhouettes"}
    assert needs_at_test == {"frames", "silhouettes", "camids", "spectrum"}


def test_without_both_streams_nothing_is_left():
    with pytest.raises(PipelineError, match="nothing without gait and appearance"):
        built("dinogrl", without=["gait", "appearance"])
    alone, _, _ = built("dinogrl", without=["gait"])
    assert alone.exchange is None
    assert alone.comparison()["parts"] == 31
