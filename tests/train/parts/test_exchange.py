import pytest
import torch

from train.parts.exchange import GranularExchange
from train.weights.renaming import EXCHANGE, rename


@pytest.mark.golden
def test_streams_exchange_as_in_the_reference(golden, agree):
    inputs, params, outputs = golden("granular_exchange")
    exchange = GranularExchange(16).eval()
    exchange.load_state_dict(rename(params, EXCHANGE), strict=False)
    gait, appearance = (inputs[name].transpose(1, 2) for name in ("gait", "appearance"))
    first = exchange.to_gait(gait[:, 0], appearance[:, 1])
    agree(first, outputs["first_gait"], 1e-4)
    first = exchange.to_appearance(appearance[:, 0], gait[:, 1])
    agree(first, outputs["first_appearance"], 1e-4)
    one, other = exchange(gait, appearance)
    agree(one.transpose(1, 2), outputs["gait"], 1e-4)
    agree(other.transpose(1, 2), outputs["appearance"], 1e-4)


def test_at_the_start_nothing_is_exchanged():
    gait, appearance = torch.randn(3, 31, 8), torch.randn(3, 31, 8)
    one, other = GranularExchange(8)(gait, appearance)
    torch.testing.assert_close(one[:, 31:], gait[:, :1].expand(-1, 4, -1))
    torch.testing.assert_close(other[:, 31:], appearance[:, :1].expand(-1, 4, -1))


def test_a_batch_of_one_is_taken_in_evaluation():
    exchange = GranularExchange(8).eval()
    assert exchange(torch.randn(1, 31, 8), torch.randn(1, 31, 8))[0].shape == (1, 35, 8)
