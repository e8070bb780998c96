import json

import pytest
import torch

from pipeline.errors import PipelineError
from pipeline.stage import start
from tests.stages import make
from tests.train.tiny import rows, write_project
from train import stage1
from train.weights.checkpoint import load

OUTPUT = "models/tiny/stage1.safetensors"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path, rows({"train": [1, 2, 5]}))


def train(*overrides: str, limit: int = 0, dry_run: bool = False) -> None:
    make("stage1", "tiny", *overrides, limit=limit, dry_run=dry_run, quiet=False)


def test_stage_1_publishes_both_towers_and_what_they_are(project):
    train()
    state, metadata = load(project / OUTPUT)
    assert {name.split(".")[0] for name in state} >= {"visual", "skeleton"}
    assert metadata["about"]["encoder"] == "conv_stem"
    assert not (project / "work/stage1/tiny").exists() or not any(
        (project / "work/stage1/tiny").rglob("*.pth")
    )


def test_curves_configuration_and_size_are_written_beside_the_report(project):
    train()
    folder = project / "reports/tiny/stage1"
    lines = (folder / "plots/metrics/loss.tsv").read_text().splitlines()
    assert lines[0] == "step\tloss"
    assert [line.split("\t")[0] for line in lines[1:]] == ["1", "2", "3"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["step"] == 3
    assert metrics["loss"] == float(lines[-1].split("\t")[1])
    state, _ = load(project / OUTPUT)
    learnt = sum(x.numel() for name, x in state.items() if x.is_floating_point())
    assert 0 < metrics["model"]["parameters"] <= learnt
    assert metrics["model"]["gmacs_per_frame"] > 0
    assert "lr: 0.001" in (folder / "config.yaml").read_text()


def test_training_draws_pictures_and_skeletons_of_a_person_together(project):
    train("stage1.epochs=25", "stage1.lr=3e-3")
    curve = (project / "work/try/trial/reports/tiny/stage1/plots/metrics/loss.tsv").read_text()
    losses = [float(line.split("\t")[1]) for line in curve.splitlines()[1:]]
    assert losses[-1] < 0.8 * losses[0]


def test_bfloat16_learns_what_float32_learns(project):
    def losses(precision: str) -> list[float]:
        train(f"stage1.precision={precision}", "stage1.skeleton_epochs=1")
        curve = project / "work/try/trial/reports/tiny/stage1/plots/metrics/loss.tsv"
        return [float(line.split("\t")[1]) for line in curve.read_text().splitlines()[1:]]

    assert losses("bfloat16") == pytest.approx(losses("float32"), rel=0.05)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(project):
    train()
    first = (project / OUTPUT).read_bytes()
    (project / OUTPUT).unlink()
    torch.rand(3)
    train()
    assert (project / OUTPUT).read_bytes() == first
    train("stage1.seed=1")
    assert (project / "work/try/trial" / OUTPUT).read_bytes() != first


def test_a_finished_run_is_not_done_again(project, capsys):
    train()
    before = (project / OUTPUT).stat().st_mtime_ns
    train()
    assert (project / OUTPUT).stat().st_mtime_ns == before
    assert "up to date" in capsys.readouterr().out


def test_a_changed_knob_makes_another_run(project):
    def fingerprint(*overrides: str) -> str:
        stage = start("stage1", "tiny", list(overrides))
        return stage1.stage1(stage).fingerprint

    assert fingerprint() == fingerprint("runtime.workers=3")
    assert fingerprint() != fingerprint("stage1.lr=0.5")


def weights_alone(project):
    (file,) = project.glob("work/skeleton/tiny/*/weights.safetensors")
    return load(file)[0]


def test_the_skeleton_encoder_can_learn_alone_before(project, capsys):
    train(
        "stage1.skeleton_epochs=25", "stage1.epochs=1", "stage1.lr=3e-3", "stage1.warmup_epochs=0"
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 26
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines[:25]]
    assert losses[-1] < 0.8 * losses[0]
    assert {name.split(".")[0] for name in weights_alone(project)} == {"skeleton", "head"}


def test_both_towers_start_from_what_the_skeleton_encoder_learnt_alone(project):
    overrides = ("stage1.skeleton_epochs=2", "stage1.epochs=1")
    # Rates so small that nothing moves.
    train(*overrides, "stage1.lr=1e-12", "stage1.warmup_lr=1e-12", "stage1.min_lr=0")
    alone, both = weights_alone(project), load(project / "work/try/trial" / OUTPUT)[0]
    parameters = [name for name in alone if name.endswith("weight") and "skeleton" in name]
    assert parameters
    for name in parameters:
        torch.testing.assert_close(both[name], alone[name], rtol=0, atol=1e-9)


def test_the_run_of_the_skeleton_encoder_is_made_once(project, capsys):
    train("stage1.skeleton_epochs=2")
    (file,) = project.glob("work/skeleton/tiny/*/weights.safetensors")
    made = file.stat().st_mtime_ns
    (project / "work/try/trial" / OUTPUT).unlink()
    capsys.readouterr()
    train("stage1.skeleton_epochs=2")
    assert file.stat().st_mtime_ns == made
    assert "SkeletonModel" not in capsys.readouterr().out
    train("stage1.skeleton_epochs=2", dry_run=True)
    train("stage1.skeleton_epochs=3", dry_run=True)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["first", "SkeletonModel", "done"] in printed
    assert ["first", "SkeletonModel", "3", "epochs"] in printed
    train("stage1.skeleton_epochs=3")
    assert len(list(project.glob("work/skeleton/tiny/*/weights.safetensors"))) == 2


def test_the_plan_is_printed_and_nothing_written(project, capsys):
    train(dry_run=True)
    printed = capsys.readouterr().out
    assert ["identities", "3"] in [line.split() for line in printed.splitlines()]
    assert not (project / "models").exists()
    assert not (project / "work/stage1").exists()


def test_a_trial_leaves_the_published_weights_alone(project):
    train("stage1.epochs=1")
    assert (project / "work/try/trial" / OUTPUT).exists()
    assert not (project / OUTPUT).exists()


def test_a_trial_of_few_tracklets_trains_on_fewer_people(project):
    train("stage1.identities=3", limit=1)
    assert (project / "work/try/trial" / OUTPUT).exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet10", r"timm knows no resnet10\. Did you mean resnet10t\?"),
        ("res net", "timm knows no"),
    ],
)
def test_a_dry_run_refuses_an_encoder_that_timm_does_not_know(project, name, message):
    with pytest.raises(PipelineError, match=message):
        train(f"overrides.stage1={{model:{{visual:{{name:'{name}'}}}}}}", dry_run=True)


def test_a_batch_of_more_identities_than_there_are_names_the_knob(project):
    with pytest.raises(PipelineError, match=r"takes 8 identities.*stage1\.identities"):
        train("stage1.identities=8")


def test_missing_shards_name_the_command_that_makes_them(project):
    for file in (project / "data/shards/tiny").iterdir():
        file.unlink()
    with pytest.raises(PipelineError, match="dvc repro shards@tiny"):
        train()


def test_each_epoch_prints_a_line(project, capsys):
    train()
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    # What does not fit into 80 columns goes on below.
    last = said[said.rindex("epoch 3/3") :]
    for word in ("loss ", "acc ", "lr ", "it/s", "eta "):
        assert word in last


def test_a_dry_run_fetches_no_weights(project, monkeypatch):
    import timm

    asked, create = [], timm.create_model

    def note(*names, pretrained=False, **options):
        asked.append(pretrained)
        return create(*names, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", note)
    line = "{train:tiny,encoder:resnet50,start:conf/encoder/resnet50.yaml,recipe:params.yaml}"
    make("stage1", "tiny", f"pretraining.tiny={line}", dry_run=True)
    assert asked == [False]
