import numpy as np
import pytest
import torch

from pipeline.errors import PipelineError
from pipeline.skeleton import LAYOUTS, layout
from train.encoders.skeleton import (
    SkeletonGraphTransformer,
    canonical_basis,
    facing_front,
    laplacian_eigenvectors,
)
from train.weights.renaming import SKELETON, rename


def encoder(**settings):
    sizes = {"dim": 32, "layers": 2, "heads": 4, "out_dim": 16}
    return SkeletonGraphTransformer(**sizes | settings).eval()


def walk(batch=2, frames=8, joints=17):
    return torch.randn(batch, frames, joints, 3)


@pytest.mark.golden
def test_tokens_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("skeleton_graph_transformer")
    model = SkeletonGraphTransformer(
        dim=32, layers=3, heads=4, out_dim=None, cls_token=False, temporal_layers=0
    ).eval()
    model.load_state_dict(
        rename(params, SKELETON) | {"eigenvectors": inputs["positional_encoding"]}
    )
    agree(model(inputs["skeleton"]), outputs["tokens"])


@pytest.mark.golden
def test_the_laplacian_is_that_of_the_reference(golden):
    inputs, _, outputs = golden("skeleton_graph_transformer")
    values, _ = laplacian_eigenvectors(inputs["adjacency"].numpy(), 10)
    np.testing.assert_allclose(values, outputs["laplacian_eigenvalues"].numpy(), atol=1e-12)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_eigenvectors_solve_the_eigenvalue_problem(name):
    adjacency = layout(name).adjacency()
    values, vectors = laplacian_eigenvectors(adjacency, 10)
    degree = np.diag(adjacency.sum(1) ** -0.5)
    laplacian = np.eye(len(adjacency)) - degree @ adjacency @ degree
    np.testing.assert_allclose(laplacian @ vectors, vectors * values[1:11], atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(10), atol=1e-9)


def test_eigenvectors_do_not_depend_on_the_library_that_found_them():
    rng = np.random.default_rng(0)
    space, _ = np.linalg.qr(rng.normal(size=(17, 3)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    np.testing.assert_allclose(canonical_basis(space @ turn), canonical_basis(space), atol=1e-9)


def test_eigenvectors_travel_with_the_checkpoint():
    state = encoder().state_dict()
    state["eigenvectors"] = -state["eigenvectors"]
    other = encoder()
    other.load_state_dict(state)
    torch.testing.assert_close(other.eigenvectors, state["eigenvectors"])


def test_the_order_of_frames_matters():
    model, xyz = encoder(temporal_layers=2), walk()
    order = torch.tensor([3, 1, 0, 2, 7, 5, 4, 6])
    feature, shuffled = (model.pool(model(x)) for x in (xyz, xyz[:, order]))
    assert (feature - shuffled).abs().max() > 1e-3 * feature.abs().max()


def test_without_temporal_layers_the_order_of_frames_is_lost():
    model, xyz = encoder(temporal_layers=0), walk()
    torch.testing.assert_close(model.pool(model(xyz)), model.pool(model(xyz.flip(1))))


def test_samples_do_not_meet():
    model, xyz = encoder(), walk(batch=4)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model(xyz)[order], model(xyz[order]))


@pytest.mark.parametrize("face_front", [False, True])
@pytest.mark.parametrize("inputs", [["xyz"], ["xyz", "bone_length", "velocity"]])
def test_failed_frames_have_no_influence(inputs, face_front):
    model, xyz = encoder(inputs=inputs, face_front=face_front), walk()
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[0, [2, 5, 7]] = False
    spoilt = xyz.clone()
    spoilt[~mask] = torch.nan
    zeroed = xyz.masked_fill(~mask[:, :, None, None], 0.0)
    feature = model.pool(model(zeroed, mask), mask)
    torch.testing.assert_close(model.pool(model(spoilt, mask), mask), feature)
    all_frames = model.pool(model(zeroed))
    assert (all_frames - feature)[0].abs().max() > 1e-3


def test_a_clip_without_a_good_skeleton_has_the_feature_zero():
    model, xyz = encoder().train(), walk()
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[1, 0] = True
    feature = model.pool(model(xyz, mask), mask)
    assert not feature[0].any()
    assert feature[1].any()
    feature.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "joints"), [("kinect20", 20), ("kinect25", 25), ("coco17", 17)])
