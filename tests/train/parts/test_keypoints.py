import pytest
import torch

from pipeline.errors import PipelineError
from train.parts.keypoints import PARTS, KeypointParts, part_maps


def kps_of(inputs, size):
    xy = inputs["xy"] / torch.tensor([size[1], size[0]])
    return torch.cat([xy, inputs["score"][..., None]], dim=-1)


@pytest.mark.golden
def test_maps_and_parts_are_those_of_the_definition(golden, own, agree):
    inputs, expected = golden("keypoint_parts").inputs, own("keypoint_parts")
    kps = kps_of(inputs, (64, 32))
    agree(part_maps(kps, (64, 32)), expected["heatmaps"])
    module = KeypointParts((4, 2), min_rows=4)
    agree(module.weights(kps), expected["patch_weights"])
    class_token = torch.zeros_like(inputs["tokens"][:, :, :1])
    parts, is_visible = module(torch.cat([class_token, inputs["tokens"]], 2), kps)
    agree(parts, expected["parts"])
    assert torch.equal(is_visible, expected["visible"])


def sample():
    return torch.randn(2, 3, 33, 10), torch.rand(2, 3, 17, 3) * 0.8 + 0.1


def test_a_token_outside_of_the_map_changes_nothing():
    module, (tokens, kps) = KeypointParts((8, 4)), sample()
    before = module(tokens, kps)[0]
    outside = module.weights(kps).sum(-1) == 0
    assert outside.any()
    tokens[:, :, 1:][outside] = 100.0
    torch.testing.assert_close(module(tokens, kps)[0], before)


def test_a_mirrored_frame_swaps_arms_and_legs():
    module, (tokens, kps) = KeypointParts((8, 4)), sample()
    # In the middle of pixels: a mirrored edge would fall into the neighbour.
    size = torch.tensor([64, 128])
    kps[..., :2] = ((kps[..., :2] * size).floor() + 0.5) / size
    swap = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    mirrored = kps[..., swap, :] * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([1.0, 0.0, 0.0])
    cells = tokens[:, :, 1:].unflatten(2, (8, 4)).flip(3).flatten(2, 3)
    there = module(torch.cat([tokens[:, :, :1], cells], 2), mirrored)[0]
    torch.testing.assert_close(there[:, [0, 1, 3, 2, 5, 4]], module(tokens, kps)[0])


def test_without_joints_parts_are_zero_and_invisible():
    module, (tokens, kps) = KeypointParts((8, 4)), sample()
    kps[0, ..., 2] = 0.0
    parts, is_visible = module(tokens, kps)
    assert parts[0].eq(0).all()
    assert not is_visible[0].any()
    assert is_visible[1].any()


def test_bad_frames_count_nothing():
    module, (tokens, kps) = KeypointParts((8, 4)), sample()
    mask = torch.tensor([[True, False, True], [True, True, False]])
    before = module(tokens, kps, mask)[0]
    tokens[~mask], kps[~mask] = 100.0, 0.5
    torch.testing.assert_close(module(tokens, kps, mask)[0], before)


def test_each_joint_of_the_body_is_of_one_part():
    joints = [joint for part in PARTS.values() for joint in part]
    assert sorted(joints) == list(range(17))


def test_too_few_rows_are_refused():
    with pytest.raises(PipelineError, match="8 rows"):
        KeypointParts((4, 2))
