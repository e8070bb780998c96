import pytest
import torch

from train.encoders.resolve import ConvResolver, SuperResolver, SwinResolver
from train.weights.renaming import SWIN, rename


def small():
    return SwinResolver(dim=12, depths=(2,), heads=2, window=4)


@pytest.mark.golden
def test_the_swin_network_is_that_of_the_reference(golden, agree):
    inputs, params, outputs = golden("swin_super_resolution")
    net = small().eval()
    net.load_state_dict(rename(params, SWIN))
    agree(net(inputs["low"]), outputs["high"])


@pytest.mark.parametrize("net", [small, ConvResolver])
@pytest.mark.parametrize("size", [(10, 6), (8, 8), (13, 7), (32, 16)])
def test_frames_of_any_size_grow_and_do_not_meet(net, size):
    net, frames = net().eval(), torch.rand(3, 3, *size)
    high = net(frames)
    assert high.shape == (3, 3, 2 * size[0], 2 * size[1])
    torch.testing.assert_close(net(frames[[2, 0, 1]]), high[[2, 0, 1]])


def resolver():
    return SuperResolver({"type": "train.encoders.resolve.ConvResolver", "depth": 2})


def test_at_the_start_small_frames_are_enlarged_as_usual():
    frames = torch.rand(2, 3, 32, 16)
    small = resolver().shrink(frames)
    expected = torch.nn.functional.interpolate(small, (32, 16), mode="bicubic")
    drawn = resolver()(frames, torch.tensor([16, 8]))
    torch.testing.assert_close(drawn, expected)


@pytest.mark.parametrize("height", [17, 32, 256])
def test_frames_that_are_large_enough_stay_as_they_are(height):
    frames = torch.rand(1, 3, 32, 16)
    assert resolver()(frames, torch.tensor([height])).equal(frames)


def test_it_learns_to_draw_more_than_interpolation():
    """Stripes of two pixels, which interpolation blurs: error falls below that of bicubic."""
    torch.manual_seed(0)
    rows = torch.arange(32) // 2 % 2
    frames = rows[None, None, :, None].expand(4, 3, 32, 16).float() + 0.05 * torch.rand(
        4, 3, 32, 16
    )
    net = resolver()
    small = net.shrink(frames)
    bicubic = (net.enlarge(small) - frames).square().mean()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = (net.resolve(small) - frames).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.7 * bicubic
