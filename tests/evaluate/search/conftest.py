"""A trained run to search with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.stage import Stage, start
from tests.fake_extraction import Extracted, write_shards_of
from tests.models import publish
from tests.stages import make

PEOPLE = [
    (f"{pid:04}C{camera + 1}T0001", pid, camera, "query" if camera == 0 else "gallery", 11)
    for pid in range(1, 5)
    for camera in range(2)
]


@pytest.fixture
def stage(extracted: Callable[..., Extracted]) -> Stage:
    """A dataset whose test tracklets are embedded by an untrained model."""
    extracted(PEOPLE)
    write_shards_of()
    publish()
    make("embed", "fake")
    return start("search", "fake", ["runtime.workers=1"])


def folder_of(tracklet: str) -> Path:
    """Copy a tracklet's frames to a folder of their own."""
    folder = Path("photos") / tracklet
    folder.mkdir(parents=True)
    for file in Path("raw/fake").rglob(f"{tracklet}F*.jpg"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
