"""Every cell of the table of results is an experiment that can run."""

from pathlib import Path

import pytest
import yaml

from bench import results
from bench.cells import ONCE, VARIANTS, WORLDS, groups, key, overrides
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
        for name in above:
            # A plus sign makes what is above the key too.
            section = section.get(name, {}) if override.startswith("+") else section[name]
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
    assert ("visual" in system) == (line.model != "skeleton")


def test_what_other_code_or_knobs_found_is_left_out_and_counted(monkeypatch):
    world = next(iter(WORLDS))
    cells = [(world, name, 0) for name in ("visual baseline", "full", "skeleton only")]
    versions = {cell: results.version(cell) for cell in cells}
    assert len(set(versions.values())) == 3
    scores = {"mAP": 0.5, "rank1": 0.5, "mINP": 0.5}
    found = {key(cell): scores | {"version": versions[cell]} for cell in cells}
    found[key(cells[1])] = scores
    monkeypatch.setattr(results, "version", lambda cell: versions.get(cell, "of today"))
    kept = results.present(found, 1)
    assert kept.keys() == {key(cells[0]), key(cells[2])}
    assert "Of 65 runs, 2 are of the present code" in results.said(kept, 65)
    # Another knob, another version: what was found with the old one is not the same cell's.
    monkeypatch.setitem(versions, cells[0], "another")
    assert results.present(found, 1).keys() == {key(cells[2])}


def test_a_version_follows_the_knobs_of_a_cell(monkeypatch):
    cell = (next(iter(WORLDS)), "full", 0)
    before = results.version(cell)
    assert results.version(cell) == before
    monkeypatch.setitem(VARIANTS, "full", ["stage2.lr=1e-9"])
    assert results.version(cell) != before
