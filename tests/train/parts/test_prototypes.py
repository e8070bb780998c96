import pytest
import torch

from train.parts.prototypes import PrototypeFusion, PrototypeUpdater, prototype_logits
from train.weights.renaming import FUSION, UPDATER, rename


@pytest.mark.golden
def test_fused_prototypes_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("prototype_fusion")
    fusion = PrototypeFusion(dim=16)
    fusion.load_state_dict(rename(params, FUSION))
    agree(fusion(inputs["skeleton"], inputs["visual"]), outputs["fused"])
    agree(fusion.gate(inputs["skeleton"], inputs["visual"]), outputs["gate"])


@pytest.mark.golden
def test_the_update_is_that_of_the_reference(golden, agree):
    inputs, params, outputs = golden("prototype_updater")
    updater = PrototypeUpdater(dim=64).eval()
    updater.load_state_dict(rename(params, UPDATER))
    agree(updater(inputs["prototypes"], inputs["tokens"]), outputs["update"])


def test_the_gate_leans_on_one_modality_when_told_to():
    fusion = PrototypeFusion(dim=16)
    skeleton, visual = torch.randn(7, 16), torch.randn(7, 16)
    for bias, expected in ((50.0, skeleton), (-50.0, visual)):
        torch.nn.init.constant_(fusion.mlp[2].bias, bias)
        torch.testing.assert_close(fusion(skeleton, visual), expected)


def test_shared_prototypes_are_updated_like_copies_of_them():
    updater = PrototypeUpdater(dim=64).eval()
    prototypes, tokens = torch.randn(1, 7, 64), torch.randn(3, 11, 64)
    torch.testing.assert_close(
        updater(prototypes, tokens), updater(prototypes.expand(3, -1, -1), tokens)
    )


def test_each_clip_updates_its_own_prototypes():
    updater = PrototypeUpdater(dim=64).eval()
    prototypes, tokens = torch.randn(1, 7, 64), torch.randn(3, 11, 64)
    order = torch.tensor([2, 0, 1])
    update = updater(prototypes, tokens)
    torch.testing.assert_close(updater(prototypes, tokens[order]), update[order])
    assert (update[0] - update[1]).abs().max() > 1e-6


def test_logits_are_cosines():
    features, prototypes = torch.randn(3, 16), torch.randn(3, 7, 16)
    expected = torch.cosine_similarity(features[:, None], prototypes, dim=-1)
    torch.testing.assert_close(prototype_logits(features, prototypes), expected)
