"""A small table of features, and how to score it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluate.score.run import score_tables
from extract.index import find_parser
from extract.rules import written
from pipeline.params.config import Params, load
from pipeline.schema import INDEX, VIEW, features, with_metadata
from tests.conftest import ROOT


def table(rows: list[tuple], channels: int = 8, seed: int = 0, **columns: list) -> pa.Table:
    """Make a feature table of (tracklet, pid, camid, split) rows; one centre per person."""
    rng = np.random.default_rng(seed)
    names, pids, camids, splits = zip(*rows, strict=True)
    centres = rng.standard_normal((max(pids) + 2, channels))
    values = centres[list(pids)] + 0.7 * rng.standard_normal((len(rows), channels))
    columns = {name: [None] * len(rows) for name in (*VIEW, "split_id")} | columns
    flat = pa.array(values.astype(np.float32).ravel())
    made = {
        "tracklet": names,
        "pid": pids,
        "camid": camids,
        "split": splits,
        **columns,
        "feature": pa.FixedSizeListArray.from_arrays(flat, channels),
    }
    return pa.table(made).cast(features(channels))


def small_rows() -> list[tuple]:
    """Four persons in three cameras, one query each; person 5 is seen by queries alone."""
    rows = [(f"g{p}c{c}", p, c, "gallery") for p in (1, 2, 3, 4) for c in (1, 2)]
    rows += [(f"q{p}", p, 0, "query") for p in (1, 2, 3, 4)]
    rows += [("q5c0", 5, 0, "query"), ("q5c1", 5, 1, "query")]
    return [*rows, ("d1", 0, 1, "gallery"), ("j1", -1, 1, "gallery")]


@pytest.fixture
def params() -> Params:
    return load(path=ROOT / "params.yaml")


def index_of(folder: Path, name: str) -> Path:
    """Write an empty index of a dataset in a format."""
    rules = written(find_parser(name).FACTS.rules)
    file = folder / f"{name}.parquet"
    pq.write_table(INDEX.empty_table().cast(with_metadata(INDEX, rules=rules)), file)
    return file


@pytest.fixture
def score(tmp_path: Path, params: Params) -> Callable[..., dict]:
    """Score a table, by the common rules unless a dataset is named."""

    def call(made: pa.Table, params: Params = params, index: Path | None = None, **more) -> dict:
        pq.write_table(made, tmp_path / "f.parquet")
        return score_tables(params, [tmp_path / "f.parquet"], tmp_path / "report", index, **more)

    return call
