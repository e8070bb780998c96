"""Partners of tracklets: found from both sides, and never in the own view."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from train.memories.tracklets import LEVELS, Pairs, TrackletMemory, _table, of_segments
from train.parts.precision import unit

N, DIM, PEOPLE = 48, 12, 8


def filled(noise: float = 0.3, seed: int = 0, **settings: float) -> tuple[TrackletMemory, dict]:
    """Return a memory of people seen by two visible and two infrared cameras, nearly alike."""
    draw = torch.Generator().manual_seed(seed)
    people = torch.arange(N) % PEOPLE
    cameras = torch.randint(0, 4, (N,), generator=draw)
    spectra = 1 + (cameras >= 2).long()
    rows = torch.randn(PEOPLE, DIM, generator=draw)[people]
    rows = rows + noise * torch.randn(N, DIM, generator=draw)
    memory = TrackletMemory(N, DIM, **settings)
    memory.start(rows, torch.arange(N), cameras, spectra)
    return memory, {"people": people, "cameras": cameras, "spectra": spectra}


def mined(quantile: float = 0.0, **settings: float) -> tuple[TrackletMemory, dict]:
    memory, about = filled(**settings)
    for level in LEVELS:
        memory.mine(level, quantile)
    return memory, about


def both(memory: TrackletMemory, level: str) -> set[tuple[int, int]]:
    first, second, _ = memory.pairs(level)
    return set(zip(first.tolist(), second.tolist(), strict=True))


@pytest.mark.parametrize("level", LEVELS)
def test_partners_are_mutual_and_never_of_the_own_view(level):
    memory, about = mined()
    found = both(memory, level)
    assert found
    assert found == {(b, a) for a, b in found}
    cameras, spectra = about["cameras"], about["spectra"]
    for a, b in found:
        assert cameras[a] != cameras[b]
        assert (spectra[a] != spectra[b]) == (level == "spectra")


def test_pairs_are_those_of_two_loops():
    memory, about = filled(noise=1.0)
    memory.mine("views", 0.4)
    bank, cameras = memory.bank.numpy().astype(float), about["cameras"].numpy()
    cosine = bank @ bank.T

    def nearest(i: int, camera: int) -> int:
        there = np.flatnonzero(cameras == camera)
        return there[cosine[i, there].argmax()]

    other = {0: 1, 1: 0, 2: 3, 3: 2}
    best = [cosine[i, nearest(i, other[c])] for i, c in enumerate(cameras)]
    threshold = np.quantile(best, 0.4)
    expected = set()
    for i, camera in enumerate(cameras):
        j = nearest(i, other[camera])
        if nearest(j, camera) == i and cosine[i, j] >= threshold - 1e-6:
            expected.add((i, int(j)))
    assert expected
    assert both(memory, "views") == expected


@pytest.mark.parametrize("level", LEVELS)
def test_shares_sum_to_one_and_are_a_softmax_of_cosines(level):
    memory, _ = mined(softness=0.2)
    shares = memory.shares[LEVELS.index(level)]
    sums = shares.sum(1)
    has = sums > 0
    assert has.any()
    torch.testing.assert_close(sums[has], torch.ones(int(has.sum())))
    if level == "views":
        first, _, cosine = memory.pairs(level)
        for row in first.unique().tolist():
            own = shares[row][shares[row] > 0].numpy()
            assert np.allclose(own, softmax(cosine[first == row].numpy() / 0.2), atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_a_higher_threshold_finds_a_part_of_the_pairs(level):
    memory, _ = filled(noise=0.8)
    memory.mine("views", 0.3)
    found = []
    for quantile in (0.0, 0.3, 0.7, 1.0):
        memory.mine(level, quantile)
        found.append(both(memory, level))
    assert all(few < more for more, few in pairwise(found))


def test_nearly_equal_pictures_of_people_are_all_found():
    memory, about = mined(noise=0.02)
    people = about["people"]
    for level in LEVELS:
        assert all(people[a] == people[b] for a, b in both(memory, level))


def test_the_second_level_looks_at_what_partners_have_in_common():
    """Infrared is like the partner alone: only the group comes near enough to be mutual."""
    rows = torch.tensor([[1.0, 0, 0], [1.0, 0.9, 0], [0.2, 1.0, 0], [0.85, 0.0, 0.5]])
    memory = TrackletMemory(4, 3)
    memory.start(rows, torch.arange(4), torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 2, 1]))
    memory.partners[0, 0, 0], memory.shares[0, 0, 0] = 1, 1.0
    alone = memory.bank[0] @ memory.bank[2]
    assert memory._groups()[0] @ memory.bank[2] > alone
    torch.testing.assert_close(memory._groups()[2:], memory.bank[2:])


def test_of_one_view_there_are_no_partners():
    memory = TrackletMemory(4, 3)
    memory.start(torch.randn(4, 3), torch.arange(4), torch.zeros(4), torch.zeros(4))
    features = torch.randn(4, 3, requires_grad=True)
    for level in LEVELS:
        memory.mine(level, 0.0)
        assert not both(memory, level)
        assert memory.across(level, features, torch.arange(4)) == 0
    memory.own(features, torch.arange(4)).backward()
    assert features.grad.isfinite().all()
    assert features.grad.any()


def test_the_own_view_s_nearest_other_is_no_stranger():
    memory, about = filled()
    torch.manual_seed(0)
    features, labels = torch.randn(6, DIM), torch.arange(6)
    logits = (unit(features) @ memory.bank.T / 0.07).numpy().astype(float)
    cosine = (memory.bank @ memory.bank.T).numpy()
    cameras, losses = about["cameras"].numpy(), []
    for i in range(6):
        view = [j for j in np.flatnonzero(cameras == cameras[i]) if j != i]
        nearest = max(view, key=lambda j: cosine[i, j])
        kept = [i, *(j for j in view if j != nearest)]
        losses.append(-log_softmax(logits[i, kept])[0])
    assert memory.own(features, labels).item() == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_the_loss_of_partners_is_a_soft_cross_entropy_over_other_views(level):
    memory, about = mined(noise=0.6)
    torch.manual_seed(0)
    features, labels = torch.randn(N, DIM), torch.arange(N)
    logits = (unit(features) @ memory.bank.T / 0.07).numpy().astype(float)
    shares = np.zeros((N, N))
    place = LEVELS.index(level)
    for i in range(N):
        for j, share in zip(memory.partners[place, i], memory.shares[place, i], strict=True):
            shares[i, j] += share
    cameras, spectra = about["cameras"].numpy(), about["spectra"].numpy()
    losses = []
    for i in np.flatnonzero(shares.sum(1)):
        is_same = spectra == spectra[i]
        allowed = ~is_same if level == "spectra" else is_same & (cameras != cameras[i])
        losses.append(-(shares[i, allowed] * log_softmax(logits[i, allowed])).sum())
    assert memory.across(level, features, labels).item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_only_rows_of_the_batch_move_and_stay_of_length_one():
    memory, _ = filled()
    before = memory.bank.clone()
    target = torch.randn(2, DIM)
    memory.move(target, torch.tensor([3, 3]))
    others = torch.arange(N) != 3
    assert torch.equal(memory.bank[others], before[others])
    expected = unit(0.9 * before[3] + 0.1 * unit(unit(target).sum(0)))
    torch.testing.assert_close(memory.bank[3], expected)


def test_a_segment_that_disagrees_counts_less_than_in_a_mean():
    good, bad = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    segments = torch.stack([good, good, bad])[None]
    found = of_segments(segments)[0]
    assert found @ good > unit(segments.mean(1))[0] @ good
    torch.testing.assert_close(of_segments(segments[:, :2])[0], good)


def test_only_the_most_similar_partners_are_kept():
    """Six tracklets that are all each other's partners."""
    first, second = torch.triu_indices(6, 6, 1)
    cosine = torch.rand(15, generator=torch.Generator().manual_seed(0))
    partners, shares = _table(Pairs(first, second, cosine), 6, most=2, softness=0.1)
    square = torch.full((6, 6), -1.0)
    square[first, second] = square[second, first] = cosine
    best = square.topk(2)
    assert torch.equal(partners, best.indices)
    torch.testing.assert_close(shares, (best.values / 0.1).softmax(1))
