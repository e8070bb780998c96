import pytest
import torch

from train.encoders.resolve import ConvResolver, SwinResolver
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
