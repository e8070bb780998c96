"""Weights are found wherever a training program put them."""

import pytest
import torch

from pipeline.errors import PipelineError
from pipeline.files import tensors

STATE = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}


def prefixed(prefix):
    return {f"{prefix}{name}": value for name, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 7},
        {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.5"},
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        {"model": prefixed("module.")},
        {"state_dict_ema": STATE},
        {"model_ema": {"module": STATE}},
        prefixed("module.") | {"n_averaged": torch.tensor(3)},
    ],
)
def test_known_layouts_are_taken_apart(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    found = tensors.read_pickle(tmp_path / "a.pth", "")
    assert tensors.states(found, tmp_path / "a.pth", "").keys() == STATE.keys()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (torch.zeros(3), "holds a bare tensor"),
        ([torch.zeros(3)], "holds list"),
        (None, "holds NoneType"),
        ({}, "holds no named weights"),
        ({"epoch": 3}, "holds no named weights"),
        ({1: torch.zeros(3)}, "holds no named weights"),
    ],
)
def test_what_holds_no_weights_is_one_line(tmp_path, content, said):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(PipelineError, match=rf"a.pth {said}"):
        tensors.states(tensors.read_pickle(tmp_path / "a.pth", ""), tmp_path / "a.pth", "")
