"""A small dataset with its scores."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import schema
from tests.fake_extraction import Extracted, write_shards_of
from tests.stages import make

# Even persons are asked for in camera 0, odd ones in camera 1.
PEOPLE = [
    (f"{pid:04}C{camera + 1}T0001", pid, camera, "gallery" if camera != pid % 2 else "query", 4)
    for pid in range(1, 7)
    for camera in range(3)
]


def write_features() -> None:
    index = pq.read_table("data/index/fake.parquet").to_pandas()
    rng = np.random.default_rng(0)
    person = {pid: rng.normal(size=16) for pid in index["pid"].unique()}
    values = np.stack([person[pid] + 0.5 * rng.normal(size=16) for pid in index["pid"]])
    columns = {name: index[name].tolist() for name in ("tracklet", "pid", "camid", "split")}
    columns |= {name: [None] * len(index) for name in (*schema.VIEW, "split_id")}
    columns["feature"] = values.astype(np.float32).tolist()
    table = pa.table(columns, schema.with_metadata(schema.features(16)))
    Path("data/features").mkdir()
    pq.write_table(table, "data/features/fake.parquet")
    baseline = table.drop_columns("feature")
    noise = rng.normal(size=(len(index), 4)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(noise.ravel(), 4)
    pq.write_table(baseline.append_column("random", column), "data/features/fake_baselines.parquet")


@pytest.fixture
def scored(extracted: Callable[..., Extracted], project: Path) -> None:
    extracted(PEOPLE)
    write_shards_of()
    write_features()
    make("score", "fake")


def start_from(name: str) -> None:
    """Let the run start from a first stage."""
    file = Path("params.yaml")
    knobs = yaml.safe_load(file.read_text())
    start = "conf/encoder/conv_stem.yaml"
    line = {"train": "fake", "recipe": "params.yaml", "encoder": "conv_stem", "start": start}
    knobs["pretraining"] |= dict.fromkeys((name, "fake"), line)
    knobs["runs"]["fake"]["start"] = f"models/{name}/stage1.safetensors"
    file.write_text(yaml.safe_dump(knobs))


def text() -> str:
    return Path("reports/fake/report.html").read_text()
