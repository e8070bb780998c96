import pytest
import torch
from torch import nn

from pipeline.errors import PipelineError
from train.encoders.image import CnnEncoder, VitEncoder
from train.encoders.stems import by_spectrum, give_stems
from train.weights.checkpoint import load_part

SPECTRUM = torch.tensor([1, 2, 0, 2])
ENCODERS = {
    "cnn": lambda: CnnEncoder("test_resnet", size=(64, 32), out_dim=16),
    "deep stem": lambda: CnnEncoder(
        "resnet10t", size=(64, 32), out_dim=16, channels=[8, 8, 16, 16], stem_width=4
    ),
    "transformer": lambda: VitEncoder("test_vit", size=(64, 32), out_dim=16),
}


def infrared(encoder: nn.Module) -> nn.Parameter:
    return next(one for name, one in encoder.named_parameters() if name.endswith("infrared"))


@pytest.mark.parametrize("name", ENCODERS)
def test_spectra_start_alike_and_infrared_alone_is_seen_otherwise(name):
    encoder, frames = ENCODERS[name]().eval(), torch.randn(4, 3, 64, 32)
    before = encoder(frames)[0]
    give_stems(encoder)
    torch.testing.assert_close(encoder(by_spectrum(frames, SPECTRUM))[0], before)
    nn.init.normal_(infrared(encoder))
    after = encoder(by_spectrum(frames, SPECTRUM))[0]
    changed = (after - before).abs().amax((1, 2)) > 1e-3
    assert changed.tolist() == [False, True, False, True]
    # Without a word about spectra, frames are visible.
    torch.testing.assert_close(encoder(frames)[0], before)


def test_the_stem_of_infrared_is_the_sum_of_both_weights():
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    encoder = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1))
    encoder[0].load_state_dict(conv.state_dict())
    give_stems(encoder)
    nn.init.normal_(infrared(encoder))
    conv.weight.data += infrared(encoder).data
    frames = torch.randn(4, 3, 8, 6)
    found = encoder(by_spectrum(frames, torch.full((4,), 2)))
    torch.testing.assert_close(found, conv(frames), rtol=1e-4, atol=1e-5)


def test_what_an_encoder_without_stems_has_learnt_is_taken_over(tmp_path):
    plain, other = ENCODERS["cnn"](), ENCODERS["cnn"]()
    give_stems(other)
    state = {f"visual.{name}": value for name, value in plain.state_dict().items()}
    load_part(other, state, "visual.", tmp_path / "stage1.safetensors")
    frames = torch.randn(4, 3, 64, 32)
    expected = plain.eval()(frames)[0]
    torch.testing.assert_close(other.eval()(by_spectrum(frames, SPECTRUM))[0], expected)


def test_what_has_no_first_convolution_of_colours_is_refused():
    with pytest.raises(PipelineError, match="three colours"):
        give_stems(nn.Sequential(nn.Linear(3, 3)))
    with pytest.raises(PipelineError, match="three colours"):
        give_stems(nn.Sequential(nn.Conv2d(1, 3, 3)))
