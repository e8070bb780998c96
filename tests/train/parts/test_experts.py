"""Experts and the gate: what they may look at, and that scoring does what training did."""

import numpy as np
import pytest
import torch

from pipeline.distances import CosineDistances, distances_of, ungated
from train.parts.experts import (
    AppearanceExpert,
    GaitExpert,
    PairGate,
    PairTripletLoss,
    ShapeExpert,
    TapMixer,
    imbalance,
)
from train.parts.precision import unit

EXPERTS, DIM, CLIPS = 3, 8, 6


def gate(seed: int = 0) -> PairGate:
    """Return a gate that has learnt something."""
    torch.manual_seed(seed)
    found = PairGate(EXPERTS, DIM, width=5)
    for parameter in (found.own, found.pair, found.likeness):
        torch.nn.init.normal_(parameter)
    return found


def features(clips: int = CLIPS) -> torch.Tensor:
    return torch.randn(clips, EXPERTS, DIM, generator=torch.Generator().manual_seed(1))


def described(one: PairGate, found: torch.Tensor) -> np.ndarray:
    """Return what a table holds of clips."""
    return torch.cat([unit(found).flatten(1), one.asks(found)], dim=1).detach().numpy()


def test_a_gate_is_symmetric_and_its_weights_are_shares():
    one, found = gate(), features()
    scores, weights = one(found, one.asks(found))
    torch.testing.assert_close(scores, scores.T)
    torch.testing.assert_close(weights.sum(0), torch.ones(CLIPS, CLIPS))
    assert weights.std() > 0.05
    # A softmax of what the class says, for a pair by hand.
    u, f = one.asks(found), unit(found)
    says = [
        one.own[e] @ (u[1] + u[4])
        + u[1] @ (one.pair[e] + one.pair[e].T) / 2 @ u[4]
        + one.likeness[e] * (f[1, e] @ f[4, e])
        for e in range(EXPERTS)
    ]
    torch.testing.assert_close(weights[:, 1, 4], torch.stack(says).softmax(0))


def test_a_gate_that_has_learnt_nothing_is_the_cosine_of_all_features():
    one, found = PairGate(EXPERTS, DIM), features()
    scores, weights = one(found, one.asks(found))
    flat = unit(unit(found).flatten(1))
    torch.testing.assert_close(scores, flat @ flat.T)
    assert torch.equal(weights, torch.full_like(weights, 1 / EXPERTS))
    assert imbalance(weights).item() == pytest.approx(0, abs=1e-7)


def test_scores_of_a_table_are_those_of_training():
    one, found = gate(), features(40)
    table = described(one, found)
    dist = distances_of(one.comparison(), table[:15], table)
    scores, _ = one(found, one.asks(found))
    expected = (1 - scores[:15].detach().numpy()).clip(min=0)
    np.testing.assert_allclose(dist[:], expected, atol=1e-5)
    # In blocks as whole, and from either side.
    np.testing.assert_array_equal(np.concatenate([dist[:4], dist[4:]]), dist[:])
    other_way = distances_of(one.comparison(), table, table[:15])
    np.testing.assert_allclose(other_way[:].T, dist[:], atol=1e-6)


def test_experts_that_count_alike_are_a_cosine():
    one, found = gate(), features(20)
    alike = ungated(one.comparison(), described(one, found))
    flat = unit(found).flatten(1).numpy()
    expected = CosineDistances(flat, flat)[:]
    np.testing.assert_allclose(CosineDistances(alike, alike)[:], expected, atol=1e-6)
    assert ungated({"kind": "cosine"}, flat) is None


def test_imbalance_is_the_divergence_from_alike():
    weights = torch.tensor([0.7, 0.2, 0.1])[:, None, None].expand(3, 4, 4)
    expected = sum(p * np.log(3 * p) for p in (0.7, 0.2, 0.1))
    assert imbalance(weights).item() == pytest.approx(expected, abs=1e-6)
    forgotten = torch.tensor([1.0, 0.0])[:, None, None].expand(2, 3, 3)
    assert imbalance(forgotten).item() == pytest.approx(np.log(2), abs=1e-6)


@pytest.mark.parametrize("kind", [AppearanceExpert, ShapeExpert, GaitExpert])
def test_a_masked_frame_is_not_looked_at(kind):
    expert, tokens = kind(16).eval(), torch.randn(2, 5, 7, 16)
    mask = torch.tensor([[True, True, False, True, False], [True] * 5])
    expected = expert(tokens, mask)
    spoilt = tokens.clone()
    spoilt[~mask] = 50.0
    torch.testing.assert_close(expert(spoilt, mask), expected)
    assert expert(tokens, torch.zeros(2, 5, dtype=torch.bool)).isfinite().all()


def test_gait_sees_how_frames_differ_and_in_which_order_and_nothing_else():
    expert, tokens = GaitExpert(16).eval(), torch.randn(2, 5, 7, 16)
    torch.testing.assert_close(expert(tokens + torch.randn(2, 1, 1, 16)), expert(tokens))
    assert not torch.allclose(expert(tokens.flip(1)), expert(tokens), atol=1e-3)
    still = tokens[:, :1].expand(-1, 5, -1, -1)
    torch.testing.assert_close(expert(still)[0], expert(still)[1])


def test_shape_does_not_know_when_or_where():
    expert, tokens = ShapeExpert(16), torch.randn(2, 5, 7, 16)
    torch.testing.assert_close(expert(tokens.flip(1).flip(2)), expert(tokens))


def test_an_expert_mixes_layers_by_learnt_shares():
    mixer = TapMixer([4, 6], dim=8, heads=2)
    taps = [torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 6)]
    with torch.no_grad():
        mixer.depth.copy_(torch.tensor([50.0, -50.0]))
    other = [taps[0], torch.randn(2, 3, 5, 6)]
    torch.testing.assert_close(mixer(taps), mixer(other))
    assert not torch.allclose(mixer([other[1][..., :4], taps[1]]), mixer(taps))


def test_hardest_pairs_by_hand():
    labels = torch.tensor([0, 0, 1, 1])
    distance = torch.tensor(
        [[0.0, 0.4, 0.3, 0.9], [0.4, 0.0, 0.8, 0.7], [0.3, 0.8, 0.0, 0.5], [0.9, 0.7, 0.5, 0.0]]
    )
    expected = (0.3 + 0.4 - 0.3) + (0.3 + 0.4 - 0.7) + (0.3 + 0.5 - 0.3) + (0.3 + 0.5 - 0.7)
    assert PairTripletLoss()(distance, labels).item() == pytest.approx(expected / 4)


def test_positives_are_those_in_other_clothes_where_there_are_some():
    labels = torch.tensor([0, 0, 0, 1, 1])
    # The first two wear the same; of the last two nobody knows.
    clothes = torch.tensor([0, 0, 1, -1, 2])
    distance = torch.full((5, 5), 1.0)
    distance[0, 1], distance[0, 2] = 0.9, 0.2
    loss = PairTripletLoss(margin=0.0)
    moved = distance.clone()
    moved[0, 1] = 5.0
    assert torch.equal(loss(moved, labels, clothes), loss(distance, labels, clothes))
    assert loss(moved, labels) > loss(distance, labels)
    moved = distance.clone()
    moved[0, 2] = 5.0
    assert loss(moved, labels, clothes) > loss(distance, labels, clothes)
    # Whose clothes nobody knows keeps all positives.
    moved = distance.clone()
    moved[3, 4] = 5.0
    assert loss(moved, labels, clothes) > loss(distance, labels, clothes)
