import pytest
import torch

from train.parts.silhouettes import (
    LookBranch,
    MaskBranch,
    PartBranch,
    StreamFusion,
    foreground,
    refine,
    sameness,
    smoothness,
)
from train.weights.renaming import LOOK_BRANCH, MASK_BRANCH, PART_BRANCH, STREAM_FUSION, rename


@pytest.mark.golden
def test_silhouettes_are_those_of_the_reference(golden, agree):
    inputs, _, outputs = golden("silhouettes")
    body = foreground(inputs["mask"])
    agree(body, outputs["body"])
    agree(refine(body), outputs["refined"])
    agree(smoothness(inputs["maps"])[None], outputs["smoothness"])
    # The entropies: their difference is small, and what is left of it float noise.
    agree(2 - sameness(inputs["shares"])[None], 2 - outputs["diversity"])


def load(module, params, prefix, rules):
    own = {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}
    module.load_state_dict(rename(own, rules), strict=False)
    return module.eval()


@pytest.mark.golden
def test_branches_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("silhouette_branches")
    mask = load(MaskBranch(12), params, "mask.", MASK_BRANCH)
    shares, loss = mask(inputs["last"])
    agree(shares, outputs["mask"])
    agree(loss[None], outputs["mask_mse"])
    part = load(PartBranch(24, 4), params, "part.", PART_BRANCH)
    agree(part(inputs["four"]), outputs["part"])
    look = load(LookBranch(24, 4), params, "appearance.", LOOK_BRANCH)
    agree(look(inputs["four"]), outputs["appearance"])


@pytest.mark.golden
def test_streams_are_fused_as_in_the_reference(golden, agree):
    inputs, params, outputs = golden("silhouette_branches")
    fusion = load(StreamFusion(8), params, "fusion.", STREAM_FUSION)
    one, other = (inputs[name].transpose(1, 2).flatten(0, 1) for name in ("part", "appearance"))
    fused = fusion(one, other).unflatten(0, (2, 3)).transpose(1, 2)
    agree(fused, outputs["fused"])


def test_a_hole_is_closed_and_the_outside_stays_empty():
    silhouette = torch.zeros(1, 20, 20)
    silhouette[:, 4:16, 4:16] = 0.9
    silhouette[:, 9, 9] = 0.2
    refined = refine(silhouette)[0]
    assert refined[9, 9] == 1
    assert refined[:3].eq(0).all()
    assert refined[4, 4] == pytest.approx(0.9)


def test_an_empty_silhouette_stays_finite():
    empty = torch.zeros(2, 24, 12)
    assert refine(empty).eq(0).all()
    assert sameness(torch.zeros(1, 4, 3) + 1e-12).isfinite()


def test_equal_use_of_channels_is_not_punished():
    assert sameness(torch.full((2, 9, 4), 0.25)).item() == pytest.approx(0.0, abs=1e-6)
    alone = torch.zeros(2, 9, 4)
    alone[..., 0] = 1.0
    assert sameness(alone).item() == pytest.approx(2.0, abs=1e-5)
