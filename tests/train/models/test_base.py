import pytest
import torch

from pipeline.errors import PipelineError
from train.models.contrast import Stage1Model
from train.models.skeleton import SkeletonModel
from train.parts.transg import prompt_loss

VISUAL = {
    "type": "train.encoders.image.CnnEncoder",
    "name": "test_resnet",
    "size": (64, 32),
    "out_dim": 16,
}
SKELETON = {
    "type": "train.encoders.skeleton.SkeletonGraphTransformer",
    "dim": 32,
    "layers": 1,
    "heads": 4,
    "out_dim": 16,
    "dropout": 0.0,
}
PROMPT = {"type": "train.parts.transg.SkeletonPromptLoss", "dim": 16, "joints": 17, "frames": 4}


def clips(batch=6):
    """Two clips each of people who differ in colour and build."""
    labels = torch.arange(batch // 2).repeat_interleave(2)
    colour, build = torch.rand(batch // 2, 1, 3, 1, 1), torch.randn(batch // 2, 1, 17, 3)
    inputs = {
        "frames": (colour[labels] + torch.rand(batch, 4, 3, 64, 32)) / 2,
        "xyz": build[labels] + 0.1 * torch.randn(batch, 4, 17, 3),
        "mask": torch.ones(batch, 4, dtype=torch.bool),
    }
    return inputs, labels


def total(losses):
    return sum(term for name, term in losses.items() if name.startswith("loss"))


def test_stage1_trains_both_towers():
    model = Stage1Model(VISUAL, SKELETON, prompt=PROMPT).train()
    total(model(*clips(), mode="loss")).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for tower in (model.visual, model.skeleton):
        assert sum(p.grad.abs().sum() for p in tower.parameters()) > 0


def test_a_frozen_visual_tower_stays_as_it_is():
    model = Stage1Model(VISUAL, SKELETON, freeze_visual=True).train()
    before = {name: x.clone() for name, x in model.visual.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        total(model(*clips(), mode="loss")).backward()
        optimizer.step()
    torch.testing.assert_close(dict(model.visual.state_dict()), before)


def test_cached_visual_features_give_the_losses_of_live_ones():
    model = Stage1Model(VISUAL, SKELETON, freeze_visual=True).train()
    inputs, labels = clips()
    live = model(inputs, labels, mode="loss")
    cached = {"visual": model.visual_feature(inputs), "xyz": inputs["xyz"], "mask": inputs["mask"]}
    torch.testing.assert_close(model(cached, labels, mode="loss"), live)


def test_clips_without_a_skeleton_take_no_part_in_the_contrast():
    model = Stage1Model(VISUAL, SKELETON, prompt=PROMPT).eval()
    inputs, labels = clips(8)
    inputs["mask"][[2, 7]] = False
    keep = inputs["mask"].any(1)
    kept = {name: x[keep] for name, x in inputs.items()}
    losses = []
    for batch in ((inputs, labels), (kept, labels[keep])):
        torch.manual_seed(0)
        losses.append(model(*batch, mode="loss"))
    torch.testing.assert_close(*losses)


def test_a_few_steps_teach_the_towers_to_agree():
    model = Stage1Model(VISUAL, SKELETON).train()
    inputs, labels = clips(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        losses = model(inputs, labels, mode="loss")
        total(losses).backward()
        optimizer.step()
    assert losses["match_accuracy"] > 0.9


@pytest.mark.parametrize("descriptor", ["visual", "skeleton"])
def test_stage1_describes_by_unit_vectors_of_one_kind(descriptor):
    model = Stage1Model(VISUAL, SKELETON, descriptor=descriptor).eval()
    inputs, _ = clips()
    made = model(inputs, mode="predict")
    torch.testing.assert_close(made.norm(dim=1), torch.ones(6))
    other = "xyz" if descriptor == "visual" else "frames"
    changed = inputs | {other: torch.rand_like(inputs[other])}
    torch.testing.assert_close(model(changed, mode="predict"), made)


def test_towers_of_different_size_are_refused_with_the_knob():
    with pytest.raises(PipelineError, match=r"16 numbers .* 8. Set `out_dim`"):
        Stage1Model(VISUAL, SKELETON | {"out_dim": 8})


def test_a_skeleton_model_learns_from_skeletons_alone():
    model = SkeletonModel(SKELETON, classes=4, prompt=PROMPT).train()
    inputs, labels = clips(8)
    inputs["mask"][3, 1:] = False
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        losses = model({"xyz": inputs["xyz"], "mask": inputs["mask"]}, labels, mode="loss")
        total(losses).backward()
        optimizer.step()
    assert losses["accuracy"] > 0.9


def test_a_skeleton_model_describes_before_or_behind_its_neck():
    model = SkeletonModel(SKELETON, classes=4).train()
    inputs, labels = clips(8)
    inputs = {"xyz": inputs["xyz"] + 1, "mask": inputs["mask"]}
    for _ in range(50):
        model(inputs, labels, mode="loss")
    model.eval()
    feature = model(inputs)["skeleton"]
    normalise = torch.nn.functional.normalize
    torch.testing.assert_close(model(inputs, mode="predict"), normalise(feature))
    model.neck = "after"
    behind = model(inputs, mode="predict")
    torch.testing.assert_close(behind, normalise(model.head.neck(feature)))
    # What all have in common is gone.
    assert behind.mean(0).norm() < 0.5 * normalise(feature).mean(0).norm()


def test_the_runner_reads_the_weights_of_the_encoder_before_it_trains(tmp_path):
    published = Stage1Model(VISUAL, SKELETON)
    torch.save(published.visual.cnn.state_dict(), tmp_path / "cnn.pth")
    model = Stage1Model(VISUAL | {"weights": str(tmp_path)}, SKELETON)
    model.init_weights()
    torch.testing.assert_close(model.visual.cnn.state_dict(), published.visual.cnn.state_dict())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("good", [0, 1])
@pytest.mark.parametrize("kind", ["paper", "from scratch", "alone"])
def test_a_batch_without_skeletons_to_compare_teaches_nothing(kind, good, precision):
    """Not even one good frame, or one clip: neither can be told from anything."""
    norm = SKELETON | {"input_norm": True}
    model = {
        "paper": lambda: Stage1Model(VISUAL, SKELETON, prompt=PROMPT),
        "from scratch": lambda: Stage1Model(VISUAL, norm, classes=4),
        "alone": lambda: SkeletonModel(norm, classes=4, prompt=PROMPT),
    }[kind]().train()
    inputs, labels = clips(8)
    inputs["mask"][:] = False
    inputs["mask"][:good, 0] = True
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        losses = model(inputs, labels, mode="loss")
    assert total(losses) == 0
    total(losses).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert not parameter.grad.any(), name


def test_a_process_without_a_skeleton_still_has_a_prompt_loss():
    model = SkeletonModel(SKELETON, classes=4, prompt=PROMPT).train()
    inputs, labels = clips(8)
    inputs["mask"][:] = False
    tokens = model.skeleton(inputs["xyz"], inputs["mask"])
    assert prompt_loss(model.prompt, model.skeleton, tokens, inputs, labels) == 0
