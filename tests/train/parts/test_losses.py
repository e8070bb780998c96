import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import SupConLoss as LibrarySupCon

from train.encoders.skeleton import SkeletonGraphTransformer
from train.parts.losses import (
    BatchHardTripletLoss,
    CentreLoss,
    LogitScale,
    PartTripletLoss,
    SupConLoss,
    VisibleTripletLoss,
    WeightedTripletLoss,
    hardest,
    supcon,
)
from train.parts.transg import SkeletonPromptLoss
from train.weights.renaming import SKELETON, SKELETON_PROMPTS, rename


@pytest.mark.golden
def test_contrast_has_the_form_of_the_reference(golden, agree):
    inputs, _, outputs = golden("supcon")
    logits = inputs["image"] @ inputs["skeleton"].T
    agree(supcon(logits, inputs["labels"]), outputs["image_to_skeleton"])
    agree(supcon(logits.T, inputs["labels"]), outputs["skeleton_to_image"])


@pytest.mark.golden
def test_triplets_and_their_loss_are_those_of_the_reference(golden, agree):
    inputs, _, outputs = golden("batch_hard_triplet_margin03")
    features, loss = inputs["features"], BatchHardTripletLoss(margin=0.3)
    agree(loss(features, inputs["labels"]), outputs["loss"])
    furthest, nearest, counts = hardest(features, inputs["labels"])
    agree(furthest[counts], outputs["hardest_positive"])
    agree(nearest[counts], outputs["hardest_negative"])


@pytest.mark.golden
def test_smoothed_cross_entropy_is_that_of_the_reference(golden, agree):
    inputs, _, outputs = golden("label_smoothing_ce")
    loss = F.cross_entropy(inputs["logits"], inputs["targets"], label_smoothing=0.1)
    agree(loss, outputs["loss"])


@pytest.mark.golden
def test_skeleton_prompt_losses_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("skeleton_prompt_losses")
    encoder = SkeletonGraphTransformer(
        dim=32, layers=3, heads=4, out_dim=None, cls_token=False, temporal_layers=0
    ).eval()
    encoder.load_state_dict(
        rename(params, SKELETON) | {"eigenvectors": inputs["positional_encoding"]}
    )
    loss = SkeletonPromptLoss(dim=32, joints=17, frames=8, temperature=0.1)
    loss.load_state_dict(rename(params, SKELETON_PROMPTS))
    tokens = encoder(inputs["skeleton"])
    losses = loss(
        tokens,
        inputs["skeleton"],
        inputs["labels"],
        inputs["prototypes"],
        seen_joints=inputs["joint_mask"],
        seen_frames=inputs["frame_mask"],
    )
    agree(loss.predict_joints(tokens, inputs["joint_mask"]), outputs["joint_pred"])
    seen = inputs["frame_mask"].expand(2, -1)
    agree(loss.predict_trajectories(tokens, seen), outputs["traj_pred"])
    names = {
        "joint_recon": "joint_prompt",
        "trajectory_recon": "traj_prompt",
        "frame_contrast": "ske_contrast",
        "clip_contrast": "seq_contrast",
        "total": "total_loss",
    }
    for ours, theirs in names.items():
        agree(losses[ours], outputs[theirs])


def test_contrast_is_that_of_the_library_on_unit_vectors():
    visual, skeleton = torch.randn(12, 16) * 7, torch.randn(12, 16)
    labels = torch.arange(4).repeat_interleave(3)
    expected = sum(
        LibrarySupCon(temperature=0.07)(a, labels, ref_emb=b, ref_labels=labels.clone())
        for a, b in ((visual, skeleton), (skeleton, visual))
    )
    torch.testing.assert_close(SupConLoss(0.07)(visual, skeleton, labels), expected)


def test_the_temperature_is_learnt_and_bounded():
    loss = SupConLoss(temperature=0.07)
    loss(torch.randn(4, 8), torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).backward()
    assert loss.scale.log_scale.grad.abs() > 0
    scale = LogitScale(temperature=1e-9)
    assert scale().item() == 100.0


def test_skeleton_prompt_losses_ignore_failed_frames():
    loss = SkeletonPromptLoss(dim=16, joints=17, frames=8)
    tokens, xyz = torch.randn(2, 8, 17, 16), torch.randn(2, 8, 17, 3)
    labels, prototypes = torch.tensor([0, 1]), torch.randn(3, 16)
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[0, 3] = False
    seen = {"seen_joints": torch.arange(17) < 9, "seen_frames": torch.arange(8) < 6}
    before = loss(tokens, xyz, labels, prototypes, mask, **seen)
    tokens[0, 3], xyz[0, 3] = 50.0, 50.0
    after = loss(tokens, xyz, labels, prototypes, mask, **seen)
    assert {name: x.item() for name, x in after.items()} == pytest.approx(
        {name: x.item() for name, x in before.items()}
    )


