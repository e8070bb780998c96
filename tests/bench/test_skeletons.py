"""What is left of a person in skeletons lifted from perfect 2D joints: walkers without pictures."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bench.skeletons import lifted, retrieve
from extract.walkers.clip import pose_only
from extract.walkers.frame import scene
from extract.walkers.plan import queries, tracklets
from pipeline.params.config import load
from pipeline.skeleton import H36M17
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def walks() -> tuple[np.ndarray, np.ndarray, SimpleNamespace]:
    """2D and 3D joints of the walkers of another seed than the default, and who they are."""
    knobs = load(("walkers.seed=1",), path=ROOT / "params.yaml").walkers
    planned = [one for one in tracklets(knobs) if one.pid > 0]
    asked = set(queries(planned, knobs.seed))
    rows, xy_px, xyz, tests = [], [], [], 0
    for one in planned:
        camera, rng = scene(*one.scene_key(knobs)).camera, one.rng(knobs.seed)
        joints = pose_only(one.person(knobs), camera, np.asarray(one.frame_numbers), rng)
        split = "train"
        if one.split == "test":
            split = "query" if tests in asked else "gallery"
            tests += 1
        rows.append((sum(map(len, xyz)), len(joints[1]), split, one.pid, one.camid))
        xy_px.append(joints[0])
        xyz.append(joints[1])
    table = pd.DataFrame(rows, columns=["first", "length", "split", "pid", "camid"])
    shards = SimpleNamespace(tracklets=table, layout=H36M17)
    return np.concatenate(xy_px), np.concatenate(xyz), shards


def test_what_was_seen_tells_people_apart_where_a_lifter_alone_does_not(walks, monkeypatch):
    """True joints retrieve everybody; the lifter alone a third of them, with what was seen most."""
    monkeypatch.chdir(ROOT)
    xy_px, xyz, shards = walks
    alone, kept = (
        retrieve(lifted(xy_px, shards, "walkers_pose", keep_2d), shards)[0]
        for keep_2d in (False, True)
    )
    print(f"true {retrieve(xyz, shards)[0]:.1f}, lifted {alone:.1f}, kept {kept:.1f}")
    assert retrieve(xyz, shards)[0] > 95
    assert kept >= 65
    assert kept > 1.5 * alone
