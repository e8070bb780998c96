import numpy as np
import pytest
import torch

from pipeline.errors import PipelineError
from pipeline.skeleton import H36M17
from train.data.transforms import (
    ClipCrop,
    ClipErase,
    ClipFlip,
    FrameTransform,
    LowResolution,
    build,
)


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


def full_clip() -> dict[str, torch.Tensor]:
    """A clip with all columns: white where the silhouette is, and there a joint in each frame."""
    frames = torch.zeros(4, 3, 16, 8, dtype=torch.uint8)
    kps = torch.zeros(4, 17, 3)
    for t in range(4):
        row, column = 3 + 2 * t, 1 + t
        frames[t, :, row, column] = 255
        # The left wrist, in the middle of that pixel.
        kps[t, 9] = torch.tensor([(column + 0.5) / 8, (row + 0.5) / 16, 1.0])
    return clip() | {
        "frames": frames,
        "kps": kps,
        "silhouettes": (frames[:, 0] > 0).to(torch.uint8),
        "erased": torch.zeros(4, dtype=torch.bool),
        "heights": torch.full((4,), 100),
    }


def where_white(made: dict[str, torch.Tensor], joint: int) -> None:
    """Check that a joint and the silhouette still lie where the frame is white."""
    assert torch.equal(made["silhouettes"] > 0, made["frames"][:, 0] == 255)
    for t in range(4):
        for row, column in (made["frames"][t, 0] == 255).nonzero().tolist():
            place = torch.tensor([(column + 0.5) / 8, (row + 0.5) / 16, 1.0])
            assert torch.allclose(made["kps"][t, joint], place)


def test_one_flip_mirrors_joints_and_silhouettes_with_the_frames():
    flip, rng = ClipFlip(prob=1.0), np.random.default_rng(0)
    after = flip(full_clip(), rng)
    where_white(after, 10)
    assert not after["kps"][:, [9, *range(9), *range(11, 17)]].any()
    again = flip(after, rng)
    for name, value in full_clip().items():
        assert torch.equal(again[name], value), name


def test_a_crop_moves_all_that_shows_a_place():
    moves = set()
    for seed in range(20):
        after = ClipCrop(pad=3, value=[1, 2, 3])(full_clip(), np.random.default_rng(seed))
        where_white(after, 9)
        moves.add(tuple(after["kps"][0, 9].tolist()))
        assert not after["kps"][:, 10].any()
        others = after["frames"][:, :, after["frames"][0, 0] == 1]
        assert torch.equal(others.unique(), torch.tensor([1, 2, 3], dtype=torch.uint8)) or (
            others.numel() == 0
        )
    assert len(moves) > 10


def test_who_needs_it_is_told_which_frames_were_erased():
    before, after = full_clip(), full_clip()
    erase = ClipErase(prob=1.0, value=[7, 7, 7], frame_prob=0.5)
    counts = set()
    for seed in range(8):
        after = erase(full_clip(), np.random.default_rng(seed))
        changed = (after["frames"] != before["frames"]).flatten(1).any(1)
        assert torch.equal(changed, after["erased"])
        counts.add(int(changed.sum()))
    assert len(counts) > 2
    assert "erased" not in erase(clip(), np.random.default_rng(0))


def test_a_low_resolution_is_what_shrinking_and_enlarging_gives():
    smooth = torch.arange(16, dtype=torch.uint8)[None, None, :, None].expand(4, 3, 16, 8) * 10
    made = LowResolution(prob=1.0, heights=(8, 8))(
        full_clip() | {"frames": smooth.clone()}, np.random.default_rng(0)
    )
    assert made["heights"].tolist() == [8] * 4
    assert (made["frames"].int() - smooth.int()).abs().max() < 10
    noise = full_clip()["frames"]
    tiny = LowResolution(prob=1.0, heights=(2, 3))(full_clip(), np.random.default_rng(0))["frames"]
    assert tiny.float().std() < 0.5 * noise.float().std()
    same = LowResolution(prob=1.0, heights=(16, 20))(full_clip(), np.random.default_rng(0))
    assert torch.equal(same["frames"], noise)
    assert same["heights"].tolist() == [100] * 4


def test_a_transform_that_moves_frames_alone_is_refused_where_joints_matter():
    crop = FrameTransform("RandomCrop", size=(16, 8), padding=2)
    crop(clip(), np.random.default_rng(0))
    with pytest.raises(PipelineError, match=r"RandomCrop moves frames.*ClipCrop"):
        crop(full_clip(), np.random.default_rng(0))
    FrameTransform("Grayscale", num_output_channels=3)(full_clip(), np.random.default_rng(0))


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
