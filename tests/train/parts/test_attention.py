import pytest
import torch

from train.parts.attention import Attention, position_code
from train.parts.batch import masked_mean


def test_attention_computes_what_torch_computes():
    ours, theirs = Attention(32, 4), torch.nn.MultiheadAttention(32, 4, batch_first=True)
    q, k, v = theirs.in_proj_weight.chunk(3)
    for layer, weight in (
        (ours.q, q),
        (ours.k, k),
        (ours.v, v),
        (ours.out, theirs.out_proj.weight),
    ):
        layer.weight.data = weight.detach()
        torch.nn.init.zeros_(layer.bias)
    queries, memory = torch.randn(3, 5, 32), torch.randn(3, 7, 32)
    mask = torch.rand(3, 7) > 0.4
    expected, _ = theirs(queries, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(ours(queries, memory, mask), expected)


@pytest.mark.parametrize("clamp", [None, 5.0])
def test_masked_memory_is_as_good_as_absent(clamp):
    attention = Attention(16, 2, clamp=clamp)
    queries, memory = torch.randn(2, 3, 16), torch.randn(2, 6, 16)
    mask = torch.arange(6).expand(2, 6) < 4
    torch.testing.assert_close(attention(queries, memory, mask), attention(queries, memory[:, :4]))


@pytest.mark.parametrize("clamp", [None, 5.0])
def test_a_sample_without_memory_neither_breaks_nor_spoils_the_gradient(clamp):
    attention = Attention(16, 2, clamp=clamp)
    tokens = torch.randn(2, 3, 16, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    out = attention(tokens, mask=mask)
    torch.testing.assert_close(out[1], attention.out.bias.expand(3, -1))
    out.sum().backward()
    assert tokens.grad.isfinite().all()


def test_logits_are_clamped():
    attention = Attention(8, 1, clamp=5.0)
    for layer in (attention.q, attention.k, attention.v, attention.out):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    memory = torch.eye(2, 8)[None]
    loud = attention(1e4 * memory, memory)
    share = torch.tensor([5.0, 0.0]).softmax(0)
    torch.testing.assert_close(loud[0, 0, :2], share)


def test_no_two_positions_share_a_code():
    code = position_code(64, 16, torch.device("cpu"))
    distance = torch.cdist(code, code) + torch.eye(64) * 9
    assert distance.min() > 0.1


def test_the_mean_of_no_frames_is_zero():
    values = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    mean = masked_mean(values, mask)
    torch.testing.assert_close(mean[0], values[0, :2].mean(0))
    assert not mean[1].any()