def test_hidden_joints_are_not_shown_to_the_head():
    loss = SkeletonPromptLoss(dim=16, joints=17, frames=8)
    tokens = torch.randn(2, 8, 17, 16)
    seen = torch.arange(17) % 2 == 0
    before = loss.predict_joints(tokens, seen)
    tokens[:, :, ~seen] = 50.0
    torch.testing.assert_close(loss.predict_joints(tokens, seen), before)


@pytest.mark.golden
def test_triplets_of_parts_are_those_of_the_reference(golden, agree):
    inputs, _, outputs = golden("part_losses")
    parts = inputs["embedding"].requires_grad_()
    loss = PartTripletLoss(0.2).per_part(parts.transpose(1, 2), inputs["labels"])
    agree(loss, outputs["triplet_per_part"], 1e-4)
    loss.mean().backward()
    agree(parts.grad, outputs["triplet_grad"], 1e-4)


@pytest.mark.golden
def test_weighted_triplets_are_those_of_the_reference(golden, agree):
    inputs, _, outputs = golden("part_losses")
    features = inputs["features"].requires_grad_()
    loss = WeightedTripletLoss()(features, inputs["labels"])
    loss.backward()
    agree(loss[None], outputs["weighted_triplet"], 1e-4)
    # The reference adds 1e-6 to the sums of its softmax.
    agree(features.grad, outputs["weighted_triplet_grad"], 3e-4)


@pytest.mark.parametrize("loss", [PartTripletLoss(), WeightedTripletLoss()])
def test_equal_features_give_a_finite_gradient(loss):
    features = torch.ones(4, 3, 8, requires_grad=True)
    features_of = features if isinstance(loss, PartTripletLoss) else features[:, 0]
    loss(features_of, torch.tensor([0, 0, 1, 1])).backward()
    assert features.grad.isfinite().all()


def test_triplets_of_parts_that_all_show_are_the_usual_ones():
    parts, labels = torch.randn(12, 3, 8), torch.arange(12) // 3
    expected = torch.stack([BatchHardTripletLoss()(parts[:, part], labels) for part in range(3)])
    found = VisibleTripletLoss()(parts, labels, torch.ones(12, 3, dtype=torch.bool))
    torch.testing.assert_close(found, expected.mean())


def test_triplets_take_no_part_that_is_not_seen():
    parts, labels = torch.randn(12, 3, 8, requires_grad=True), torch.arange(12) // 3
    is_visible = torch.rand(12, 3) > 0.4
    loss = VisibleTripletLoss(margin=5.0)(parts, labels, is_visible)
    loss.backward()
    assert parts.grad[~is_visible].eq(0).all()
    spoilt = parts.detach().clone()
    spoilt[~is_visible] = 100.0
    torch.testing.assert_close(VisibleTripletLoss(margin=5.0)(spoilt, labels, is_visible), loss)
    nothing = torch.zeros(12, 3, dtype=torch.bool)
    assert VisibleTripletLoss()(parts, labels, nothing) == 0


def test_a_centre_is_drawn_to_its_own_people():
    loss = CentreLoss(classes=2, dim=3)
    features, labels = torch.randn(4, 3), torch.tensor([0, 0, 0, 0])
    loss(features, labels).backward()
    expected = loss.centres[0] - features.mean(0)
    torch.testing.assert_close(loss.centres.grad[0], expected)
    assert loss.centres.grad[1].eq(0).all()


@pytest.mark.parametrize("seed", range(3))
def test_triplets_are_those_of_the_library(seed):
    from pytorch_metric_learning import distances, losses, miners, reducers

    torch.manual_seed(seed)
    distance = distances.LpDistance(normalize_embeddings=False)
    miner = miners.BatchHardMiner(distance=distance)
    theirs = losses.TripletMarginLoss(0.3, distance=distance, reducer=reducers.MeanReducer())
    features = torch.randn(24, 40, requires_grad=True)
    # One person has a single clip: it is nobody's anchor, but a negative of all.
    labels = torch.tensor([*range(6)] * 3 + [0, 1, 2, 3, 4, 9])
    expected = theirs(features, labels, miner(features, labels))
    ours = BatchHardTripletLoss(0.3)(features, labels)
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad(loss, features)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_triplets_of_clips_that_do_not_count_are_left_out():
    features, labels = torch.randn(9, 5), torch.arange(9) // 3
    keep = torch.tensor([True, True, False] * 3)
    loss = BatchHardTripletLoss()
    torch.testing.assert_close(loss(features, labels, keep), loss(features[keep], labels[keep]))


def test_a_batch_of_one_person_has_no_triplets():
    features = torch.randn(4, 5, requires_grad=True)
    loss = BatchHardTripletLoss()(features, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert (features.grad == 0).all()
