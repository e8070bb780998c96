"""Every system of `conf/model/`: what all of them promise, whatever they are made of.

A system whose encoder has to be another one says so in `ENCODERS`; what it asks of a batch comes
from its `needs`.
"""

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.distances import distances_of
from pipeline.params.config import load
from pipeline.ranking import Ids, cmc_and_map
from tests.conftest import ROOT
from train.data.columns import OF_CAPTIONS, OF_FRAMES, OF_TRACKLETS
from train.models.base import ReidModel
from train.registry import MODELS
from train.run.compose import compose
from train.run.setup import take_needs

SYSTEMS = sorted(file.stem for file in (ROOT / "conf/model").glob("*.yaml"))
# Files of conf/encoder/ that systems are built with here, other than the fine one.
ENCODERS = {"skeleton": "none", "vslat": "clip_vit_l14_adapters"}
PIDS, CLIPS, FRAMES = 3, 4, 4
HEIGHT, WIDTH = 128, 64
SMALL = {"channels": [8, 8, 16, 16], "stem_width": 4, "out_dim": 32}
SMALL_VIT = {"name": "test_vit", "size": [HEIGHT, WIDTH], "out_dim": 32, "adapter_width": 8}


def configured(system: str, **settings: Any) -> dict[str, Any]:
    """Return the configuration of a system with small towers."""
    params = load(path=ROOT / "params.yaml")
    encoder = ENCODERS.get(system, "conv_stem_fine")
    config = compose("stage2", params, encoder, system)
    model = config["model"]
    if "visual" in model and model["visual"]["type"].endswith("CnnEncoder"):
        model["visual"] |= SMALL
    if "visual" in model and model["visual"]["type"].endswith("AdaptedVitEncoder"):
        model["visual"] |= SMALL_VIT
    if "skeleton" in model:
        model["skeleton"] |= {"dim": 16, "layers": 1, "out_dim": SMALL["out_dim"]}
    if "experts" in model:
        model["experts"] = {"dim": 32, "heads": 2}
    if "gait" in model:
        model |= {"gait": model["gait"] | {"channels": [4, 8, 8]}, "dim": 16}
    model["classes"] = PIDS
    model |= settings
    config["needs_at_test"] = take_needs(config)
    return config


