"""What CONTRIBUTING.md and docs/design.md show is true, and works as it stands there."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import graph, paths
from pipeline.code.hashes import WINGS
from pipeline.params import config
from pipeline.schema import INDEX, with_metadata
from tests.conftest import ROOT
from tests.docs.pages import PAGES, blocks

SYSTEM, STAGE = blocks("CONTRIBUTING.md", "python")
MODEL, LINES = blocks("CONTRIBUTING.md", "yaml")


@pytest.fixture(scope="module")
def system():
    """The system of the page, as the module it would stand in."""
    module = ModuleType("train.models.mean")
    sys.modules[module.__name__] = module
    exec(SYSTEM, vars(module))
    yield module
    del sys.modules[module.__name__]


def test_a_system_is_one_file_of_conf_and_one_class(system, tmp_path, monkeypatch):
    import torch

    from train.registry import MODELS
    from train.run.compose import compose

    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/model/mean.yaml").write_text(MODEL)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    knobs = config.load(["stage2.settings={weights:{id:0.5}}"], path=ROOT / "params.yaml")
    model = MODELS.build(compose("stage2", knobs, "conv_stem", "mean")["model"] | {"classes": 2})
    inputs = {"frames": torch.rand(2, 3, 3, 128, 64)}
    loss = model(inputs, torch.tensor([0, 1]), mode="loss")["loss_id"]
    logits = model.head(model.features(inputs)["visual"])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(loss, 0.5 * expected)
    loss.backward()
    assert model(inputs, mode="predict").norm(dim=1).tolist() == pytest.approx([1, 1])


@pytest.fixture
def project(tmp_path):
    """A copy of the code with the stage of the page, and an index of two persons."""
    for name in (*WINGS, "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    stages = f"stages:\n{textwrap.indent(LINES, '  ')}\n"
    text = (ROOT / "dvc.yaml").read_text().replace("stages:\n", stages, 1)
    (tmp_path / "dvc.yaml").write_text(text)
    (tmp_path / "extract/persons.py").write_text(STAGE)
    row = {"tracklet": "a", "camid": 0, "split": "train", "frames": [], "frame_numbers": []}
    rows = [row | {"pid": pid} for pid in (1, 1, 2)]
    (tmp_path / "data/index").mkdir(parents=True)
    table = pa.Table.from_pylist(rows, with_metadata(INDEX))
    pq.write_table(table, tmp_path / paths.index_file("walkers"))
    return tmp_path


def test_a_stage_is_a_run_and_its_lines_of_dvc_yaml(project):
    def type_(line):
        command = [sys.executable, *line.split()[1:]]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    command = yaml.safe_load(LINES)["persons"]["do"]["cmd"].replace("${key}", "walkers")
    assert type_(command)[-3:] == [
        "written  data/persons/walkers.txt",
        "amount   2 persons",
        "next     dvc repro pose2d@walkers",
    ]
    assert type_(command) == ["data/persons/walkers.txt is up to date"]
    type_("python -m pipeline.code")
    code = yaml.safe_load((project / "code.yaml").read_text())
    assert re.fullmatch("[0-9a-f]{12}", code["persons"]["walkers"])


def test_the_picture_of_the_house_is_that_of_the_folders():
    drawn = runpy.run_path(str(ROOT / "docs/house.py"))["picture"]()
    assert (ROOT / "docs/house.svg").read_text() == drawn, "run: python docs/house.py"


def test_every_stage_stands_on_the_page_of_the_design():
    text = (ROOT / "docs/design.md").read_text()
    for stage in graph.stages():
        assert f"`{stage}`" in text


def anchors(text):
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if ":" not in target:
            name, _, anchor = target.partition("#")
            file = ROOT / page.parent / name if name else ROOT / page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text()), target
