"""A small dataset in shards, to train and to test with."""

import pytest

from tests.train.tiny import rows, write_shards
from train.data.clips import ClipDataset, TestDataset


@pytest.fixture
def made() -> list[dict]:
    return rows({"train": [7, 3, 30], "query": [4, 9], "gallery": [4, 9]})


@pytest.fixture
def folder(tmp_path, monkeypatch, made):
    """Write `made` on call, after a test has spoilt some of it."""
    monkeypatch.chdir(tmp_path)
    return lambda: str(write_shards(tmp_path / "data/shards/tiny", made))


def train_set(root: str, **options) -> ClipDataset:
    return ClipDataset(root, clip_frames=4, frame_size=(64, 32), **options)


def embedded_set(root: str, **options) -> TestDataset:
    return TestDataset(root, ["query", "gallery"], clip_frames=4, frame_size=(64, 32), **options)
