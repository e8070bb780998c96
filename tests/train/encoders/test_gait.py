import pytest
import torch

from train.encoders.gait import SilhouetteEncoder, TokenGaitEncoder

VIT = {"type": "train.encoders.image.VitEncoder", "name": "test_vit", "size": (64, 32)}
SMALL = {"channels": (8, 8, 16), "shares": 4}


def silhouettes(frames: int = 3) -> torch.Tensor:
    found = torch.zeros(2, frames, 128, 64, dtype=torch.uint8)
    found[0, :, 20:110, 20:40] = 1
    found[1, :, 30:120, 30:54] = 1
    return found


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_silhouettes_become_cells_in_any_number(frames):
    encoder = SilhouetteEncoder((8, 16, 24)).eval()
    cells, losses = encoder({"silhouettes": silhouettes(frames)})
    assert cells.shape == (2, frames, *encoder.cells, encoder.out_dim) == (2, frames, 16, 8, 24)
    assert not losses
    # Of each frame alone, and an empty one too.
    alone, _ = encoder({"silhouettes": silhouettes(frames)[:1, :1]})
    torch.testing.assert_close(alone[0, 0], cells[0, 0], rtol=1e-4, atol=1e-5)
    empty, _ = encoder({"silhouettes": torch.zeros(1, 1, 128, 64)})
    assert empty.isfinite().all()


def test_the_frozen_encoder_stays_and_all_else_learns():
    encoder = TokenGaitEncoder(VIT, **SMALL).train()
    before = {name: x.clone() for name, x in encoder.tokens.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        cells, losses = encoder({"frames": torch.rand(2, 3, 3, 128, 64)})
        assert set(losses) == set(encoder.terms)
        loss = cells.square().mean() + sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not encoder.tokens.training
    assert all(torch.equal(x, before[name]) for name, x in encoder.tokens.state_dict().items())
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name


def test_a_person_is_found_without_being_shown(monkeypatch):
    """Two kinds of places: two numbers a place describe tokens best by telling both apart."""
    torch.manual_seed(0)
    encoder = TokenGaitEncoder(VIT, **SMALL)
    truth = torch.zeros(2, 4, 2, dtype=torch.bool)
    truth[0, 1:3] = truth[1, 1:3, :1] = True
    kinds = torch.randn(2, 64)
    tokens = (kinds[truth.long()] + 0.1 * torch.randn(2, 4, 2, 64)).flatten(0, 2)
    monkeypatch.setattr(encoder, "_tokens", lambda inputs: (tokens, tokens))
    optimizer = torch.optim.Adam(encoder.mask.parameters(), lr=0.05)
    for _ in range(100):
        loss = encoder.mask(tokens)[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The grid of tokens is 4 x 2, and the map that of its middles.
    found = encoder.eval().silhouettes({"frames": torch.zeros(2, 1, 3, 64, 32)})[:, 0]
    assert torch.equal(found[:, 8::16, 8::16] > 0.5, truth)


def test_nobody_in_the_picture_leaves_all_finite():
    encoder = TokenGaitEncoder(VIT, **SMALL).train()
    cells, losses = encoder({"frames": torch.zeros(2, 1, 3, 64, 32)})
    assert cells.isfinite().all()
    assert all(loss.isfinite() for loss in losses.values())


def test_in_training_some_clips_lack_one_of_both_maps():
    encoder = TokenGaitEncoder(VIT, **SMALL, drop=0.5)
    ones, batch = torch.ones(400 * 2, 1, 2, 2), torch.Size([400, 2])
    torch.manual_seed(0)
    parts, looks = encoder.train()._some_lacking(ones, ones, batch)
    lacks_parts, lacks_looks = (1 - x.mean((1, 2, 3)) for x in (parts, looks))
    assert not (lacks_parts * lacks_looks).any()
    assert lacks_parts.mean().item() == pytest.approx(0.25, abs=0.08)
    assert lacks_looks.mean().item() == pytest.approx(0.25, abs=0.08)
    # Whole clips, not frames.
    assert torch.equal(lacks_parts[::2], lacks_parts[1::2])
    kept, _ = encoder.eval()._some_lacking(ones, ones, batch)
    assert torch.equal(kept, ones)