def clips(needs: set[str], seed: int = 0, batch: int = PIDS * CLIPS) -> dict[str, torch.Tensor]:
    """Return a batch with all that a system needs, of any value that shards can hold."""
    draw = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(batch, *shape, generator=draw)

    mask = rand(FRAMES) > 0.2
    mask[:, 0] = True
    of_frames = {
        "frames": rand(FRAMES, 3, HEIGHT, WIDTH),
        "kps": rand(FRAMES, 17, 3),
        "silhouettes": (rand(FRAMES, HEIGHT, WIDTH) > 0.5).to(torch.uint8),
        "erased": rand(FRAMES) > 0.5,
        "heights": torch.full((batch, FRAMES), 40),
    }
    of_tracklets = {
        "camids": (torch.arange(batch) % 2),
        "spectrum": 1 + torch.arange(batch) % 2,
        "platform": 1 + torch.arange(batch) // 2 % 2,
        "altitude_m": 100 * rand(),
        "distance_m": 100 * rand(),
        "angle_deg": 90 * rand(),
        "clothes": torch.arange(batch) % 2,
    }
    # A clip in four of which nothing is said.
    is_said = torch.arange(batch)[:, None] % 4 > 0
    of_captions = {
        "words": (torch.arange(batch)[:, None] // CLIPS * 50 + torch.arange(1, 49)) * is_said,
        "text": rand(512) * is_said,
    }
    of_some = of_frames | of_captions
    return {name: value for name, value in of_some.items() if name in needs} | {
        "frame_mask": torch.ones(batch, FRAMES, dtype=torch.bool),
        "xyz": rand(FRAMES, 17, 3) - 0.5,
        "mask": mask,
        **of_tracklets,
    }


def labels_of(batch: int = PIDS * CLIPS) -> torch.Tensor:
    return torch.arange(PIDS).repeat_interleave(batch // PIDS)


class Training:
    """Clips of a data set in memory, as `refresh` reads them."""

    def __init__(self, needs: set[str]) -> None:
        self.inputs, self.labels = clips(needs, seed=9), labels_of().tolist()
        self.pids = list(range(PIDS))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {
            "inputs": {name: value[i] for name, value in self.inputs.items()},
            "labels": self.labels[i],
        }


def built(system: str, **settings: Any) -> tuple[ReidModel, set[str], set[str]]:
    """Return a model that has refreshed once, what it needs, and what it needs at test."""
    config = configured(system, **settings)
    needs = set(config["train_dataloader"]["dataset"]["needs"])
    torch.manual_seed(0)
    model = MODELS.build(config["model"])
    model.refresh(Training(needs))
    return model, needs, set(config["needs_at_test"])


def loss_of(model: ReidModel, inputs: dict, labels: torch.Tensor) -> torch.Tensor:
    found = model(prepared(model, inputs), labels, mode="loss")
    return sum(value for name, value in found.items() if name.startswith("loss_"))


def prepared(model: ReidModel, inputs: dict) -> dict:
    if model.data_preprocessor is None:
        return inputs
    return model.data_preprocessor({"inputs": inputs})["inputs"]


@torch.no_grad()
def features_of(model: ReidModel, inputs: dict) -> torch.Tensor:
    return model.eval()(prepared(model, inputs), mode="predict")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_step_gives_every_parameter_a_gradient_or_it_is_frozen(system):
    model, needs, _ = built(system)
    model.train()
    found = model(prepared(model, clips(needs)), labels_of(), mode="loss")
    terms = {name.removeprefix("loss_") for name in found if name.startswith("loss_")}
    assert terms, "nothing is learnt"
    assert terms <= set(model.terms)
    assert all(value.isfinite().all() for value in found.values())
    loss_of(model, clips(needs), labels_of()).backward()
    trained = [one for one in model.parameters() if one.requires_grad]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{name} has no gradient"
            assert parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name
    before = [one.clone() for one in trained]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    optimizer.step()
    model.after_update()
    # What starts from zero moves first, then what stands before it.
    loss_of(model, clips(needs), labels_of()).backward()
    optimizer.step()
    moved = sum(not torch.equal(a, b) for a, b in zip(before, trained, strict=True))
    assert moved > 0.5 * len(trained)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_term_of_the_loss_has_a_weight_that_counts(system):
    model, needs, _ = built(system)
    model.train()
    torch.manual_seed(1)
    found = model(prepared(model, clips(needs)), labels_of(), mode="loss")
    config = configured(system)["model"]
    for name in (name for name in found if name.startswith("loss_")):
        term = name.removeprefix("loss_")
        weights = config.get("weights", {}) | {term: 0.0}
        assert set(weights) <= set(model.terms)
        without, _, _ = built(system, weights=weights)
        without.train()
        torch.manual_seed(1)
        assert without(prepared(model, clips(needs)), labels_of(), mode="loss")[name] == 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_part_can_be_left_out(system):
    for part in MODELS.get(configured(system)["model"]["type"]).parts:
        model, needs, _ = built(system, without=[part])
        loss_of(model.train(), clips(needs), labels_of()).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"without {part}, {name} has no gradient"
        assert features_of(model, clips(needs)).isfinite().all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_padding_changes_nothing(system):
    """What a mask leaves out may hold anything."""
    model, _, needs_at_test = built(system)
    inputs = clips(needs_at_test | {"xyz"})
    names = {"mask": ["xyz"]}
    if model.masks_frames:
        inputs["frame_mask"][1::2, -1] = False
        names["frame_mask"] = [name for name in OF_FRAMES if name in inputs and name != "xyz"]
    expected = features_of(model, inputs)
    spoilt = {name: value.clone() for name, value in inputs.items()}
    for mask, columns in names.items():
        for column in columns:
            where = ~inputs[mask]
            noise = torch.rand(spoilt[column].shape).to(spoilt[column].dtype)
            spoilt[column][where] = 3 * noise[where]
    close(features_of(model, spoilt), expected)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_order_of_a_batch_and_its_size_change_nothing(system):
    model, _, needs_at_test = built(system)
    inputs = clips(needs_at_test | {"xyz"})
    expected = features_of(model, inputs)
    order = torch.randperm(len(expected), generator=torch.Generator().manual_seed(3))
    close(features_of(model, {k: v[order] for k, v in inputs.items()}), expected[order])
    close(features_of(model, {k: v[:1] for k, v in inputs.items()}), expected[:1])


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_not_needed_at_test_changes_no_feature(system):
    model, needs, needs_at_test = built(system)
    inputs = clips(needs | needs_at_test | {*OF_FRAMES, *OF_CAPTIONS})
    expected = features_of(model, inputs)
    known = {*needs_at_test, "frame_mask"} | ({"mask"} if "xyz" in needs_at_test else set())
    others = clips(set(inputs), seed=1)
    for name in inputs.keys() - known:
        assert torch.equal(features_of(model, inputs | {name: others[name]}), expected), name
        without = {key: value for key, value in inputs.items() if key != name}
        assert torch.equal(features_of(model, without), expected), name
    assert needs_at_test <= {*OF_FRAMES, *OF_TRACKLETS}


@pytest.mark.parametrize("system", SYSTEMS)
def test_weights_travel_whole(system):
    model, needs, needs_at_test = built(system)
    loss_of(model.train(), clips(needs), labels_of()).backward()
    config = configured(system)["model"]
    torch.manual_seed(7)
    other = MODELS.build(config)
    other.load_state_dict(model.state_dict())
    inputs = clips(needs_at_test | {"xyz"})
    assert torch.equal(features_of(other, inputs), features_of(model, inputs))
    torch.manual_seed(2)
    expected = loss_of(model.train(), clips(needs), labels_of())
    torch.manual_seed(2)
    assert torch.equal(loss_of(other.train(), clips(needs), labels_of()), expected)


@pytest.mark.parametrize("system", SYSTEMS)
def test_its_features_can_be_ranked(system):
    model, _, needs_at_test = built(system)
    features = features_of(model, clips(needs_at_test | {"xyz"})).numpy()
    assert features.dtype == np.float32
    comparison = model.comparison()
    if comparison["kind"] == "cosine":
        assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    ids = Ids(labels_of().numpy(), np.arange(len(features)))
    scores = cmc_and_map(distances_of(comparison, features, features), ids, ids)
    assert 0 < scores.mean_ap <= 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_of_a_kind_come_closer(system):
    """A few steps on one batch: what the loss asks for, the features learn."""
    model, needs, _ = built(system)
    model.train()
    inputs = clips(needs)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    first = None
    for step in range(8):
        torch.manual_seed(0)
        loss = loss_of(model, inputs, labels_of())
        first = loss.item() if step == 0 else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_update()
    assert loss.item() < first


def test_the_batch_here_is_that_of_the_data_sets():
    made = clips({*OF_FRAMES, *OF_CAPTIONS})
    assert {*OF_FRAMES, *OF_TRACKLETS, *OF_CAPTIONS, "frame_mask", "mask"} == made.keys()
