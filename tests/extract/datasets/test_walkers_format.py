"""Rendered people: the layout of MARS, and what is true of each tracklet beside it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extract.datasets import mars, walkers
from extract.tracklets import ParserInput
from extract.walkers.mars_files import write_info
from extract.walkers.plan import queries, tracklets
from extract.walkers.render import render_person
from pipeline.params.config import load
from tests.conftest import ROOT

TINY = (
    "walkers.identities_train=2",
    "walkers.identities_test=2",
    "walkers.cameras=3",
    "walkers.tracklets=1",
    "walkers.frames=[2,2]",
    "walkers.distractors=1",
    "walkers.junk=1",
    "walkers.change_clothes=true",
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Callable[..., tuple[Path, list]]:
    def render(*overrides: str) -> tuple[Path, list]:
        knobs = load((*TINY, *overrides), path=ROOT / "params.yaml").walkers
        work = tmp_path_factory.mktemp("rendered")
        planned = tracklets(knobs)
        for tracklet in planned:
            render_person(work / tracklet.name, knobs, [tracklet])
            for file in (work / tracklet.name / "dataset").rglob("*.jpg"):
                target = work / "dataset" / file.relative_to(work / tracklet.name / "dataset")
                target.parent.mkdir(parents=True, exist_ok=True)
                file.rename(target)
        tables = [pq.read_table(path) for path in sorted(work.glob("*/truth/*.parquet"))]
        write_info(work / "dataset", planned, queries(planned, knobs.seed))
        truth = pa.concat_tables(tables, promote_options="default")
        pq.write_table(truth, work / "dataset" / "truth.parquet")
        return work / "dataset", planned

    return render


def test_clothes_are_the_outfits_and_nothing_else_is_known_of_a_plain_world(rendered):
    root, planned = rendered()
    found = list(walkers.read(ParserInput(root)))
    outfits = {tracklet.name: tracklet.outfit for tracklet in planned}
    assert len(found) > 5
    assert all(one.clothes == outfits[one.tracklet] for one in found)
    assert {(one.spectrum, one.platform, one.altitude_m) for one in found} == {(None,) * 3}
    assert [one._replace(clothes=None) for one in found] == list(mars.read(ParserInput(root)))


def test_a_world_says_how_each_tracklet_was_seen(rendered):
    root, _ = rendered("walkers.spectrum=1", "walkers.aerial=2")
    for one in walkers.read(ParserInput(root)):
        assert one.spectrum == ("infrared" if one.camid == 2 else "visible")
        assert one.platform == ("aerial" if one.camid >= 1 else "ground")
        assert (one.altitude_m >= 10) == (one.camid >= 1)
        assert one.distance_m >= one.altitude_m
        assert 0 < one.angle_deg < 90
