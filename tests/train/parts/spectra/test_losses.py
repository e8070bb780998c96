import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from train.parts.spectra.losses import WIDTHS, HeteroCentreLoss, MmdLoss

LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
SPECTRUM = torch.tensor([1, 1, 2, 1, 2, 2, 1, 0])


def features() -> torch.Tensor:
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_centres_are_compared_as_by_hand():
    given, margin = features(), 0.7
    keys = [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]
    centres = np.stack(
        [given[(who == LABELS) & (how == SPECTRUM)].mean(0).numpy() for who, how in keys]
    )
    distance = euclidean_distances(centres)
    found = []
    for i, (who, how) in enumerate(keys):
        own = [distance[i, j] for j, (w, h) in enumerate(keys) if w == who and h != how]
        other = [distance[i, j] for j, (w, _) in enumerate(keys) if w != who]
        if own:
            found.append(max(0.0, margin + own[0] - min(other)))
    loss = HeteroCentreLoss(margin)(given, LABELS, SPECTRUM)
    assert len(found) == 4
    assert loss.item() == pytest.approx(np.mean(found), rel=1e-6)


def test_a_clip_more_does_not_make_a_centre_or_an_identity_count_more():
    given = features()
    twice = [*range(8), 2]
    again = (given[twice], LABELS[twice], SPECTRUM[twice])
    found = HeteroCentreLoss(0.7)(*again)
    torch.testing.assert_close(found, HeteroCentreLoss(0.7)(given, LABELS, SPECTRUM))
    # All clips twice: the same kernel, the same means.
    thrice = [*range(8)] * 3
    found = MmdLoss()(given[thrice], LABELS[thrice], SPECTRUM[thrice])
    torch.testing.assert_close(found, MmdLoss()(given, LABELS, SPECTRUM))


def test_the_discrepancy_is_that_of_kernels_by_scikit_learn():
    """Identities 0 and 1 are there in both spectra and count alike; 2 is not."""
    given = features()
    kept = given[:6].numpy()
    mean = (euclidean_distances(kept) ** 2).mean()
    kernel = np.mean([rbf_kernel(kept, gamma=1 / (width * mean)) for width in WIDTHS], axis=0)
    visible = np.array([0.25, 0.25, 0, 0.5, 0, 0])
    infrared = np.array([0, 0, 0.5, 0, 0.25, 0.25])
    expected = (
        visible @ kernel @ visible + infrared @ kernel @ infrared - 2 * visible @ kernel @ infrared
    )
    loss = MmdLoss()(given, LABELS, SPECTRUM)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_equal_features_have_no_discrepancy_and_moved_ones_have():
    half, loss = torch.randn(6, 4), MmdLoss()
    both, labels = torch.cat([half, half]), torch.arange(3).repeat(4)
    spectrum = torch.tensor([1, 2]).repeat_interleave(6)
    assert loss(both, labels, spectrum).item() == pytest.approx(0.0, abs=1e-6)
    far = [loss(both + by * (spectrum == 2)[:, None], labels, spectrum) for by in (0.5, 1.0, 3.0)]
    assert 0 < far[0] < far[1] < far[2]


@pytest.mark.parametrize("loss", [HeteroCentreLoss(), MmdLoss()])
@pytest.mark.parametrize("spectrum", [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 2, 2]])
def test_a_batch_without_anybody_in_both_spectra_teaches_nothing(loss, spectrum):
    given = torch.randn(4, 3, requires_grad=True)
    found = loss(given, torch.tensor([0, 0, 1, 1]), torch.tensor(spectrum))
    found.backward()
    assert found.item() == 0
    assert given.grad.eq(0).all()


def test_one_identity_alone_has_no_others_to_be_far_from():
    labels, spectrum = torch.zeros(4, dtype=torch.long), torch.tensor([1, 1, 2, 2])
    assert HeteroCentreLoss()(torch.randn(4, 3), labels, spectrum).item() == 0


def test_in_half_precision_losses_are_those_of_float32():
    given = features().float()
    for loss in (HeteroCentreLoss(), MmdLoss()):
        lower = given.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(lower, LABELS, SPECTRUM)
        torch.testing.assert_close(found, loss(lower.float(), LABELS, SPECTRUM))
