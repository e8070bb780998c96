import pytest
import torch

from train.parts.pools import AttentionPool, ConvAttentionPool, SimilarityOrderPool
from train.weights.renaming import CONV_POOL, ORDER_POOL, rename

POOLS = {"linear": lambda: AttentionPool(16), "conv": lambda: ConvAttentionPool(16, 8)}


@pytest.mark.golden
def test_a_linear_score_weighs_as_the_reference(golden, own, agree):
    inputs, params, outputs = golden("temporal_attention_pool")
    pool = AttentionPool(20)
    pool.load_state_dict({name.replace("fc", "score"): x for name, x in params.items()})
    pooled, weights = pool(inputs["frames"])
    agree(pooled, outputs["pooled"])
    agree(weights, outputs["weights"])
    pooled, weights = pool(inputs["frames"], inputs["mask"])
    agree(pooled, own("temporal_attention_pool")["masked_pooled"])
    agree(weights, own("temporal_attention_pool")["masked_weights"])


@pytest.mark.golden
def test_a_score_of_neighbours_weighs_as_the_reference(golden, agree):
    inputs, params, outputs = golden("conv_attention_pool")
    pool = ConvAttentionPool(16, 8)
    pool.load_state_dict(rename(params, CONV_POOL))
    pooled, weights = pool(inputs["frames"])
    agree(pool.scores(inputs["frames"]), outputs["scores"])
    agree(weights, outputs["weights"])
    agree(pooled, outputs["pooled"])


@pytest.mark.golden
def test_patches_are_ordered_and_pooled_as_in_the_reference(golden, agree):
    inputs, params, outputs = golden("similarity_order_pool")
    pool = SimilarityOrderPool(24)
    pool.load_state_dict(rename(params, ORDER_POOL))
    tokens = torch.cat([inputs["cls"][:, None], inputs["patches"]], dim=1)
    ordered = pool.order(tokens)
    agree(ordered[:, 1:], outputs["ordered"])
    agree(pool.pool(ordered)[1], outputs["weights"])
    agree(pool(tokens), outputs["pooled"])


@pytest.mark.parametrize("kind", POOLS)
def test_a_masked_frame_counts_nothing_and_gets_no_gradient(kind):
    pool, frames = POOLS[kind](), torch.randn(2, 5, 16, requires_grad=True)
    mask = torch.tensor([[True, True, False, True, False], [False] * 5])
    pooled, weights = pool(frames, mask)
    assert weights[~mask].eq(0).all()
    assert pooled[1].eq(0).all()
    # Only through its own weight: a neighbour's judgement may look at it.
    pool_of_values = torch.einsum("bt,btc->bc", weights.detach(), frames)
    pool_of_values.sum().backward()
    assert frames.grad[~mask].eq(0).all()


def test_frames_that_look_alike_give_their_mean():
    pool, frames = AttentionPool(16), torch.randn(3, 5, 16)
    torch.testing.assert_close(pool(frames)[0], frames.mean(1))


def test_the_weights_move_with_the_frames():
    pool, frames = AttentionPool(16), torch.randn(3, 5, 16)
    torch.nn.init.normal_(pool.score.weight)
    order = torch.randperm(5)
    torch.testing.assert_close(pool(frames[:, order])[1], pool(frames)[1][:, order])


def test_the_place_of_a_patch_does_not_matter_only_its_likeness():
    pool, tokens = SimilarityOrderPool(24), torch.randn(2, 7, 24)
    shuffled = torch.cat([tokens[:, :1], tokens[:, 1:][:, torch.randperm(6)]], dim=1)
    torch.testing.assert_close(pool.order(shuffled), pool.order(tokens))
