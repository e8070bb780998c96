from pathlib import Path

import pytest
import yaml

from pipeline.errors import PipelineError
from pipeline.params.config import load
from pipeline.params.enable import enable, uncommented
from tests.conftest import ROOT
from tests.docs.pages import to_run

TEXT = (ROOT / "params.yaml").read_text()
NAMES = ("mars", "ls_vid", "ilids_vid", "biwi")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)


def refuses(text, name, message):
    Path("params.yaml").write_text(text)
    with pytest.raises(PipelineError, match=message) as caught:
        enable(name)
    assert "\n" not in str(caught.value)
    assert Path("params.yaml").read_text() == text
    assert [file.name for file in Path().iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("name", NAMES)
def test_lines_lose_their_mark_and_nothing_else_changes(name):
    changed, lines = uncommented(TEXT, name)
    assert lines
    pairs = list(zip(TEXT.splitlines(), changed.splitlines(), strict=True))
    headers = ("kinect: {}", "weights: [walkers_pose]")
    different = [(old, new) for old, new in pairs if old != new and old not in headers]
    assert len(different) == len([line for line in lines if line[0] != "weights"])
    for old, new in different:
        assert new == old.replace("# ", "", 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_time_changes_nothing(name, capsys):
    enable(name)
    once = Path("params.yaml").read_bytes()
    capsys.readouterr()
    enable(name)
    assert Path("params.yaml").read_bytes() == once
    assert f"{name} is enabled already" in capsys.readouterr().out


def test_what_the_lines_name_is_enabled_too(capsys):
    enable("mars")
    params = load()
    assert "mars" in params.datasets.keys() & params.pretraining.keys() & params.runs.keys()
    assert set(params.weights) == {"walkers_pose", "rtmpose_m", "videopose3d_243", "clip_vit_b16"}
    assert "ls_vid" not in params.datasets
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [
        "data     put mars into data/raw/mars (docs/datasets.md)",
        "next     dvc repro report@mars",
    ]


def test_skeletons_need_no_weights_and_data_that_is_there_is_not_asked_for(capsys):
    Path("data/raw/biwi").mkdir(parents=True)
    enable("biwi")
    assert (list(load().kinect), load().weights) == (["biwi"], ["walkers_pose"])
    assert "kinect:\n  biwi:" in Path("params.yaml").read_text()
    assert capsys.readouterr().out.splitlines()[1:] == ["next     dvc repro report@biwi"]


def test_a_dataset_that_nothing_is_trained_on_is_made_up_to_its_shards(capsys):
    enable("ls_vid")
    assert capsys.readouterr().out.splitlines()[-1] == "next     dvc repro shards@ls_vid"


def test_a_run_brings_what_it_is_trained_and_tested_on_and_what_it_starts_from():
    line = "{train: mars, test: ls_vid, model: csip, recipe: params.yaml, start: "
    Path("params.yaml").write_text(
        TEXT.replace(
            "runs:\n",
            f"runs:\n  # across: {line}models/second/stage2.safetensors}}\n"
            f"  # second: {line}models/mars/stage1.safetensors}}\n",
        )
    )
    enable("across")
    params = load()
    assert {"mars", "ls_vid"} <= params.datasets.keys()
    assert list(params.runs) == ["across", "second", "walkers"]
    assert list(params.pretraining) == ["walkers", "mars"]
    assert "clip_vit_b16" in params.weights


def test_line_ends_of_windows_stay():
    changed, _ = uncommented(TEXT.replace("\n", "\r\n"), "mars")
    assert changed == uncommented(TEXT, "mars")[0].replace("\n", "\r\n")


def test_a_name_without_a_line_is_refused():
    refuses(TEXT, "marss", r"no line marss to uncomment\. Did you mean mars\?")


@pytest.mark.parametrize(
    "before", ["weights: []", "weights:\n  - walkers_pose\n", "weights: [a,\n  b]"]
)
def test_weights_are_added_to_a_list_of_any_form(before):
    text = TEXT.replace("weights: [walkers_pose]\n", f"{before}\n")
    old = yaml.safe_load(text)["weights"]
    new = yaml.safe_load(uncommented(text, "ls_vid")[0])["weights"]
    assert sorted(new) == sorted([*old, "rtmpose_m", "videopose3d_243"])


def test_weights_that_nobody_knows_are_refused():
    text = TEXT.replace("pose2d: rtmpose_m", "pose2d: rtmpose_x")
    refuses(text, "mars", r"there is no conf/weights/rtmpose_x\.yaml")


def test_what_an_experiment_writes_into_params_yaml_leaves_the_lines_there():
    """DVC writes the file anew when `-S` changes a knob, and drops comments in some places."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml("params.yaml") as knobs:
        knobs["stage2"]["lr"] = 1e-4
    left = Path("params.yaml").read_text()
    for name in NAMES:
        known = {line for line in uncommented(TEXT, name)[1]}
        assert set(uncommented(left, name)[1]) == known
    enable("mars")
    assert "mars" in load().runs


def test_what_would_not_be_valid_is_refused():
    text = TEXT.replace("# mars: {format: mars,", "# mars: {formt: mars,")
    refuses(text, "mars", r"left as it is\. With mars, params\.yaml: datasets\.mars\.formt is not")
    text = TEXT.replace(
        "kinect: {}", "kinect: {ks20: {format: ks20, source: x, counts: published}}"
    )
    refuses(text, "biwi", "left as it is: it would be no YAML")


def test_the_command_of_the_readme_enables_mars(command):
    (line,) = [line for line in to_run("README.md") if "--enable" in line]
    done = command(*line.split()[2:], cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert "mars" in load().datasets
