"""The table of costs in docs/systems.md is of the systems that there are, and of their code."""

import re

import pytest

from bench.systems import CLIPS, FRAMES, PAGE, counted, encoder_of, systems, table
from tests.conftest import ROOT
from tests.train.test_every_model import SYSTEMS

QUICK = ("visual", "skeleton", "hamobe")


def page() -> dict[str, list[str]]:
    """Return the rows of the page's table by system."""
    text = (ROOT / PAGE).read_text()
    part = re.search(r"<!-- systems: begin -->(.*)<!-- systems: end -->", text, re.DOTALL)[1]
    return rows_of(part)


def rows_of(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row for row in rows}


def test_every_system_has_its_costs_and_an_encoder_that_there_is():
    assert sorted(systems()) == SYSTEMS == sorted(page())
    assert systems()[0] == "visual"
    for system in SYSTEMS:
        assert (ROOT / f"conf/encoder/{encoder_of(system)}.yaml").is_file()


def test_the_page_says_what_is_counted_today():
    """Of the baseline and of two systems that are quick to count; the slow test has them all."""
    found = {system: counted(system) for system in QUICK}
    made, said = rows_of(table(found)), page()
    assert {system: said[system] for system in QUICK} == made


@pytest.mark.slow
def test_the_page_says_what_is_counted_of_all_today():
    assert page() == rows_of(table({system: counted(system) for system in systems()}))


def test_the_baseline_costs_what_arithmetic_says():
    """A transformer of 12 blocks of 768 channels on 129 tokens, by hand."""
    tokens, dim, depth, out = 129, 768, 12, 512
    linear = depth * 12 * dim**2 * tokens + 16 * 16 * 3 * dim * (tokens - 1) + dim * out * tokens
    attention = depth * 2 * tokens**2 * dim
    found = counted("visual")
    assert found["GMACs"] == pytest.approx((linear + attention) / 1e9, rel=1e-3)
    # Forward once and back twice as much, but for what no gradient is asked of: the pixels.
    step = 6 * CLIPS * FRAMES * (linear + attention) / 1e12
    assert found["TFLOP"] == pytest.approx(step, rel=0.01)
    assert found["parameters"] == pytest.approx(found["trained"] + 0.00128, abs=1e-5)
