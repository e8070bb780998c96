import contextlib
import json
import shutil
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import save_file

from evaluate import embed
from evaluate.score.features import read_features
from pipeline import schema
from pipeline.distances import CosineDistances
from pipeline.errors import PipelineError
from pipeline.ranking import cmc_and_map
from pipeline.schema import Status
from pipeline.stage import start
from tests.stages import make
from tests.train.tiny import rows, spoil, write_project, write_shards
from train import describe as train_describe
from train.trained import Trained
from train.weights.checkpoint import load

FEATURES, BASELINES = "data/features/tiny.parquet", "data/features/tiny_baselines.parquet"
PEOPLE = {"train": [1, 2, 5, 8], "query": [3, 4, 6], "gallery": [3, 4, 6]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a project in which both stages have run."""
    folder = write_project(tmp_path_factory.mktemp("trained"), rows(PEOPLE))
    with contextlib.chdir(folder):
        make("stage1", "tiny")
        make("stage2", "tiny")
    return folder


@pytest.fixture
def held_out(tmp_path, monkeypatch):
    """Return a project in which both stages have run without two of the people."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, rows(PEOPLE), stage2={"held_out": 2})
    make("stage1", "tiny")
    make("stage2", "tiny")
    return tmp_path


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def run(*overrides: str, limit: int = 0) -> None:
    make("embed", "tiny", *overrides, limit=limit, quiet=False)


def values(path, name: str = "feature") -> np.ndarray:
    return read_features([path], [name]).values[name]


def test_every_query_and_gallery_tracklet_has_one_feature(project):
    run()
    table = pq.read_table(project / FEATURES)
    assert table["tracklet"].to_pylist() == [
        *("0003C2T0001", "0004C2T0001", "0006C2T0001"),
        *("0003C1T0001", "0004C1T0001", "0006C1T0001"),
    ]
    assert table["split"].to_pylist() == ["gallery"] * 3 + ["query"] * 3
    length = table.schema.field("feature").type.list_size
    assert table.schema.remove_metadata().equals(schema.features(length))
    np.testing.assert_allclose(np.linalg.norm(values(project / FEATURES), axis=1), 1, rtol=1e-5)


def test_features_tell_people_apart_better_than_chance(project):
    run()
    table = read_features([project / FEATURES], ["feature"])
    feature, query = table.values["feature"], table.split == "query"
    dist = CosineDistances(feature[query], feature[~query])
    assert cmc_and_map(dist, table.ids[query], table.ids[~query]).mean_ap > 0.8


def test_baselines_stand_in_the_same_order_beside_the_features(project):
    run()
    found = pq.read_table(project / BASELINES)
    assert found["tracklet"].equals(pq.read_table(project / FEATURES)["tracklet"])
    for name in ("random", "untrained", "colour"):
        assert np.isfinite(values(project / BASELINES, name)).all()
    assert not np.allclose(values(project / BASELINES, "untrained"), values(project / FEATURES))


def test_colours_are_medians_of_torso_and_legs():
    frames = np.zeros((1, 2, 3, 100, 40), np.uint8)
    frames[..., 20:50, :] = np.array([250, 10, 30], np.uint8)[:, None, None]
    frames[..., 50:80, :] = np.array([5, 100, 200], np.uint8)[:, None, None]
    frames[..., 20:80, 15:18] = 77
    found = embed.colours({"inputs": {"frames": torch.from_numpy(frames)}})["colour"]
    np.testing.assert_allclose(found[0] * 255, [250, 10, 30, 5, 100, 200], atol=0.01)


def test_skeletons_in_the_shards_do_not_change_visual_features(project):
    run()
    before = values(project / FEATURES)
    made = rows(PEOPLE)
    for row in made:
        if row["split"] != "train":
            row |= {"status": int(Status.LOW_SCORE), "xyz": None}
    write_shards(project / "data/shards/tiny", made)
    run()
    np.testing.assert_array_equal(values(project / FEATURES), before)


def test_dense_features_use_all_frames_and_differ_from_sampled_ones(project):
    run()
    run("embed.frames=dense")
    dense = values(project / "work/try/trial" / FEATURES)
    assert dense.shape == values(project / FEATURES).shape
    assert not np.allclose(dense, values(project / FEATURES), atol=1e-4)


def test_the_skeleton_encoder_can_describe_alone(project):
    run("embed.descriptor=skeleton")
    skeleton = values(project / "work/try/trial" / FEATURES)
    assert skeleton.shape[1] == 128
    table = read_features([project / "work/try/trial" / FEATURES], ["feature"])
    query = table.split == "query"
    dist = CosineDistances(skeleton[query], skeleton[~query])
    assert cmc_and_map(dist, table.ids[query], table.ids[~query]).mean_ap > 0.6


def test_frames_and_skeletons_can_describe_together(project):
    run("embed.descriptor=both", "embed.skeleton_weight=0.3")
    both = values(project / "work/try/trial" / FEATURES)
    run()
    assert both.shape[1] == values(project / FEATURES).shape[1] + 128
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, rtol=1e-5)


