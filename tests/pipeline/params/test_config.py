from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from pipeline.errors import PipelineError
from pipeline.params.config import RECIPE, RENAMED, load, read
from pipeline.params.knobs import Section
from pipeline.schema import VERSION
from tests.conftest import ROOT

PARAMS = ROOT / "params.yaml"
RECIPES = sorted((ROOT / "conf/recipe").glob("*.yaml"))


def changed(tmp_path, old, new):
    text = PARAMS.read_text()
    assert old in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace(old, new, 1))
    return file


def test_a_misspelt_knob_names_the_nearest_right_one(tmp_path):
    file = changed(tmp_path, "  train_visual: true", "  train_visul: true")
    with pytest.raises(PipelineError, match=r"stage1\.train_visul is not a .*\.train_visual\?"):
        load(path=file)


@pytest.mark.parametrize("section", ["datasets", "runs", "pretraining"])
def test_a_misspelt_key_of_a_line_names_the_nearest_right_one(section):
    with pytest.raises(PipelineError, match=rf"{section}\.walkers\.\w+ is not .*Did you mean"):
        load([f"{section}.walkers.{'trian' if section != 'datasets' else 'formt'}=x"], path=PARAMS)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_is_complete_and_holds_nothing_else(recipe):
    assert set(read(recipe)) == set(RECIPE)
    own = load(recipe=recipe, path=PARAMS)
    assert own.stage2.epochs == read(recipe)["stage2"]["epochs"]
    assert own.walkers == load(path=PARAMS).walkers


def test_a_mistake_in_a_recipe_names_its_file(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPES[0].read_text().replace("  epochs:", "  epoch:", 1))
    with pytest.raises(PipelineError, match=r"mine\.yaml: stage1\.epoch is not a known key"):
        load(recipe=recipe, path=PARAMS)
    recipe.write_text("walkers: {}\n")
    with pytest.raises(PipelineError, match=r"mine\.yaml: walkers does not belong into a recipe"):
        load(recipe=recipe, path=PARAMS)
    with pytest.raises(PipelineError, match=r"other\.yaml is missing\. Name another"):
        load(recipe=tmp_path / "other.yaml", path=PARAMS)


@pytest.mark.parametrize("name", RENAMED)
def test_an_old_knob_is_an_error_that_names_the_new_one(name):
    old = name.replace("*", "walkers")
    with pytest.raises(PipelineError, match=f"{old} is not a knob any more: "):
        load([f"{old}=x"], path=PARAMS)
    # What the message names as new is known.
    for word in RENAMED[name].split():
        section, _, key = word.partition(".")
        if key and section in ("pose2d", "stage2", "embed"):
            known = getattr(load(path=PARAMS), section)
            assert key.split(".")[0] in type(known).model_fields


def test_the_page_of_changes_names_every_old_knob_and_the_schema():
    text = (ROOT / "CHANGELOG.md").read_text()
    for name in RENAMED:
        assert f"| `{name.replace('*', 'NAME')}` |" in text
    assert f"schema version {VERSION}" in " ".join(text.split()).lower()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage2.epochs=0", "greater than or equal to 1"),
        ("stage2.lrr=1", r"Did you mean stage2\.lr\?"),
        ("stage9.lr=1", r"Did you mean stage[12]\?"),
        ("stage2.lr=1,2", "dvc exp run --queue"),
        ("= =", "no override"),
        ("runtime.device=[1]", "valid string"),
    ],
)
def test_a_wrong_override_is_one_line(override, message):
    with pytest.raises(PipelineError, match=message) as caught:
        load([override], path=PARAMS)
    assert "\n" not in str(caught.value)


def test_overrides_win_over_the_recipe():
    assert load(recipe=RECIPES[0], path=PARAMS).stage2.seed == 0
    assert load(["stage2.seed=42"], RECIPES[0], PARAMS).stage2.seed == 42


def test_a_run_on_a_dataset_that_is_not_enabled_says_how_to_enable_it():
    with pytest.raises(PipelineError, match=r"runs\.walkers\.test is 'mars', which is not enabled"):
        load(["runs.walkers.test=mars"], path=PARAMS)


def test_a_run_has_the_encoder_of_what_it_starts_from():
    more = (
        "runs.b={train: walkers, test: walkers, model: csip, recipe: params.yaml, "
        "start: models/walkers/stage2.safetensors}",
        "runs.c={train: walkers, test: walkers, model: csip, recipe: params.yaml, "
        "start: data/weights/clip_vit_b16, encoder: clip_vit_b16}",
    )
    params = load([one.replace(": ", ":") for one in more], path=PARAMS)
    assert [params.encoder_of(run) for run in ("walkers", "b", "c")] == [
        "conv_stem",
        "conv_stem",
        "clip_vit_b16",
    ]


@pytest.mark.parametrize(
    "starts",
    [
        {"walkers": "/somewhere/mine.pt"},
        {"walkers": "models/second/stage2.safetensors"},
        {
            "walkers": "models/second/stage2.safetensors",
            "second": "models/walkers/stage2.safetensors",
        },
    ],
    ids=["weights of others", "a run that is not there", "a circle"],
)
def test_a_run_whose_encoder_nothing_says_is_one_line(tmp_path, starts):
    knobs = yaml.safe_load(PARAMS.read_text())
    line = knobs["runs"]["walkers"]
    knobs["runs"] = {name: line | {"start": start} for name, start in starts.items()}
    (file := tmp_path / "params.yaml").write_text(yaml.safe_dump(knobs))
    with pytest.raises(PipelineError, match=r"runs\.\w+ names no encoder.*encoder: conv_stem"):
        load(path=file)


def test_fingerprints_follow_their_sections_only():
    base, lr, device = (
        load(change, path=PARAMS) for change in ([], ["stage2.lr=0.5"], ["runtime.device=cpu"])
    )
    assert base.fingerprint("stage2") != lr.fingerprint("stage2")
    assert base.fingerprint("stage1") == lr.fingerprint("stage1")
    assert base.fingerprint("stage2") == device.fingerprint("stage2")


@pytest.mark.parametrize("file", [PARAMS, *RECIPES], ids=lambda file: file.stem)
def test_every_yaml_reader_sees_the_same_numbers(file):
    # DVC reads YAML 1.2, PyYAML 1.1: they disagree on 1e-4, on yes and on 010.
    assert YAML(typ="safe").load(file) == yaml.safe_load(file.read_text())


def test_every_knob_is_explained():
    for _, section in load(path=PARAMS):
        if isinstance(section, Section):
            for name, field in type(section).model_fields.items():
                assert field.description, name


def test_no_knob_has_a_value_that_is_not_in_a_file():
    # What decides a result is listed as a parameter; pipeline.code does not look at knobs.
    for _, section in load(path=PARAMS):
        if isinstance(section, Section):
            assert all(field.is_required() for field in type(section).model_fields.values())


def test_params_stay_short():
    assert len(PARAMS.read_text().splitlines()) <= 160


def test_a_missing_or_broken_file_is_one_line(tmp_path):
    with pytest.raises(PipelineError, match="is missing"):
        load(path=tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(PipelineError, match="not a readable YAML"):
        load(path=tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PipelineError, match="not a readable text"):
        load(path=Path(tmp_path / "params.yaml"))
