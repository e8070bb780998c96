import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import PipelineError
from pipeline.stage import start
from tests.stages import make
from tests.train.tiny import rows, write_project
from train import stage1, stage2
from train.data.clips import ClipDataset
from train.memories.prototypes import prototypes
from train.parts.precision import unit
from train.registry import DATASETS, MODELS
from train.run.hooks import TowersHook
from train.run.setup import build_dataset
from train.weights.checkpoint import load

ALONE = [
    "runs.tiny.model=skeleton",
    "runs.tiny.encoder=none",
    "runs.tiny.start=conf/encoder/none.yaml",
]
OUTPUT = "models/tiny/stage2.safetensors"
BASELINE = [
    "runs.tiny.start=conf/encoder/conv_stem.yaml",
    "runs.tiny.encoder=conv_stem",
    "stage2.settings.without=[prototypes,temporal,skeleton]",
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path, rows({"train": [1, 2, 5, 8]}))


def train(*overrides: str, dry_run: bool = False) -> None:
    make("stage2", "tiny", *overrides, dry_run=dry_run, quiet=False)


def test_float16_without_a_gpu_is_told(project):
    with pytest.raises(PipelineError, match="float16 needs a GPU"):
        train("stage2.precision=float16", "runtime.device=cpu", dry_run=True)


class FakeRunner:
    def __init__(self, model, epoch=0):
        self.model, self.epoch = model, epoch


def config_of(*overrides: str) -> dict:
    stage = start("stage2", "tiny", list(overrides))
    return stage2.stage2(stage).config


def model_of(project, *overrides: str):
    return MODELS.build(config_of(*overrides)["model"])


def test_stage_2_publishes_a_model_with_prototypes_of_every_identity(after_stage1):
    train()
    state, metadata = load(after_stage1 / OUTPUT)
    assert metadata["about"]["model"]["classes"] == 4
    for name in ("visual_prototypes", "skeleton_prototypes"):
        torch.testing.assert_close(state[name].norm(dim=1), torch.ones(4))
    assert (after_stage1 / "reports/tiny/stage2/plots/metrics/loss_triplet.tsv").exists()


def test_the_skeleton_encoder_is_not_trained_in_stage_2(after_stage1):
    train()
    before, _ = load(after_stage1 / "models/tiny/stage1.safetensors")
    after, _ = load(after_stage1 / OUTPUT)
    for name, value in before.items():
        if name.startswith("skeleton."):
            assert torch.equal(after[name], value)
    visual = [name for name in before if name.startswith("visual.cnn") and "conv" in name]
    assert any(not torch.equal(after[name], before[name]) for name in visual)


def test_stage_2_starts_from_both_towers_of_stage_1(after_stage1):
    path = after_stage1 / "models/tiny/stage1.safetensors"
    state, _ = load(path)
    model = model_of(after_stage1)
    TowersHook(str(path)).before_train(FakeRunner(model))
    for name, value in model.state_dict().items():
        if name.startswith(("visual.", "skeleton.")):
            assert torch.equal(value, state[name])
    resumed = model_of(after_stage1)
    before = resumed.visual.proj.weight.clone()
    TowersHook(str(path)).before_train(FakeRunner(resumed, epoch=1))
    assert torch.equal(resumed.visual.proj.weight, before)


def test_prototypes_are_the_mean_of_an_identitys_clips_and_never_random(after_stage1):
    config = config_of("stage2.flip=1", "stage2.erase=1")
    model = MODELS.build(config["model"]).train()
    data = DATASETS.build(config["train_dataloader"]["dataset"])
    clean = ClipDataset("data/shards/tiny", 4, (128, 64))
    visual, skeleton = prototypes(model, data, batch_size=3)
    assert model.training
    again, _ = prototypes(model, data, batch_size=8)
    torch.testing.assert_close(visual, again)
    model.eval()
    own = []
    for index in (2, 3):
        item = clean[index]["inputs"]
        inputs = model.data_preprocessor({"inputs": {k: v[None] for k, v in item.items()}})[
            "inputs"
        ]
        with torch.no_grad():
            pictures = model.features(inputs)["projected"]
            own.append([unit(pictures)[0], unit(model.skeleton_feature(inputs))[0]])
    assert data.labels[2:4] == [1, 1]
    for found, (first, second) in zip(
        (visual[1], skeleton[1]), zip(*own, strict=True), strict=True
    ):
        torch.testing.assert_close(found, first + second, rtol=1e-4, atol=1e-5)


