import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import PipelineError
from train.memories.identity import IdentityMemory


def filled(**settings):
    memory = IdentityMemory(3, 8, **settings).eval()
    features, labels = torch.randn(9, 8), torch.arange(9) % 3
    memory.fill(features, labels)
    return memory, features, labels


def test_a_row_is_the_mean_direction_of_its_identity():
    memory, features, labels = filled()
    for identity in range(3):
        mean = F.normalize(features[labels == identity], dim=1).mean(0)
        torch.testing.assert_close(memory.rows[identity], F.normalize(mean, dim=0))


def test_without_an_updater_logits_are_scaled_cosines():
    memory, _, _ = filled(with_updater=False, temperature=0.1)
    features = torch.randn(4, 8)
    expected = 10 * F.cosine_similarity(features[:, None], memory.rows[None], dim=2)
    torch.testing.assert_close(memory(features), expected)


def test_an_updater_compares_each_clip_with_rows_in_its_own_light():
    memory, _, _ = filled()
    features = torch.randn(1, 8).expand(2, -1)
    seen = torch.randn(2, 5, 8)
    one, other = memory(features, seen)
    assert (one - other).abs().max() > 1e-4
    torch.testing.assert_close(memory(features[:1], seen[:1])[0], one)


def test_other_rows_may_take_the_place_of_its_own():
    memory, _, _ = filled(with_updater=False)
    rows = torch.randn(3, 8)
    other = IdentityMemory(3, 8, with_updater=False)
    other.rows.copy_(rows)
    features = torch.randn(4, 8)
    torch.testing.assert_close(memory(features, rows=rows), other(features))


def test_features_of_another_size_are_refused():
    with pytest.raises(PipelineError, match="7 numbers"):
        IdentityMemory(3, 8).fill(torch.randn(3, 7), torch.arange(3))
