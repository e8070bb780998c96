"""The table of systems in their worlds: what is trained for it, and how it is read."""

from itertools import permutations

import pytest

from bench import day_one
from bench.cells import WORLDS as OTHER_WORLDS
from bench.cells import groups, key, overrides
from bench.day_one import SHOWN, VARIANTS, WORLDS, also, table, variants
from pipeline.params.config import load
from pipeline.schema import SPECTRA
from tests.conftest import ROOT
from tests.train.test_every_model import SYSTEMS


def scores(mean_ap: float, **more) -> dict:
    return {"mAP": mean_ap, "rank1": 0.5, "mINP": 0.5, "also": more}


def test_every_comparison_is_trained_and_nothing_else_is():
    assert not WORLDS.keys() & OTHER_WORLDS.keys()
    assert {row.world for row in SHOWN} == set(WORLDS)
    named = {row.variant for row in SHOWN} | {row.against for row in SHOWN}
    assert set(VARIANTS) <= named
    trained = {cell for group in groups(2) for cell in group if cell[0] in WORLDS}
    assert trained == {(w, v, s) for w in WORLDS for v in variants(w) for s in (0, 1)}
    for group in groups(1):
        # Of a group only the last stage differs, so what was made before is made once.
        if group[0][0] in WORLDS:
            assert len({world for world, _, _ in group}) == 1


@pytest.mark.parametrize("world", WORLDS)
def test_a_system_and_what_it_is_compared_with_differ_in_the_last_stage_alone(world, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = [load(overrides((world, name, 1))) for name in variants(world)]
    for params in found:
        assert params.runs["walkers"].model in SYSTEMS
        assert params.stage1 == found[0].stage1
        assert params.walkers == found[0].walkers
        assert params.stage2.seed == 1


def test_systems_that_walkers_can_show_are_shown():
    shown = {variant.partition(",")[0] for variant in VARIANTS}
    assert shown <= set(SYSTEMS)
    # The method has a table of its own, as skeletons alone have; vslat needs a pretrained encoder.
    assert shown >= {
        "tf_clip",
        "climb",
        "keyre_id",
        "cg_clip",
        "s3_clip",
        "hamobe",
        "dinogrl",
        "lsmrl",
    }


def test_differences_are_taken_seed_by_seed_and_judged_by_their_mean():
    found = {
        key(("bad frames", "visual", 0)): scores(0.40),
        key(("bad frames", "visual", 1)): scores(0.50),
        key(("bad frames", "tf_clip", 0)): scores(0.44),
        key(("bad frames", "tf_clip", 1)): scores(0.52),
        # Nothing to compare it with.
        key(("bad frames", "tf_clip", 2)): scores(0.99),
        key(("other clothes", "hamobe", 0)): scores(
            0.30, **{"equal weights": 0.28, "appearance knows clothes": 0.72}
        ),
        key(("kits", "cg_clip", 0)): scores(0.30),
        key(("kits", "cg_clip, without captions", 0)): scores(0.29),
    }
    rows = {tuple(row.split(" | ")[:3]): row for row in table(found, 3).splitlines()}
    bad = rows["| bad frames", "tf_clip", "visual"]
    assert "48.0 ± 5.7 | 45.0 ± 7.1 | +3.0 ± 1.4 | +3 or more | yes" in bad
    gated = rows["| other clothes", "hamobe", "equal weights"]
    assert "30.0, one run | 28.0, one run | +2.0, one run | +4 or more | no" in gated
    knows = rows["| other clothes", "hamobe", "chance"]
    assert "72.0, one run | 50.0, one run | +22.0, one run | +20 or more | yes" in knows
    words = rows["| kits", "cg_clip", "cg_clip, without captions"]
    assert "+1.0, one run | not promised |  |" in words
    assert "not run" in rows["| from the air", "s3_clip", "s3_clip, without the resolver"]


def test_what_else_is_compared_comes_from_both_files_of_scores():
    views = [
        {"column": "platform", "query": "ground", "gallery": "aerial", "mAP": 0.2},
        {"column": "altitude_m", "query": "0-10", "gallery": "all", "mAP": 0.9},
    ]
    found = also(
        {
            "baselines": {"equal_weights": {"mAP": 0.3}},
            "spectrum": {"mean": {"mAP": 0.4}},
            "gate": {"appearance": {"share": 0.3, "same_clothes_auc": 0.8}},
        },
        views,
        told=0.6,
    )
    assert found == {
        "ground to aerial": 0.2, "equal weights": 0.3, "across spectra": 0.4,
        "appearance knows clothes": 0.8, "spectrum not told": 0.4,
    }  # fmt: skip
    assert also({"mAP": 0.5}, []) == {}
    spectra = {f"{one} to {other}" for one, other in permutations(SPECTRA)}
    assert {row.measure for row in day_one.SHOWN} <= {"mAP", *spectra, *found}
