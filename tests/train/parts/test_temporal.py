import pytest
import torch

from train.parts.temporal import SkeletonGuidedTemporalModule
from train.weights.renaming import TEMPORAL, rename


def module(**settings):
    return SkeletonGuidedTemporalModule(dim=32, skeleton_dim=16, heads=4, **settings).eval()


def tokens(batch=2, frames=4):
    return torch.randn(batch, frames, 9, 32), torch.randn(batch, frames, 17, 16)


@pytest.mark.golden
@pytest.mark.parametrize("path", ["visual_only", "guided"])
def test_frame_features_are_those_of_the_reference(golden, agree, path):
    inputs, params, outputs = golden("sgtm")
    sgtm = module(position_code=False)
    sgtm.load_state_dict(rename(params, TEMPORAL))
    visual = inputs["visual_tokens"].transpose(0, 1).unflatten(0, (2, 4))
    skeleton = inputs["skeleton_tokens"] if path == "guided" else None
    agree(sgtm(visual, skeleton).flatten(0, 1), outputs[path])


def test_a_skeleton_guides_its_own_person_only():
    sgtm = module()
    visual, skeleton = tokens()
    before = sgtm(visual, skeleton)
    skeleton[1] += 1.0
    after = sgtm(visual, skeleton)
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().min(dim=0).values.max() > 1e-4


def test_the_order_of_joints_does_not_matter_since_they_are_a_set():
    sgtm = module()
    visual, skeleton = tokens()
    torch.testing.assert_close(
        sgtm(visual, skeleton[:, :, torch.randperm(17)]), sgtm(visual, skeleton)
    )


def test_the_order_of_frames_matters_with_and_without_a_skeleton():
    sgtm = module()
    visual, skeleton = tokens(frames=8)
    for parts in ((visual,), (visual, skeleton)):
        forward = sgtm(*parts).mean(1)
        backward = sgtm(*(part.flip(1) for part in parts)).mean(1)
        assert (forward - backward).abs().max() > 1e-3 * forward.abs().max()


def test_without_position_code_the_order_of_frames_is_lost():
    sgtm = module(position_code=False)
    visual, _ = tokens()
    torch.testing.assert_close(sgtm(visual.flip(1)).mean(1), sgtm(visual).mean(1))


def test_samples_do_not_meet():
    sgtm = module()
    visual, skeleton = tokens(batch=4)
    order = torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(sgtm(visual[order], skeleton[order]), sgtm(visual, skeleton)[order])


def test_failed_skeletons_have_no_influence():
    sgtm = module()
    visual, skeleton = tokens()
    mask = torch.tensor([[True, False, True, True], [True, True, True, False]])
    before = sgtm(visual, skeleton, mask)
    skeleton[~mask] = 100.0
    torch.testing.assert_close(sgtm(visual, skeleton, mask), before)


def test_a_clip_without_a_good_skeleton_is_its_own_student():
    sgtm = module()
    visual, skeleton = tokens()
    mask = torch.tensor([[False] * 4, [True] * 4])
    guided, student = sgtm(visual, skeleton, mask), sgtm(visual)
    torch.testing.assert_close(guided[0], student[0])
    assert (guided[1] - student[1]).abs().max() > 1e-4
