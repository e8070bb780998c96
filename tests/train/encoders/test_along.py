import pytest
import torch
from timm.models.vision_transformer import Block
from torch import nn

from pipeline.errors import PipelineError
from train.encoders.along import AlongTime, moved, together
from train.encoders.image import CnnEncoder, VitEncoder
from train.encoders.shift import shift_patches

CELLS, WIDTH = (4, 3), 16
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])


def block(heads: int = 4) -> Block:
    torch.manual_seed(0)
    return Block(WIDTH, heads, qkv_bias=True).eval()


def tokens(seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 1 + 12, WIDTH, generator=draw)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_neighbours_are_one_sequence_to_a_block():
    one, x = block(), tokens()
    pairs = torch.cat(
        [one(x[:, at : at + 2].flatten(1, 2)).unflatten(1, (2, 13)) for at in (0, 2)], 1
    )
    close(together(one, x, 2), pairs)
    close(together(one, x, 1), one(x.flatten(0, 1)).unflatten(0, (2, 4)))
    # A last group of fewer frames sees no more than it has.
    close(together(one, x, 3)[:, 3], one(x[:, 3]))
    close(together(one, x, 3, torch.ones(2, 4).bool()), together(one, x, 3))


def test_half_of_the_heads_see_moved_patches_and_put_them_back():
    """Tokens moved before a plain attention, head by head, are the same thing."""
    one, x = block(), tokens()

    def turned(values: torch.Tensor, inverse: bool) -> torch.Tensor:
        patches = shift_patches(values[:, :, 1:].unflatten(2, CELLS), inverse).flatten(2, 3)
        return torch.cat([values[:, :, :1], patches], dim=2)

    proj, one.attn.proj = one.attn.proj, nn.Identity()
    normed = one.norm1(x)
    still = one.attn(normed.flatten(0, 1)).unflatten(0, (2, 4))
    shifted = turned(one.attn(turned(normed, False).flatten(0, 1)).unflatten(0, (2, 4)), True)
    one.attn.proj = proj
    heads = torch.cat([shifted[..., : WIDTH // 2], still[..., WIDTH // 2 :]], dim=3)
    expected = x + proj(heads)
    close(moved(one, x, CELLS, 1), expected + one.mlp(one.norm2(expected)))


@pytest.mark.parametrize("how", ["together", "moved"])
def test_bad_frames_are_seen_by_nobody(how):
    one, x, other = block(), tokens(), tokens(1)
    spoilt = torch.where(MASK[:, :, None, None], x, 9 * other)

    def through(given: torch.Tensor) -> torch.Tensor:
        if how == "together":
            return together(one, given, 2, MASK)
        return moved(one, given, CELLS, 1, MASK)

    before, after = through(x), through(spoilt)
    close(after[MASK], before[MASK])
    assert after.isfinite().all()
    nobody = torch.zeros_like(MASK)
    seen = together(one, x, 2, nobody) if how == "together" else moved(one, x, CELLS, 1, nobody)
    assert seen.isfinite().all()


def test_a_network_without_blocks_starts_as_it_is():
    encoder = CnnEncoder("test_resnet", size=(64, 32), out_dim=16).eval()
    frames = torch.randn(2, 3, 3, 64, 32)
    plain = encoder(frames.flatten(0, 1))[1].unflatten(0, (2, 3))
    along = AlongTime(encoder).eval()
    assert len(along.blocks) == 2
    close(along(encoder, frames)[1], plain)
    assert len(AlongTime(encoder, shift=False).blocks) == 1


def test_a_transformer_needs_no_more_than_it_has():
    encoder = VitEncoder("test_vit", size=(64, 32), out_dim=16, depth=3).eval()
    frames = torch.randn(2, 4, 3, 64, 32)
    plain = encoder(frames.flatten(0, 1))[0].unflatten(0, (2, 4))
    along = AlongTime(encoder)
    assert not list(along.parameters())
    assert not torch.allclose(along(encoder, frames)[0], plain, atol=1e-3)
    # Neither wanted: the encoder as it is.
    close(AlongTime(encoder, groups=False, shift=False)(encoder, frames)[0], plain)
    # A block of each kind, by hand.
    x = encoder.embed(frames.flatten(0, 1))[0]
    first, second, third = encoder.vit.blocks
    x = together(second, first(x).unflatten(0, (2, 4)), 2)
    x = encoder.vit.norm(moved(third, x, encoder.cells, 1))
    close(along(encoder, frames)[0], x)


def test_an_attention_of_another_kind_is_refused():
    encoder = VitEncoder("test_vit", size=(64, 32), out_dim=16)
    encoder.vit.blocks[0].attn = nn.Identity()
    with pytest.raises(PipelineError, match="plain attention"):
        AlongTime(encoder)
