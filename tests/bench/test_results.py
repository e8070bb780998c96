"""Every cell of the table of results is an experiment that can run."""

from pathlib import Path

import pytest
import yaml

from bench.cells import ONCE, VARIANTS, WORLDS, groups, overrides
from pipeline.params.config import load
from tests.conftest import ROOT
from train.run.compose import compose

CELLS = [cell for group in groups(1) for cell in group]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_all_variants_are_in_all_worlds():
    named = {(world, variant) for world, variant, _ in CELLS}
    assert {(world, variant) for world in WORLDS for variant in VARIANTS} <= named
    assert {(world, name) for name, (world, _, _) in ONCE.items()} <= named


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cell_sets_knobs_as_dvc_wants_it(cell):
    """`-S` takes a key that is there, and with a plus sign one that is not."""
    file = yaml.safe_load(Path("params.yaml").read_text())
    for override in overrides(cell):
        *above, last = override.partition("=")[0].lstrip("+").split(".")
        section = file
        for key in above:
            # A plus sign makes what is above the key too.
            section = section.get(key, {}) if override.startswith("+") else section[key]
        assert override.startswith("+") == (last not in section), override


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cell_starts_from_the_encoder_it_names_and_both_stages_compose(cell):
    params = load(overrides(cell))
    line, first = params.runs["walkers"], params.pretraining["walkers"]
    encoder = params.encoder_of("walkers")
    assert first.start == f"conf/encoder/{first.encoder}.yaml"
    assert line.start in (f"conf/encoder/{encoder}.yaml", "models/walkers/stage1.safetensors")
    assert Path(f"conf/encoder/{encoder}.yaml").is_file()
    compose("stage1", params, first.encoder)
    system = compose("stage2", params, encoder, line.model)["model"]
    assert ("visual" in system) == (line.model == "csip")
