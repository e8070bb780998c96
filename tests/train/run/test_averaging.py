from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from pipeline.stage import start
from tests.stages import make
from train import stage2
from train.data.sampler import PKSampler
from train.registry import DATASETS, MODELS
from train.run import averaging
from train.run.averaging import AverageHook, take_statistics
from train.run.checkpoints import ResumeHook
from train.weights.checkpoint import load

OUTPUT = Path("work/try/trial/models/tiny/stage2.safetensors")
KNOBS = ["stage2.ema=0.9", "stage2.epochs=6", "stage2.lr=5e-3", "stage2.milestones=[6]"]


def train(*overrides: str) -> dict[str, torch.Tensor]:
    make("stage2", "tiny", *KNOBS, *overrides)
    return load(OUTPUT)[0]


def model_and_loader() -> tuple[nn.Module, DataLoader]:
    """Return the model of stage 2 with prototypes, and the batches it trains on."""
    stage = start("stage2", "tiny", KNOBS)
    config = stage2.stage2(stage).config
    data = DATASETS.build(config["train_dataloader"]["dataset"])
    model = MODELS.build(config["model"])
    prototypes = torch.randn_like(model.visual_prototypes)
    model.set_prototypes(prototypes, prototypes)
    return model, DataLoader(data, 4, sampler=PKSampler(data, 2, 2, seed=0))


def test_statistics_are_the_means_over_the_batches_of_training(after_stage1):
    model, loader = model_and_loader()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    neck = model.heads["projected"].neck
    seen = []
    watch = neck.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    take_statistics(model, loader)
    watch.remove()
    assert len(seen) == 2
    torch.testing.assert_close(neck.running_mean, sum(x.mean(0) for x in seen) / 2)
    torch.testing.assert_close(neck.running_var, sum(x.var(0) for x in seen) / 2)
    after = model.state_dict()
    for name, value in before.items():
        is_statistic = "running" in name or "num_batches" in name
        # The skeleton encoder is frozen, and so are its statistics.
        if not is_statistic or name.startswith("skeleton."):
            assert torch.equal(after[name], value), name
    first = {name: x.clone() for name, x in after.items()}
    take_statistics(model, loader)
    assert all(torch.equal(x, first[name]) for name, x in model.state_dict().items())
    assert not model.training
    assert neck.momentum == 0.1


def test_an_average_with_its_own_statistics_is_better_than_with_the_last_weights(
    after_stage1, monkeypatch
):
    def loss(state: dict[str, torch.Tensor]) -> float:
        model, loader = model_and_loader()
        model.load_state_dict(state)
        model.eval()
        with torch.no_grad():
            batches = [model.data_preprocessor(batch) for batch in loader]
            return sum(model(**batch, mode="loss")["loss_id"].item() for batch in batches)

    own = train()
    monkeypatch.setattr(averaging, "take_statistics", lambda *_: None)
    (after_stage1 / OUTPUT).unlink()
    last = train()
    parameters = {name for name, _ in model_and_loader()[0].named_parameters()}
    assert all(torch.equal(own[name], last[name]) for name in parameters)
    assert loss(own) < 0.9 * loss(last)


def test_what_held_out_people_scored_is_what_is_published(after_stage1, monkeypatch):
    scored = []
    finish = AverageHook.after_val_epoch

    def note(hook, runner, metrics=None):
        state = runner.model.state_dict()
        scored.append({name: x.clone() for name, x in state.items()})
        finish(hook, runner, metrics)

    monkeypatch.setattr(AverageHook, "after_val_epoch", note)
    make("stage1", "tiny", "stage2.held_out=2")
    state = train("stage2.held_out=2")
    best = scored[load(OUTPUT)[1]["about"]["epoch"] - 1]
    assert all(torch.equal(value, best[name]) for name, value in state.items())
    batches = state["heads.visual.neck.num_batches_tracked"]
    # Of one pass over the clips, not of all the training.
    assert batches == 1


@pytest.mark.parametrize("held_out", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_averaged_weights_survive_kills(after_stage1, monkeypatch, held_out):
    knob = f"stage2.held_out={held_out}"
    make("stage1", "tiny", knob)
    train(knob)
    expected = (after_stage1 / OUTPUT).read_bytes()
    (after_stage1 / OUTPUT).unlink()
    save = ResumeHook.after_train_epoch

    def die(hook, runner):
        save(hook, runner)
        # In the middle, and before anything is published.
        if runner.epoch + 1 in (2, 6):
            raise KeyboardInterrupt

    monkeypatch.setattr(ResumeHook, "after_train_epoch", die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(knob)
    assert not (after_stage1 / OUTPUT).exists()
    train(knob)
    assert (after_stage1 / OUTPUT).read_bytes() == expected
