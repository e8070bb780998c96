"""What a dataset calls its cameras is on the page, in the scores and beside the ranked lists."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evaluate.ranked import Album
from pipeline import schema
from shards.read import Shards
from tests.evaluate.report.conftest import PEOPLE, text, write_features
from tests.fake_extraction import write_shards_of
from tests.stages import make

NAMES = {"C1": 0, "C2": 1, "door": 2}


@pytest.fixture
def named(extracted, project):
    """The small dataset, with an index that says what its cameras are called."""
    extracted(PEOPLE)
    file = Path("data/index/fake.parquet")
    table = pq.read_table(file)
    about = {**table.schema.metadata, b"cameras": json.dumps(NAMES).encode()}
    pq.write_table(table.replace_schema_metadata(about), file)
    write_shards_of()
    write_features()
    make("score", "fake")


def test_shards_know_the_names_and_keep_the_numbers(named):
    shards = Shards(Path("data/shards/fake"))
    assert shards.cameras == Album(shards).cameras == {0: "C1", 1: "C2", 2: "door"}
    assert set(shards.tracklets["camid"]) == {0, 1, 2}


def test_scores_and_the_page_show_names(named):
    pairs = json.loads(Path("reports/fake/camera_pairs.json").read_text())
    assert pairs
    for pair in pairs:
        for side in ("query", "gallery"):
            assert NAMES[pair[f"{side}_camera"]] == pair[f"{side}_camid"]
    listed = schema.metadata(pq.read_schema("reports/fake/per_query.parquet"))
    assert json.loads(listed["cameras"]) == NAMES
    make("report", "fake")
    assert "camera C1" in text()
    assert "camera door" in text()
    assert "camera 0" not in text()
    rows = json.loads(Path("reports/fake/cameras.json").read_text())
    assert [row["camera"] for row in rows] == ["camera C1", "camera C2"]


def test_where_there_are_no_names_numbers_are_shown(scored):
    assert Shards(Path("data/shards/fake")).cameras == {}
    make("report", "fake")
    assert "camera 0" in text()
