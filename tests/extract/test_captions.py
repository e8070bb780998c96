"""Sentences about tracklets: from every form they come in to the table that training reads."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from extract.walkers.captions import write_captions
from extract.walkers.plan import tracklets
from pipeline import paths, schema
from pipeline.errors import PipelineError
from pipeline.params.config import load
from tests.conftest import ROOT
from tests.stages import make
from tests.train.tiny import rows, write_project

NAMES = ["0001C1T0001", "0001C2T0001", "0002C1T0001", "0002C2T0001"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_project(tmp_path, rows({"train": [1, 2]}))
    (folder / "data/raw/tiny").mkdir(parents=True)
    return folder


def put(folder, *lines: dict | str) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "data/raw/tiny/captions.jsonl").write_text("\n".join(texts) + "\n")


def found() -> list[dict]:
    make("captions", "tiny")
    file = paths.captions_file("tiny")
    schema.check(file, schema.CAPTIONS, "again")
    return pq.read_table(file).to_pylist()


def test_a_dataset_without_captions_has_an_empty_table(project):
    assert found() == []


def test_lines_stand_in_the_order_of_the_index_whoever_wrote_them(project):
    put(
        project,
        {"tracklet": NAMES[2], "text": "a red coat"},
        {"tracklet": "0009C1T0001", "text": "somebody else"},
        "",
        {"tracklet": NAMES[0], "text": " a cap ", "source": "a model", "embedding": [0.5, -1]},
        {"tracklet": NAMES[2], "text": "second", "source": "ann"},
    )
    assert found() == [
        {"tracklet": NAMES[0], "source": "a model", "text": "a cap", "embedding": [0.5, -1.0]},
        {"tracklet": NAMES[2], "source": "captions", "text": "a red coat", "embedding": None},
        {"tracklet": NAMES[2], "source": "ann", "text": "second", "embedding": None},
    ]


def test_a_parquet_file_says_the_same(project):
    lines = [{"tracklet": NAMES[1], "text": "a hat", "embedding": [1.0, 2.0]}]
    put(project, *lines)
    from_lines = found()
    (project / "data/raw/tiny/captions.jsonl").unlink()
    pq.write_table(pa.Table.from_pylist(lines), project / "data/raw/tiny/captions.parquet")
    assert found() == from_lines


def test_a_table_of_frames_may_say_it_of_the_first_frame(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_project(tmp_path, rows({"train": [1, 2]}))
    file = folder / "data/index/tiny.parquet"
    table = pq.read_table(file)
    frames = pa.array([[f"{name}/1.jpg", f"{name}/2.jpg"] for name in NAMES])
    at = table.column_names.index("frames")
    table = table.set_column(at, table.schema.field("frames"), frames)
    numbers = pa.array([[1, 2]] * 4, table.schema.field("frame_numbers").type)
    table = table.set_column(at + 1, table.schema.field("frame_numbers"), numbers)
    pq.write_table(table, file)
    (folder / "data/raw/tiny").mkdir(parents=True)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["datasets"]["tiny"]["format"] = "folder"
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    csv = [f"path,caption,split,pid,camid,tracklet\n{NAMES[3]}/1.jpg,a bag,train,2,1,x"]
    csv += [f"{NAMES[3]}/2.jpg,not this,train,2,1,x", f"{NAMES[0]}/1.jpg,,train,1,0,y"]
    (folder / "data/raw/tiny/frames.csv").write_text("\n".join(csv) + "\n")
    assert [(row["tracklet"], row["text"]) for row in found()] == [(NAMES[3], "a bag")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: this is no JSON"),
        ("[1]", "line 2: this is no object"),
        ({"tracklet": NAMES[0]}, "line 2 has no text"),
        ({"text": "a hat"}, "line 2 has no tracklet"),
        ({"tracklet": NAMES[0], "text": "a", "embedding": [1, "b"]}, "no list of numbers"),
        ({"tracklet": NAMES[0], "text": "a", "embedding": [1.0]}, "those before have 2"),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_written(project, line, said):
    put(project, {"tracklet": NAMES[0], "text": "a", "embedding": [1.0, 2.0]}, line)
    with pytest.raises(PipelineError, match=said):
        found()
    assert not paths.captions_file("tiny").exists()


def test_captions_of_another_dataset_are_an_error(project):
    put(project, {"tracklet": "street", "text": "a hat"})
    with pytest.raises(PipelineError, match="none of which is a tracklet of tiny"):
        found()


def test_new_captions_are_read_and_old_ones_not_twice(project):
    put(project, {"tracklet": NAMES[0], "text": "a hat"})
    found()
    before = paths.captions_file("tiny").stat().st_mtime_ns
    found()
    assert paths.captions_file("tiny").stat().st_mtime_ns == before
    put(project, {"tracklet": NAMES[0], "text": "a cap"})
    assert found()[0]["text"] == "a cap"


def test_walkers_write_what_is_read_here(project):
    overrides = ("walkers.identities_train=2", "walkers.identities_test=2", "walkers.captions=true")
    knobs = load(overrides, path=ROOT / "params.yaml").walkers
    planned = tracklets(knobs)
    write_captions(project / "data/raw/tiny/captions.jsonl", planned, knobs)
    said = found()
    own = [one.name for one in planned if one.name in NAMES]
    assert own
    assert [row["tracklet"] for row in said] == sorted(own)
    assert all("shoes" in row["text"] for row in said)
