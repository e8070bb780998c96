"""A memory that reads captions: each row its own, and those without stay."""

import pytest
import torch

from pipeline.errors import PipelineError
from train.encoders.words import EmbeddingEncoder, WordEncoder
from train.memories.captions import CaptionRefiner, SaidOf


def test_captions_change_the_row_of_their_identity_alone():
    refiner, rows, said = CaptionRefiner(16, 2), torch.randn(4, 16), torch.randn(4, 3, 16)
    has_caption = torch.tensor([[True] * 3, [True, False, False], [False] * 3, [True, True, False]])
    before = refiner(rows, said, has_caption)
    other = said.clone()
    other[1] = torch.randn(3, 16)
    after = refiner(rows, other, has_caption)
    changed = (before != after).any(1)
    assert changed.tolist() == [False, True, False, False]
    assert torch.equal(before[2], rows[2])
    # What a mask leaves out is not read.
    spoilt = said.clone()
    spoilt[~has_caption] = 99.0
    torch.testing.assert_close(refiner(rows, spoilt, has_caption), before)


def test_the_order_of_captions_does_not_matter():
    refiner, rows, said = CaptionRefiner(16, 2), torch.randn(4, 16), torch.randn(4, 3, 16)
    has_caption = torch.ones(4, 3, dtype=torch.bool)
    torch.testing.assert_close(
        refiner(rows, said.flip(1), has_caption), refiner(rows, said, has_caption)
    )


def test_a_row_without_captions_sends_no_gradient_to_the_refiner():
    refiner, said = CaptionRefiner(16, 2), torch.randn(2, 3, 16)
    refined = refiner(torch.randn(2, 16), said, torch.tensor([[True] * 3, [False] * 3]))
    refined[1].sum().backward()
    assert all(not p.grad.any() for p in refiner.parameters() if p.grad is not None)


def test_as_many_are_kept_as_there_is_room_for():
    said = SaidOf(classes=3, limit=2, length=2, kind=torch.int64)
    rows = torch.tensor([[1, 0], [2, 2], [0, 0], [3, 0], [4, 4]])
    said.fill(rows, torch.tensor([1, 1, 0, 1, 2]))
    assert said.said.tolist() == [[[0, 0], [0, 0]], [[1, 0], [2, 2]], [[4, 4], [0, 0]]]
    assert said.has_caption.tolist() == [[False, False], [True, True], [True, False]]
    said.fill(torch.zeros(1, 2), torch.tensor([1]))
    assert not said.said.any()
    with pytest.raises(PipelineError, match=r"captions\.length"):
        said.fill(torch.ones(1, 3), torch.tensor([0]))


def test_words_are_a_mean_of_those_that_are_there():
    encoder = WordEncoder(out_dim=8, numbers=50, width=6)
    expected = encoder.write(encoder.words[[3, 9]].mean(0))
    found = encoder(torch.tensor([[3, 9, 0, 0], [9, 0, 3, 0], [0, 0, 0, 0]]))
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[1], expected)
    torch.testing.assert_close(found[2], encoder.write.bias)
    found[:2].sum().backward()
    assert encoder.words.grad.abs().sum(1).nonzero().flatten().tolist() == [3, 9]


def test_embeddings_pass_one_layer():
    encoder, rows = EmbeddingEncoder(out_dim=8, length=5), torch.randn(3, 5)
    expected = rows @ encoder.write.weight.T + encoder.write.bias
    torch.testing.assert_close(encoder(rows), expected)
