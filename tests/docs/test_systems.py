"""The table of systems says what the folder and the classes say."""

import re

import pytest

from tests.conftest import ROOT
from tests.train.test_every_model import SYSTEMS, configured
from train.data.columns import OF_CAPTIONS, OF_FRAMES, OF_TRACKLETS
from train.registry import MODELS


def rows() -> dict[str, list[str]]:
    lines = (ROOT / "docs/systems.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0].strip("`"): row for row in cells if row[0].startswith("`")}


def test_every_system_has_a_row_and_every_row_a_system():
    assert sorted(rows()) == SYSTEMS


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_row_names_the_parts_and_the_needs_of_its_class(system):
    _, source, parts, needs, ours, licence = rows()[system]
    config = configured(system)
    made = MODELS.get(config["model"]["type"])
    assert tuple(re.findall(r"`(\w+)`", parts)) == made.parts
    columns = {*OF_FRAMES, *OF_TRACKLETS, *OF_CAPTIONS}
    named = set(re.findall(r"`(\w+)`", needs))
    assert named <= columns
    # Its parts may need something too.
    assert {*config["train_dataloader"]["dataset"]["needs"]} - {"frames"} == named
    assert all((source, ours, licence))
