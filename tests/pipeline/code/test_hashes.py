"""Dependencies on code: what changes what, in a copy of the project's hashes."""

import ast
import shutil
from pathlib import Path

import pytest

from pipeline import graph, paths
from pipeline.code import hashes
from pipeline.code.__main__ import FILE
from pipeline.params import config
from tests.conftest import ROOT

TRAINED = {"stage1", "stage2"}
EVERYTHING_WITH_FRAMES = TRAINED | {"pose2d", "embed", "report"}
MORE = [
    "kinect.biwi={format:biwi,source:x,counts:none}",
    "runs.alone={train:biwi,test:biwi,model:skeleton,encoder:none,start:x,recipe:params.yaml}",
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for name in (*hashes.WINGS, "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder


@pytest.fixture
def changes(copy, monkeypatch):
    """Return a function that changes a file, says whose hash that changes, and undoes it."""
    params = config.load(MORE, path=ROOT / "params.yaml")
    monkeypatch.setattr(paths, "ROOT", copy)

    def now():
        for cached in (hashes.modules, hashes._tree, hashes._hashed):
            cached.cache_clear()
        return {
            f"{stage}.{key}" if isinstance(made, dict) else stage: digest
            for stage, made in hashes.table(params).items()
            for key, digest in (made.items() if isinstance(made, dict) else [("", made)])
        }

    before = now()

    def change(name, old="", new="", more=""):
        file = copy / name
        text = file.read_text() if file.exists() else None
        if text is not None:
            assert old in text, name
        file.write_text((text or "").replace(old, new, 1) + more)
        try:
            return {name for name, digest in now().items() if digest != before[name]}
        finally:
            if text is None:
                file.unlink()
            else:
                file.write_text(text)

    graph.stages()
    yield change
    for cached in (hashes.modules, hashes._tree, hashes._hashed):
        cached.cache_clear()


def stages(found):
    return {name.split(".")[0] for name in found}


def test_a_comment_and_a_docstring_change_nothing(changes):
    assert not changes("pipeline/images.py", more="\n# a comment\n")
    assert not changes("pipeline/images.py", '"""', '"""Other words. ')
    assert not changes("conf/stage2.yaml", more="\n# a comment\n")
    assert not changes("conf/weights/walkers_pose/pose2d.py", more="\n# a comment\n")


def test_what_is_silent_changes_nothing(changes):
    for name in sorted(hashes.SILENT):
        file = hashes.modules()[name].relative_to(paths.ROOT)
        assert not changes(str(file), more="\nCHANGED = 1\n"), name


def test_what_is_silent_imports_nothing_else():
    # What a silent module brought along would not be seen.
    for name in hashes.SILENT:
        tree = ast.parse(hashes.modules()[name].read_text())
        assert hashes.imported(hashes.stripped(tree)) <= hashes.SILENT, name


def test_a_decoder_changes_what_looks_at_frames(changes):
    assert stages(changes("pipeline/images.py", more="\nCHANGED = 1\n")) >= EVERYTHING_WITH_FRAMES


def test_a_joint_map_changes_all_that_knows_joints(changes):
    found = stages(changes("pipeline/skeleton.py", more="\nCHANGED = 1\n"))
    # The index and the scores know joints by way of the columns.
    assert found == set(graph.stages()) - {"code", "weights"}


def test_a_parser_changes_the_index_of_its_format_alone(changes):
    found = changes("extract/datasets/mars.py", more="\nCHANGED = 1\n")
    assert {"index.walkers"} <= found <= {"index.walkers", "score.walkers"}
    found = changes("extract/datasets/biwi.py", more="\nCHANGED = 1\n")
    assert {"kinect.biwi"} <= found <= {"kinect.biwi", "score.alone"}
    assert not changes("extract/datasets/mine.py", more="FACTS = 1\n")


def test_a_pose_config_changes_the_stage_that_runs_it_and_its_weights(changes):
    found = changes("conf/weights/walkers_pose/pose2d.py", more="\nflip = 1\n")
    assert stages(found) == {"weights", "pose2d", "pose3d"}
    assert not changes("conf/weights/rtmpose_t.yaml", more="\nlicence: other\n")


def test_an_encoder_changes_the_runs_that_have_it(changes):
    assert not changes("conf/encoder/mine.yaml", more="visual: {}\n")
    found = changes("conf/encoder/conv_stem.yaml", "out_dim: 128", "out_dim: 64")
    assert found == {"stage1.walkers", "stage2.walkers"}


def test_a_class_that_a_configuration_names_counts_for_who_names_it(changes):
    found = changes("train/models/skeleton.py", more="\nCHANGED = 1\n")
    assert "stage2.alone" in found
    assert "stage2.walkers" not in found
    found = changes("train/models/csip.py", more="\nCHANGED = 1\n")
    assert {"stage2.walkers", "embed.walkers"} <= found
    assert not any("alone" in name or "stage1" in name for name in found)


def test_the_renderer_makes_no_weights_anew(changes):
    found = stages(changes("extract/walkers/gait.py", more="\nCHANGED = 1\n"))
    assert found == {"walkers"}


def test_the_committed_table_is_that_of_the_code(tmp_path, monkeypatch):
    import yaml

    found = yaml.safe_load((ROOT / FILE).read_text())
    assert found == hashes.table(config.load(path=ROOT / "params.yaml")), "run: dvc repro"


def test_the_modules_of_all_stages_exist():
    for stage in graph.stages():
        assert graph.module(stage) in hashes.modules(), stage
        assert Path(ROOT / "dvc.yaml").exists()