def test_the_visual_baseline_needs_no_stage_1(project):
    train(*BASELINE)
    state, _ = load(project / "work/try/trial" / OUTPUT)
    assert not [name for name in state if name.startswith(("skeleton.", "temporal", "updater"))]


def test_skeletons_alone_can_be_trained_on(project):
    train(*ALONE, "stage2.shuffle_frames=true")
    state, _ = load(project / "work/try/trial" / OUTPUT)
    assert {name.split(".")[0] for name in state} == {"skeleton", "head"}


@pytest.fixture
def held_out(tmp_path, monkeypatch):
    """Return a project in which stage 1 has run, and two of four people are held out."""
    monkeypatch.chdir(tmp_path)
    knobs = {"stage1": {"skeleton_epochs": 1}, "stage2": {"held_out": 2, "epochs": 4}}
    write_project(tmp_path, rows({"train": [1, 2, 5, 8]}), **knobs)
    make("stage1", "tiny")
    return tmp_path


def test_held_out_identities_choose_the_epoch_and_say_how_much_skeletons_count(held_out):
    train()
    _, metadata = load(held_out / OUTPUT)
    about = metadata["about"]
    assert (about["model"]["classes"], about["held_out"]) == (2, 2)
    lines = (held_out / "reports/tiny/stage2/plots/metrics/val_mAP.tsv").read_text().splitlines()
    scores = [float(line.split("\t")[1]) for line in lines[1:]]
    assert len(scores) == 4
    assert about["epoch"] == scores.index(max(scores)) + 1
    assert set(about["skeleton_weight"]) == {"before", "after"}
    # Two people are one pair: a stranger is as likely to come nearer as not.
    assert about["strangers"].keys() == {"before", "after"}
    for noted in about["strangers"].values():
        assert noted.keys() == {"visual", "skeleton", "both"}
        assert all(one["shares"] == [0.5] for one in noted.values())


def test_held_out_identities_are_strangers_to_every_run(held_out):
    first = stage1.stage1(start("stage1", "tiny"))
    second = stage2.stage2(start("stage2", "tiny"))
    for training in (first, first.before, second):
        assert build_dataset(training.config).pids == [1, 2]
    scored = DATASETS.build(dict(second.config["val_dataloader"]["dataset"]))
    assert set(scored.metainfo["pid"]) == {5, 8}


def test_a_stage_1_that_knows_the_held_out_identities_is_refused(after_stage1):
    with pytest.raises(PipelineError, match=r"held_out=0, but now it is 2.*dvc repro stage1@tiny"):
        train("stage2.held_out=2")


@pytest.mark.parametrize("own_camera", [False, True])
def test_held_out_identities_are_ranked_by_their_datasets_rule(held_out, own_camera):
    file = held_out / "data/index/tiny.parquet"
    table = pq.read_table(file)
    rules = json.loads(table.schema.metadata[b"rules"]) | {"same_camera_counts": own_camera}
    about = table.schema.metadata | {b"rules": json.dumps(rules).encode()}
    pq.write_table(table.replace_schema_metadata(about), file)
    metric = config_of()["val_evaluator"]["metrics"]
    assert metric["same_camera_counts"] is own_camera


