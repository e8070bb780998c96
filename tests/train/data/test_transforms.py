import numpy as np
import pytest
import torch

from pipeline.errors import PipelineError
from pipeline.skeleton import H36M17
from train.data.transforms import ClipErase, ClipFlip, FrameTransform, build


def clip(frames: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (frames, 3, 16, 8)
    return {
        "frames": torch.randint(1, 255, shape, dtype=torch.uint8, generator=generator),
        "xyz": torch.randn(frames, 17, 3, generator=generator),
        "mask": torch.arange(frames) != 1,
        "frame_mask": torch.ones(frames, dtype=torch.bool),
    }


def test_mirroring_moves_frames_and_skeleton_together():
    before = clip()
    after = ClipFlip(prob=1.0)(clip(), np.random.default_rng(0))
    assert torch.equal(after["frames"], before["frames"].flip(3))
    left, right = H36M17.joints.index("left_wrist"), H36M17.joints.index("right_wrist")
    mirrored = before["xyz"][:, right] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(after["xyz"][:, left], mirrored)
    assert torch.equal(after["xyz"][:, H36M17.root, 1:], before["xyz"][:, H36M17.root, 1:])


def test_mirroring_twice_changes_nothing():
    flip, rng = ClipFlip(prob=1.0), np.random.default_rng(0)
    after = flip(flip(clip(), rng), rng)
    for name, value in clip().items():
        assert torch.equal(after[name], value)


def test_frames_and_skeleton_are_mirrored_in_the_same_clips():
    rng, flip, before = np.random.default_rng(0), ClipFlip(prob=0.5), clip()
    flipped = []
    for _ in range(40):
        after = flip(clip(), rng)
        flipped.append(not torch.equal(after["frames"], before["frames"]))
        assert flipped[-1] == (not torch.equal(after["xyz"], before["xyz"]))
    assert 8 < sum(flipped) < 32


def test_one_rectangle_is_erased_in_all_frames_of_a_clip():
    erase = ClipErase(prob=1.0, value=[0, 0, 0])
    places = set()
    for seed in range(20):
        before, after = clip(), erase(clip(), np.random.default_rng(seed))
        gone = (after["frames"] == 0).all(1)
        assert gone.any()
        assert torch.equal(gone, gone[:1].expand_as(gone))
        rows, columns = gone[0].any(1).nonzero().ravel(), gone[0].any(0).nonzero().ravel()
        assert gone[0].sum() == len(rows) * len(columns)
        places.add((int(rows[0]), int(columns[0])))
        assert torch.equal(after["frames"][:, :, ~gone[0]], before["frames"][:, :, ~gone[0]])
        assert torch.equal(after["xyz"], before["xyz"])
    # The public code always pastes at the corner that the size of the rectangle gives.
    assert len(places) > 5


def test_a_box_is_erased_as_torchvision_would():
    value = (1, 2, 3)
    ours = ClipErase(prob=0.5, value=value)
    theirs = FrameTransform("RandomErasing", p=0.5, value=value)
    same = []
    for seed in range(20):
        erased = ours(clip(), np.random.default_rng(seed))["frames"]
        assert torch.equal(erased, theirs(clip(), np.random.default_rng(seed))["frames"])
        same.append(torch.equal(erased, clip()["frames"]))
    assert 4 < sum(same) < 16


@pytest.mark.parametrize("is_decoded", [True, False])
def test_frames_are_mirrored_whatever_their_order_in_memory(is_decoded):
    before = clip()
    if is_decoded:
        before["frames"] = before["frames"].contiguous(memory_format=torch.channels_last)
    expected = before["frames"].flip(-1)
    after = ClipFlip(prob=1.0)(before, np.random.default_rng(0))
    assert torch.equal(after["frames"], expected)


def test_a_transform_depends_on_its_generator_and_leaves_torchs_own_alone():
    jitter = FrameTransform("ColorJitter", brightness=0.5)
    before = clip()
    state = torch.get_rng_state()
    first = jitter(before, np.random.default_rng(3))["frames"]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(jitter(before, np.random.default_rng(3))["frames"], first)
    assert not torch.equal(jitter(before, np.random.default_rng(4))["frames"], first)


def test_skeletons_alone_pass_through_the_same_transforms():
    transforms = build(
        [
            {"type": "train.data.transforms.ClipFlip", "prob": 1.0},
            {"type": "train.data.transforms.ClipErase", "prob": 1.0, "value": [0, 0, 0]},
            {
                "type": "train.data.transforms.FrameTransform",
                "name": "ColorJitter",
                "brightness": 0.5,
            },
        ]
    )
    both, alone = clip(), clip()
    del alone["frames"]
    rng_both, rng_alone = np.random.default_rng(0), np.random.default_rng(0)
    for transform in transforms:
        both, alone = transform(both, rng_both), transform(alone, rng_alone)
    assert torch.equal(both["xyz"], alone["xyz"])


def test_an_unknown_torchvision_transform_is_an_error_with_a_hint():
    with pytest.raises(PipelineError, match="Did you mean RandomErasing"):
        FrameTransform("RandomErase")
