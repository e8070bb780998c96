import re

import pytest
import yaml
from ruamel.yaml import YAML

from pipeline.errors import PipelineError
from pipeline.knobs import Section
from pipeline.params import load
from tests.conftest import ROOT

PARAMS = ROOT / "params.yaml"


def changed(tmp_path, old, new):
    text = PARAMS.read_text()
    assert old in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace(old, new, 1))
    return file


def test_a_misspelt_knob_names_the_nearest_right_one(tmp_path):
    file = changed(tmp_path, "stage1:\n  encoder:", "stage1:\n  encodr:")
    with pytest.raises(PipelineError, match=r"stage1\.encodr is not a known key.*stage1\.encoder"):
        load(path=file)


def test_a_misspelt_knob_of_a_recipe_nobody_uses_is_an_error_too(tmp_path):
    file = changed(tmp_path, "recipes:\n", "recipes:\n  other: {stage2: {learnrate: 1.0}}\n")
    with pytest.raises(PipelineError, match=r"recipes\.other\.stage2\.learnrate"):
        load(path=file)


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


def test_overrides_win_over_the_recipe_and_recipes_over_sections(tmp_path):
    file = changed(tmp_path, "rendered: {", "rendered: {stage2: {seed: 41}, ")
    file.write_text(re.sub(r", (\n|})", r"\1", file.read_text()))
    assert load(path=file).stage2.seed != 41
    assert load(dataset="walkers", path=file).stage2.seed == 41
    assert load(["stage2.seed=42"], "walkers", file).stage2.seed == 42


def test_a_dataset_that_is_not_enabled_says_how_to_enable_it():
    with pytest.raises(PipelineError, match=r"mars is not enabled\. Uncomment or add its line"):
        load(dataset="mars", path=PARAMS)


def test_fingerprints_follow_their_sections_only():
    base, lr, device = (
        load(change, path=PARAMS) for change in ([], ["stage2.lr=0.5"], ["runtime.device=cpu"])
    )
    assert base.fingerprint("stage2") != lr.fingerprint("stage2")
    assert base.fingerprint("stage1") == lr.fingerprint("stage1")
    assert base.fingerprint("stage2") == device.fingerprint("stage2")


def test_every_yaml_reader_sees_the_same_numbers():
    # DVC reads YAML 1.2, PyYAML 1.1: they disagree on 1e-4, on yes and on 010.
    assert YAML(typ="safe").load(PARAMS) == yaml.safe_load(PARAMS.read_text())


def test_every_knob_is_explained():
    for _, section in load(path=PARAMS):
        if isinstance(section, Section):
            for name, field in type(section).model_fields.items():
                assert field.description, name


def test_params_stay_short():
    assert len(PARAMS.read_text().splitlines()) <= 150


def test_a_missing_or_broken_file_is_one_line(tmp_path):
    with pytest.raises(PipelineError, match="is missing"):
        load(path=tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(PipelineError, match="no valid YAML"):
        load(path=tmp_path / "params.yaml")