def test_a_misspelt_setting_or_class_is_refused_before_anything_runs(after_stage1):
    with pytest.raises(
        PipelineError, match=r"has no part to leave out .temporl.\. Did you mean temporal"
    ):
        train("stage2.settings.without=[temporl]")
    with pytest.raises(PipelineError, match=r"no class train\.models\.csip\.CsipModl.*CsipModel\?"):
        train("overrides.stage2={model:{type:train.models.csip.CsipModl}}")
    with pytest.raises(PipelineError, match=r"model 'cspi' is no file of conf/model/\. .*csip\?"):
        train("runs.tiny.model=cspi")


def test_averaged_weights_are_published(after_stage1):
    train()
    last, _ = load(after_stage1 / OUTPUT)
    train("stage2.ema=0.5", "stage2.epochs=3")
    averaged, _ = load(after_stage1 / "work/try/trial" / OUTPUT)
    name = "heads.visual.classifier.weight"
    assert not torch.equal(averaged[name], last[name])
    # Both start from the same weights: half a step a time, the average cannot be far from the end.
    torch.testing.assert_close(averaged[name], last[name], rtol=0, atol=5e-3)


def test_whoever_shuffles_frames_does_so_in_validation_too(held_out):
    config = config_of("stage2.shuffle_frames=true")
    loaders = [config[f"{name}_dataloader"]["dataset"] for name in ("train", "val")]
    assert [DATASETS.build(dict(one)).shuffle_frames for one in loaders] == [True, True]


def test_curves_for_tensorboard_need_tensorboard(after_stage1, monkeypatch):
    monkeypatch.setattr("train.run.training.find_spec", lambda name: None)
    with pytest.raises(PipelineError, match="pip install tensorboard"):
        train("runtime.tensorboard=true")


# Tracing looks at gradients that are none, and PyTorch warns of itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_compiled_model_learns_the_same(after_stage1, monkeypatch):
    plain = torch.compile
    monkeypatch.setattr("torch.compile", lambda step, **_: plain(step, backend="eager"))
    train()
    train("runtime.compile=true", "stage2.seed=0")
    # Losses, not weights: Adam makes noise as large as the rate where a gradient should be zero.
    curve = Path("reports/tiny/stage2/plots/metrics/loss.tsv")
    expected, found = (
        [float(line.split("\t")[1]) for line in (place / curve).read_text().splitlines()[1:]]
        for place in (after_stage1, after_stage1 / "work/try/trial")
    )
    assert len(expected) > 1
    assert found == pytest.approx(expected, rel=1e-3)


def test_bfloat16_learns_what_float32_learns(after_stage1):
    def losses(precision: str) -> list[float]:
        train(f"stage2.precision={precision}", "stage2.ema=0.5")
        curve = after_stage1 / "work/try/trial/reports/tiny/stage2/plots/metrics/loss.tsv"
        return [float(line.split("\t")[1]) for line in curve.read_text().splitlines()[1:]]

    assert losses("bfloat16") == pytest.approx(losses("float32"), rel=0.05)


def test_gradients_can_be_accumulated(after_stage1):
    train("stage2.accumulate=2", "stage2.epochs=1")
    assert (after_stage1 / "work/try/trial" / OUTPUT).exists()


def test_a_missing_stage_1_names_the_command_and_the_knob(project):
    with pytest.raises(PipelineError, match=r"stage1\.safetensors is missing\..*stage1@tiny"):
        train()


def test_weights_of_another_encoder_are_refused_by_name(after_stage1):
    with pytest.raises(PipelineError, match="with the encoder conv_stem, but tiny names resnet50"):
        train("runs.tiny.encoder=resnet50")


def test_a_skeleton_encoder_of_another_size_is_refused(after_stage1):
    with pytest.raises(PipelineError, match=r"another skeleton encoder \(dim differ\)"):
        train("stage1.skeleton.dim=32")


def test_untrained_skeletons_may_not_guide(project):
    with pytest.raises(PipelineError, match=r"csip is guided by .*without=\[skeleton\]"):
        train("runs.tiny.start=conf/encoder/conv_stem.yaml", "runs.tiny.encoder=conv_stem")
