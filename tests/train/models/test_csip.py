import pytest
import torch

from pipeline.errors import PipelineError
from tests.train.models.small_csip import CLASSES, SKELETON, VISUAL, clips, csip, losses_of
from train.models.csip import CsipModel


def test_every_parameter_but_the_skeleton_encoder_s_gets_a_gradient():
    model = csip().train()
    sum(losses_of(model, *clips()).values()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("skeleton."):
            assert parameter.grad is None, name
        elif parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_the_skeleton_encoder_is_frozen_in_training_mode():
    model = csip().train()
    before = {name: x.clone() for name, x in model.skeleton.state_dict().items()}
    inputs, labels = clips()
    first, second = (model._skeleton_tokens(inputs) for _ in range(2))
    torch.testing.assert_close(first, second)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.1)
    sum(losses_of(model, inputs, labels).values()).backward()
    optimizer.step()
    torch.testing.assert_close(dict(model.skeleton.state_dict()), before)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_temporal_loss_reaches_the_visual_encoder_as_far_as_wanted(scale):
    model = csip(gradient_scale=scale, temporal={"dropout": 0.0}).train()
    reference = csip(gradient_scale=1.0, temporal={"dropout": 0.0}).train()
    reference.load_state_dict(model.state_dict())
    inputs, labels = clips()
    gradients = []
    for one in (model, reference):
        losses_of(one, inputs, labels)["loss_frame"].backward()
        gradients.append(one.visual.vit.patch_embed.proj.weight.grad)
    assert gradients[1].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1] * scale)


def test_descriptors_are_the_same_with_and_without_skeletons():
    model = csip().eval()
    inputs, _ = clips()
    frames_only = {"frames": inputs["frames"], "camids": inputs["camids"]}
    torch.testing.assert_close(
        model(inputs, mode="predict"), model(frames_only, mode="predict"), rtol=0, atol=0
    )


def test_descriptors_join_three_features_before_the_necks():
    model = csip().eval()
    inputs, _ = clips()
    descriptor, features = model(inputs, mode="predict"), model(inputs)
    assert list(features) == ["visual", "projected", "temporal"]
    joined = torch.cat(list(features.values()), dim=1)
    assert joined.shape[1] == 64 + 16 + 64
    torch.testing.assert_close(descriptor, joined / joined.norm(dim=1, keepdim=True))


def test_descriptors_behind_the_necks_join_what_the_classifiers_see():
    model = csip(neck="after").train()
    inputs, labels = clips()
    for _ in range(3):
        losses_of(model, inputs, labels)
    model.eval()
    features, seen = model(inputs), []
    for name, feature in features.items():
        hook = model.heads[name].classifier.register_forward_pre_hook(
            lambda _, given: seen.append(given[0])
        )
        model.heads[name](feature)
        hook.remove()
    joined = torch.cat(seen, dim=1)
    expected = joined / joined.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model(inputs, mode="predict"), expected)
    before = model.eval()
    before.neck = "before"
    assert not torch.allclose(before(inputs, mode="predict"), expected, atol=1e-2)


@pytest.mark.parametrize("neck", ["before", "after"])
def test_a_clip_without_a_good_skeleton_has_no_skeleton_descriptor(neck):
    model = csip(neck=neck, descriptor="skeleton").train()
    inputs, labels = clips()
    losses_of(model, inputs, labels)
    model.eval()
    inputs["mask"][3] = False
    descriptor = model(inputs, mode="predict")
    assert not descriptor[3].any()
    torch.testing.assert_close(descriptor.norm(dim=1)[:3], torch.ones(3))


def test_the_order_of_frames_changes_the_temporal_feature_alone():
    model = csip().eval()
    inputs, _ = clips()
    forward, backward = (
        model({"frames": frames}) for frames in (inputs["frames"], inputs["frames"].flip(1))
    )
    for name in ("visual", "projected"):
        torch.testing.assert_close(backward[name], forward[name])
    change = (backward["temporal"] - forward["temporal"]).abs().max()
    assert change > 1e-3 * forward["temporal"].abs().max()


def test_samples_do_not_meet_at_test():
    model = csip().eval()
    inputs, _ = clips()
    order = torch.randperm(8)
    permuted = {name: x[order] for name, x in inputs.items()}
    torch.testing.assert_close(
        model(permuted, mode="predict"), model(inputs, mode="predict")[order]
    )


def test_failed_skeletons_change_no_loss():
    model = csip().eval()
    inputs, labels = clips()
    inputs["mask"][0, 1:3] = False
    inputs["mask"][5] = False
    before = model(inputs, labels, mode="loss")
    inputs["xyz"][~inputs["mask"]] = 40.0
    torch.testing.assert_close(model(inputs, labels, mode="loss"), before)


def test_the_student_learns_from_the_guided_path_and_not_the_other_way():
    model = csip(student_share=0.0, temporal={"dropout": 0.0}).train()
    inputs, labels = clips()
    losses_of(model, inputs, labels)["loss_distill"].backward()
    guides = [p for name, p in model.temporal.named_parameters() if name.startswith("guide.")]
    assert guides
    assert all(p.grad is None or not p.grad.any() for p in guides)
    assert model.temporal.visual_in.weight.grad.abs().max() > 0


def test_prototypes_are_float_unit_vectors_however_they_come():
    model = csip()
    model.set_prototypes((torch.randn(CLASSES, 16) * 9).bfloat16())
    assert model.visual_prototypes.dtype == torch.float32
    torch.testing.assert_close(model.visual_prototypes.norm(dim=1), torch.ones(CLASSES))


def test_prototypes_of_other_identities_are_refused():
    with pytest.raises(PipelineError, match=r"\(9, 16\).*\(4, 16\)"):
        csip().set_prototypes(torch.randn(9, 16))


def test_training_without_prototypes_says_which_hook_is_missing():
    model = CsipModel(VISUAL, SKELETON, classes=CLASSES)
    with pytest.raises(PipelineError, match="RefreshHook"):
        model(*clips(), mode="loss")


def test_prototypes_that_match_the_clip_lower_the_loss():
    model = csip().eval()
    inputs, labels = clips()
    feature = model(inputs)["projected"]
    own = torch.stack([feature[labels == label].mean(0) for label in range(CLASSES)])
    losses = []
    for prototypes in (own, own.roll(1, dims=0)):
        model.set_prototypes(prototypes, prototypes)
        losses.append(losses_of(model, inputs, labels)["loss_prototype"])
    assert losses[0] < losses[1]
