"""Kinect text files to scores by the stages' commands, with a tiny model."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from evaluate.score.features import read_features
from pipeline.distances import CosineDistances
from pipeline.params.config import merge
from pipeline.ranking import cmc_and_map
from tests.conftest import ROOT
from tests.fake_kinect import MAKERS
from tests.stages import make
from train.weights.checkpoint import load

PEOPLE = tuple(range(1, 9))
TINY = {
    "stage1": {"skeleton": {"dim": 16, "layers": 1, "heads": 2, "dropout": 0.0}},
    "stage2": {
        "identities": 8, "clips": 4, "epochs": 4, "lr": 3e-3, "warmup_epochs": 1, "milestones": [3],
    },
}  # fmt: skip


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Return a function that runs all stages on a generated dataset and gives its metrics."""

    def run(name, **options):
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["kinect"] = {name: {"format": name, "source": "x", "counts": "none"}}
        line = {"train": name, "test": name, "model": "skeleton", "encoder": "none"}
        line |= {"start": "conf/encoder/none.yaml", "recipe": "recipe.yaml"}
        params["runs"] = {name: line}
        recipe = yaml.safe_load((ROOT / "conf/recipe/kinect.yaml").read_text())
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(merge(recipe, TINY)))
        params["runtime"]["workers"] = 1
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        MAKERS[name](tmp_path / "data/raw" / name, PEOPLE, **options)
        monkeypatch.chdir(tmp_path)
        make("kinect", name)
        make("stage2", name)
        make("embed", name)
        make("score", name)
        return json.loads((tmp_path / f"reports/{name}/scores.json").read_text())

    return run


def test_people_of_different_bones_are_told_apart_in_both_directions(scored):
    metrics = scored("biwi", frames=60)
    # Eight people: chance is 1/8.
    assert metrics["rank1"] > 0.6
    assert metrics["reversed"]["rank1"] > 0.6
    # Every sequence is a query, and none is lost with an incomplete batch.
    assert metrics["queries_scored"] == metrics["queries"] == 8 * 6
    assert metrics["reversed"]["queries"] == 8 * 6
    assert "same person and camera ranked" in metrics["protocol"]
    assert set(metrics["baselines"]) == {"random", "untrained"}
    assert metrics["mAP"] > metrics["baselines"]["untrained"]["mAP"] + 0.05
    table = read_features([Path("data/features/biwi.parquet")])
    query = table.split == "query"
    feature = table.values["feature"]
    other = CosineDistances(feature[~query], feature[query])
    again = cmc_and_map(other, table.ids[~query], table.ids[query], same_camera_counts=True)
    assert metrics["reversed"]["mAP"] == pytest.approx(again.mean_ap, abs=1e-5)
    state, _ = load(Path("models/biwi/stage2.safetensors"))
    assert state["skeleton.eigenvectors"].shape[0] == 20
    config = yaml.safe_load(Path("reports/biwi/stage2/config.yaml").read_text())
    flip = config["train_dataloader"]["dataset"]["transforms"][0]
    assert (flip["type"], flip["joints"]) == ("train.data.transforms.ClipFlip", "kinect20")


def test_twenty_five_joints_go_the_same_way_and_the_split_is_noted(scored):
    metrics = scored("ks20", frames=14)
    assert metrics["rank1"] > 0.6
    assert metrics["queries"] == 8 * 5 * 2
    assert "reversed" not in metrics
    state, _ = load(Path("models/ks20/stage2.safetensors"))
    assert state["skeleton.eigenvectors"].shape[0] == 25
    features = pq.read_table("data/features/ks20.parquet")
    assert set(features["split_id"].to_pylist()) == {0}
    assert np.isfinite(read_features([Path("data/features/ks20.parquet")]).values["feature"]).all()
