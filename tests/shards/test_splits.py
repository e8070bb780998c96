"""Hugging Face's `load_dataset` opens a folder of shards as it is, with all splits."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from shards.splits import SPLITS
from tests.fake_extraction import write_shards_of
from tests.fake_kinect import MAKERS
from tests.stages import make

PEOPLE = [
    (f"{pid:04}C{camera + 1}T0001", pid, camera, split, 3)
    for split, pids in (("train", (1, 2)), ("query", (3,)), ("gallery", (3, 4)))
    for pid in pids
    for camera in (range(2) if split == "train" else [int(split == "gallery")])
]
FOLDER = Path("data/shards/fake")


@pytest.fixture
def shards(extracted):
    extracted(PEOPLE)
    write_shards_of(shard_mb=1)
    return FOLDER


def test_every_split_and_every_row_is_loaded(shards, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = datasets.load_dataset(str(shards), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "query", "gallery"}
    for split in found:
        table = pq.read_table(next(shards.glob(f"{split}-*.parquet")))
        assert len(found[split]) == len(table)
        assert set(found[split]["split"]) == {split}
        assert found[split]["tracklet"] == table["tracklet"].to_pylist()
        assert found[split][0]["jpeg"] == table["jpeg"][0].as_py()
        assert found[split][0]["xyz"] == pytest.approx(table["xyz"][0].as_py())


def test_the_file_names_the_splits_that_are_there(shards):
    """The layout that the package documents, whether it is installed or not."""
    (config,) = yaml.safe_load((shards / SPLITS).read_text())["configs"]
    named = {one["split"]: list(shards.glob(one["path"])) for one in config["data_files"]}
    assert set(named) == {"train", "query", "gallery"}
    assert sorted(file for own in named.values() for file in own) == sorted(
        shards.glob("*.parquet")
    )


def test_shards_of_skeletons_alone_have_one_too(tmp_path, monkeypatch):
    from tests.conftest import ROOT

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["kinect"] = {"biwi": {"format": "biwi", "source": "x", "counts": "none"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    MAKERS["biwi"](tmp_path / "data/raw/biwi", frames=50)
    monkeypatch.chdir(tmp_path)
    make("kinect", "biwi")
    assert "split: gallery" in Path("data/shards/biwi", SPLITS).read_text()