def test_a_tracklet_without_a_readable_frame_keeps_its_row(project):
    made = rows(PEOPLE)
    for row in made:
        if row["tracklet"] == "0004C1T0001":
            spoil(row, Status.MISSING)
    write_shards(project / "data/shards/tiny", made)
    run()
    assert len(pq.read_table(project / FEATURES)) == 6
    assert np.isfinite(values(project / FEATURES)).all()


def test_a_killed_run_continues_and_ends_with_the_same_bytes(project, monkeypatch):
    monkeypatch.setattr(embed, "CHUNK", 2)
    run()
    whole = [(project / name).read_bytes() for name in (FEATURES, BASELINES)]
    for name in (FEATURES, BASELINES):
        (project / name).unlink()
    describe, calls = train_describe.describe, []

    def failing(*arguments):
        once = describe(*arguments)

        def batch(data):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return once(data)

        return batch

    monkeypatch.setattr(train_describe, "describe", failing)
    with pytest.raises(KeyboardInterrupt):
        run()
    run()
    assert [(project / name).read_bytes() for name in (FEATURES, BASELINES)] == whole
    assert len(calls) == 5 + 2
    assert not list(project.glob("work/embed/tiny/*"))


def test_a_finished_run_is_not_done_again(project, capsys):
    run()
    run()
    assert "up to date" in capsys.readouterr().out


def test_a_missing_model_names_the_command(project):
    (project / "models/tiny/stage2.safetensors").unlink()
    with pytest.raises(PipelineError, match="dvc repro stage2@tiny"):
        run()


def test_a_descriptor_that_was_not_trained_names_the_knob(project):
    bare = ["runs.tiny.start=conf/encoder/conv_stem.yaml", "runs.tiny.encoder=conv_stem"]
    make("stage2", "tiny", *bare, "stage2.settings.without=[skeleton]")
    with pytest.raises(PipelineError, match=r"embed\.descriptor is skeleton.*null"):
        run("embed.descriptor=skeleton")


def test_a_model_of_skeletons_knows_no_pictures_and_both_is_what_it_has(project):
    alone = ["runs.tiny.model=skeleton", "runs.tiny.encoder=none"]
    make("stage2", "tiny", *alone, "runs.tiny.start=conf/encoder/none.yaml")
    with pytest.raises(PipelineError, match=r"embed\.descriptor is visual.*null"):
        run("embed.descriptor=visual")
    found = {}
    for descriptor in ("both", "null"):
        run(f"embed.descriptor={descriptor}")
        found[descriptor] = values(project / "work/try/trial" / FEATURES)
    np.testing.assert_array_equal(found["both"], found["null"])


