"""Small trees in the layouts of public datasets, and the run that indexes them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from extract.index import build_index
from pipeline.cli import Stage
from pipeline.params import load
from pipeline.schema import INDEX, check

ROOT = Path(__file__).parents[2]


@pytest.fixture
def put() -> Callable[[Path, Iterable[str]], None]:
    """Make empty files, with the folders above them."""

    def call(root: Path, names: Iterable[str]) -> None:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return call


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., dict]:
    """Index a tree in a format; returns the rows by tracklet name, and the metadata."""

    def call(root: Path, format_: str, counts: str = "none", trial: int = 0, **options) -> dict:
        case = options.pop("case", None)
        params = load((), "walkers", ROOT / "params.yaml")
        dataset = params.datasets["walkers"].model_copy(
            update={"format": format_, "counts": counts, "case": case}
        )
        params = params.model_copy(
            update={
                "datasets": {"toy": dataset},
                "index": params.index.model_copy(update={"trial": trial}),
            }
        )
        stage = Stage("index", "toy", params, options.pop("limit", 0), dry_run=False, trial=False)
        out = tmp_path / "toy.parquet"
        out.unlink(missing_ok=True)
        counted, missing = build_index(stage, root, out, **options)
        schema = check(out, INDEX, "")
        rows = pq.read_table(out).to_pylist()
        metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
        metadata |= {
            key.decode(): value.decode()
            for key, value in pq.read_metadata(out).metadata.items()
            if key != b"ARROW:schema"
        }
        return {
            "rows": {row["tracklet"]: row for row in rows},
            "counts": counted,
            "missing": missing,
            "metadata": metadata,
            "order": [(row["split"], row["pid"], row["tracklet"]) for row in rows],
        }

    return call
