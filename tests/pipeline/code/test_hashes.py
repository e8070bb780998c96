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

CACHED = (hashes.modules, hashes._tree, hashes._text, hashes._skeleton, hashes._hashed)
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
        for cached in CACHED:
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
    for cached in CACHED:
        cached.cache_clear()


def stages(found):
    return {name.split(".")[0] for name in found}


def test_a_comment_and_a_docstring_change_nothing(changes):
    assert not changes("pipeline/images.py", more="\n# a comment\n")
    assert not changes("pipeline/images.py", '"""', '"""Other words. ')
    assert not changes("conf/stage2.yaml", more="\n# a comment\n")
    assert not changes("conf/weights/walkers_pose/pose2d.py", more="\n# a comment\n")


class Newer(ast.FunctionDef):
    """A function as a later Python's grammar has it: with a field more, which is empty."""

    _fields = (*ast.FunctionDef._fields, "more_params", "more")


Newer.__name__ = "FunctionDef"


def test_a_field_that_a_later_python_adds_changes_nothing():
    (old,) = ast.parse("def f(x, *, y=None):\n    return {**x, 1: None}").body
    new = Newer(**dict(ast.iter_fields(old)), more_params=[], more=None)
    assert ast.dump(new) != ast.dump(old)
    assert hashes.as_text(new) == hashes.as_text(old)
    new.more_params = [ast.Name("T", ast.Load())]
    assert hashes.as_text(new) != hashes.as_text(old)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = None", "x = ''"),
        ("x = 1", "x = 1.0"),
        ("x = 'None'", "x = None"),
        ("f(a, b)", "f(a, *b)"),
        ("{**a}", "{None: a}"),
        ("def f(*, a): 0", "def f(*, a=None): 0"),
        ("return_ = 1", "return_: int = 1"),
        ("x = [1, [2]]", "x = [[1], 2]"),
    ],
)
def test_code_that_does_something_else_has_another_text(one, other):
    assert hashes.as_text(ast.parse(one)) != hashes.as_text(ast.parse(other))


def test_the_code_of_a_module_is_that_of_all_it_imports(copy, monkeypatch):
    def made(name):
        for cached in CACHED:
            cached.cache_clear()
        return hashes.code_of(name)

    monkeypatch.setattr(paths, "ROOT", copy)
    before = made("extract.fit.pose2d")
    file = copy / "extract/walkers/gait.py"
    text = file.read_text()
    file.write_text(f"{text}\n# a comment\n")
    assert made("extract.fit.pose2d") == before
    file.write_text(f"{text}\nCHANGED = 1\n")
    assert made("extract.fit.pose2d") != before
    file.write_text(text)
    assert made("extract.fit.pose2d") == before
    for cached in CACHED:
        cached.cache_clear()


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
    assert found == {"index.walkers"}
    found = changes("extract/datasets/biwi.py", more="\nCHANGED = 1\n")
    assert found == {"kinect.biwi"}
    assert not changes("extract/datasets/mine.py", more="FACTS = 1\n")


def test_a_pose_config_changes_the_stage_that_runs_it_and_its_weights(changes):
    found = changes("conf/weights/walkers_pose/pose2d.py", more="\nflip = 1\n")
    assert stages(found) == {"weights", "pose2d", "pose3d"}
    assert not changes("conf/weights/rtmpose_t.yaml", more="\nlicence: other\n")


def test_an_encoder_changes_the_runs_that_have_it(changes):
    assert not changes("conf/encoder/mine.yaml", more="visual: {}\n")
    having = {"stage1.walkers", "stage2.walkers", "embed.walkers"}
    assert changes("conf/encoder/conv_stem.yaml", "out_dim: 128", "out_dim: 64") == having
    # Its class too, which nothing but that file names.
    assert changes("train/encoders/image.py", more="\nCHANGED = 1\n") >= having


def test_the_skeleton_encoder_that_the_stages_take_counts_and_no_other(changes):
    assert not changes("conf/skeleton/mine.yaml", more="model: {skeleton: {dim: 1}}\n")
    found = changes("conf/skeleton/graph_transformer.yaml", more="\nmore: 1\n")
    assert stages(found) == {"stage1", "stage2", "embed"}


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