def test_features_before_and_behind_the_necks_are_those_of_the_model(project):
    found = {}
    for neck in ("before", "after"):
        run(f"embed.neck={neck}")
        found[neck] = values(project / "work/try/trial" / FEATURES)
    state, _ = load(project / "models/tiny/stage2.safetensors")
    names = ("visual", "projected", "temporal")
    mean, var = (
        torch.cat([state[f"heads.{name}.neck.running_{what}"] for name in names]).numpy()
        for what in ("mean", "var")
    )
    weight = torch.cat([state[f"heads.{name}.neck.weight"] for name in names]).numpy()
    # The length of a feature is lost when it is scaled to one: look for the one that fits.
    for before, after in zip(found["before"], found["after"], strict=True):
        scaled, shift = before / np.sqrt(var + 1e-5) * weight, mean / np.sqrt(var + 1e-5) * weight
        axes = np.stack([scaled, shift], axis=1)
        rest = after - axes @ np.linalg.lstsq(axes, after, rcond=None)[0]
        assert np.abs(rest).max() < 1e-3
    assert not np.allclose(found["before"], found["after"], atol=1e-2)


def test_held_out_people_say_how_much_skeletons_count(held_out):
    run("embed.descriptor=both")
    own = held_out / "work/try/trial" / FEATURES
    weight = float(schema.metadata(pq.read_schema(own))["skeleton_weight"])
    assert load(held_out / "models/tiny/stage2.safetensors")[1]["about"]["skeleton_weight"][
        "after"
    ] == pytest.approx(weight)
    asked = values(own)
    run("embed.descriptor=both", f"embed.skeleton_weight={weight}")
    np.testing.assert_array_equal(values(own), asked)


def test_nobody_held_out_can_say_how_much_skeletons_count(project):
    with pytest.raises(PipelineError, match=r"embed\.skeleton_weight is null.*held_out=12"):
        run("embed.descriptor=both")


HARM = {"command": "touch harm"}


@pytest.mark.parametrize(
    ("place", "hostile"),
    [
        ("model.visual", {"type": "os.system"} | HARM),
        ("model.data_preprocessor", {"type": "builtins.exec", "source": "open('harm', 'w')"}),
        ("model", {"type": "mmengine.runner.Runner"}),
        # What one of our modules imports is no class of ours.
        ("model.visual", {"type": "train.run.processes.os.system"} | HARM),
        ("model.visual", {"type": "train.run.training.Runner"}),
        ("model.visual", {"type": "train.weights.checkpoint.save_file"}),
        ("model.visual.deep", [[{"type": ["os.system"]} | HARM]]),
        ("model.visual", {"type": "train.encoders.image.NoSuchEncoder"}),
        ("model.visual._scope_", "mmpose"),
        ("model._base_", "harm.py"),
        ("model.visual.custom_imports", {"imports": ["harm"]}),
        ("model.init_cfg", {"checkpoint": "https://example.org/harm.pth"}),
        ("clips.transforms", [{"type": "subprocess.call", "args": "touch harm"}]),
    ],
)
def test_a_hostile_configuration_is_refused(project, place, hostile):
    file = project / "models/tiny/stage2.safetensors"
    state, metadata = load(file)
    *folders, last = place.split(".")
    inner = metadata["about"]
    for name in folders:
        inner = inner[name]
    is_addition = isinstance(hostile, dict) and isinstance(inner.get(last), dict)
    inner[last] = (inner[last] | hostile) if is_addition else hostile
    save_file(state, file, {"about": json.dumps(metadata["about"])})
    with pytest.raises(PipelineError, match=r"asks for .* which is no part of this project"):
        run()
    assert not (project / "harm").exists()


def test_no_pretrained_weights_are_asked_for(project, monkeypatch):
    file = project / "models/tiny/stage2.safetensors"
    state, metadata = load(file)
    metadata["about"]["model"]["visual"]["weights"] = "hub"
    save_file(state, file, {"about": json.dumps(metadata["about"])})
    monkeypatch.setattr("timm.create_model", spy := Mock(side_effect=timm.create_model))
    Trained.of(start("embed", "tiny")).model()
    assert [call.kwargs.get("pretrained", False) for call in spy.call_args_list] == [False]