def test_the_graph_comes_from_the_layout(name, joints):
    model = encoder(joints=name)
    assert model(walk(joints=joints, frames=6)).shape == (2, 6, 1 + joints, 16)


def test_a_skeleton_of_another_layout_is_refused_with_the_knob():
    with pytest.raises(PipelineError, match=r"20 joints .* encoder of 17.*`joints`"):
        encoder()(walk(joints=20))


def test_a_misspelt_input_is_named():
    with pytest.raises(PipelineError, match="Did you mean velocity"):
        encoder(inputs=["xyz", "velocty"])


def test_bone_lengths_do_not_know_where_a_person_looks():
    model, xyz = encoder(inputs=["bone_length"]), walk()
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    torch.testing.assert_close(model(xyz @ turn), model(xyz), rtol=1e-3, atol=1e-4)
    assert (model(xyz * 1.2) - model(xyz)).abs().max() > 1e-3


def about_the_vertical(xyz, angle):
    """Turn clips about y, each by an angle of its own."""
    cos, sin = (f(torch.as_tensor(angle))[:, None, None] for f in (torch.cos, torch.sin))
    x, y, z = xyz.unbind(-1)
    return torch.stack([cos * x - sin * z, y, sin * x + cos * z], dim=-1)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_facing_the_front_the_camera_does_not_count(name):
    model, xyz = encoder(joints=name, face_front=True), walk(joints=len(layout(name).joints))
    turned = about_the_vertical(xyz, [0.7, -2.9])
    torch.testing.assert_close(model(turned), model(xyz), rtol=1e-3, atol=1e-4)
    leaning = xyz[..., [0, 2, 1]]
    assert (model(leaning) - model(xyz)).abs().max() > 1e-3


def test_who_faces_the_front_has_left_and_right_along_x():
    hips, shoulders = [4, 1], [11, 14]
    left, right = zip(hips, shoulders, strict=True)
    xyz = about_the_vertical(walk(), [1.0, 2.0])
    front = facing_front(xyz, left, right)
    across = (front[:, :, left] - front[:, :, right]).mean((1, 2))
    assert (across[:, 0] > 0).all()
    torch.testing.assert_close(across[:, 2], torch.zeros(2), atol=1e-5, rtol=0)
    # A rigid turn about y: heights, lengths and the motion from frame to frame stay.
    torch.testing.assert_close(front[..., 1], xyz[..., 1])
    torch.testing.assert_close(front.norm(dim=-1), xyz.norm(dim=-1))
    steps = front.diff(dim=1).norm(dim=-1)
    torch.testing.assert_close(steps, xyz.diff(dim=1).norm(dim=-1), rtol=1e-4, atol=1e-5)
    assert not facing_front(torch.zeros(1, 8, 17, 3), left, right).any()


def test_velocities_do_not_know_the_pose():
    model, xyz = encoder(inputs=["velocity"]), walk()
    torch.testing.assert_close(model(xyz + torch.randn(17, 3)), model(xyz), rtol=1e-3, atol=1e-4)
    assert (model(xyz * 1.2) - model(xyz)).abs().max() > 1e-3


def test_normalised_inputs_do_not_know_units_or_places_of_joints():
    model, xyz = encoder(input_norm=True, dropout=0.0).train(), walk()
    elsewhere = xyz * torch.rand(17, 3).add(0.5) + torch.randn(17, 3)
    torch.testing.assert_close(model(elsewhere), model(xyz), rtol=1e-3, atol=1e-3)


def test_statistics_of_the_inputs_are_those_of_the_good_frames():
    model, xyz = encoder(input_norm=True).train(), walk()
    mask = torch.ones(xyz.shape[:2], dtype=torch.bool)
    mask[0, 3:] = False
    model.norm.momentum = None  # a plain average, here of one batch
    model(xyz.masked_fill(~mask[:, :, None, None], 1e6), mask)
    torch.testing.assert_close(model.norm.running_mean, xyz[mask].flatten(1).mean(0))
    torch.testing.assert_close(model.norm.running_var, xyz[mask].flatten(1).var(0))
