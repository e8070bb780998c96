"""What a gate looks at, against scikit-learn and by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from evaluate.score.features import read_features
from evaluate.score.gates import gate
from evaluate.score.protocol import Rules, headline, make_search
from evaluate.score.run import score_tables
from pipeline.distances import telling
from pipeline.params.config import load
from tests.conftest import ROOT

EXPERTS, DIM, WIDTH, TRACKLETS = 2, 4, 3, 24


def comparison(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "kind": "gated",
        "experts": EXPERTS,
        "own": rng.normal(size=(EXPERTS, WIDTH)).tolist(),
        "pair": rng.normal(size=(EXPERTS, WIDTH, WIDTH)).tolist(),
        "likeness": [3.0, 0.0],
        "names": ["looks", "gait"],
    }


def written(folder: Path, how: dict, clothes: list[int | None]) -> Path:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(TRACKLETS, EXPERTS * DIM + WIDTH)).astype(np.float32)
    # The first expert sees clothes alone.
    outfits = rng.normal(size=(9, DIM))
    values[:, :DIM] = [outfits[one or 0] for one in clothes] + 0.1 * values[:, :DIM]
    table = pa.table(
        {
            "tracklet": [f"{i:02}" for i in range(TRACKLETS)],
            "pid": pa.array(1 + np.arange(TRACKLETS) % 4, pa.int32()),
            "camid": pa.array(np.arange(TRACKLETS) % 3, pa.int16()),
            "split": ["query" if i < 8 else "gallery" for i in range(TRACKLETS)],
            "clothes": pa.array(clothes, pa.int16()),
        }
    )
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    file = folder / "f.parquet"
    pq.write_table(
        table.append_column(telling(pa.field("feature", column.type), how), column), file
    )
    return file


def outfits_of() -> list[int]:
    """Two outfits each."""
    return [int(2 * (i % 4) + i // 4 % 2) for i in range(TRACKLETS)]


def test_shares_and_what_tells_clothes_apart(tmp_path):
    file = written(tmp_path, comparison(), outfits_of())
    (_, features), *_ = read_features([file], ["feature"]).splits()
    search = headline(make_search(features, Rules(True)))
    found = gate(search)
    assert found.keys() == {"looks", "gait"}
    assert sum(one["share"] for one in found.values()) == pytest.approx(1)
    weights = search.distances("feature").weights(slice(None))
    query, gallery = search.query.ids, search.gallery.ids
    is_pair = (query.pid[:, None] == gallery.pid) & (query.tracklet[:, None] != gallery.tracklet)
    is_same = query.clothes[:, None] == gallery.clothes
    for e, name in enumerate(found):
        assert found[name]["share"] == pytest.approx(weights[e].mean())
        expected = roc_auc_score(is_same[is_pair], weights[e][is_pair])
        assert found[name]["same_clothes_auc"] == pytest.approx(expected)
    # One that trusts its eyes where they agree looks at clothes; of two, the other does not.
    both = [one["same_clothes_auc"] for one in found.values()]
    assert sum(both) == pytest.approx(1)


def test_equal_weights_say_nothing_about_clothes(tmp_path):
    how = comparison() | {"own": np.zeros((2, 3)).tolist(), "pair": np.zeros((2, 3, 3)).tolist()}
    file = written(tmp_path, how | {"likeness": [0.0, 0.0]}, outfits_of())
    (_, features), *_ = read_features([file], ["feature"]).splits()
    found = gate(headline(make_search(features, Rules(True))))
    assert found == {
        name: {"share": pytest.approx(0.5), "same_clothes_auc": 0.5} for name in ("looks", "gait")
    }


def test_clothes_that_nobody_knows_are_left_out_and_a_cosine_has_no_gate(tmp_path):
    file = written(tmp_path, comparison(), [None] * TRACKLETS)
    (_, features), *_ = read_features([file], ["feature"]).splits()
    found = gate(headline(make_search(features, Rules(True))))
    assert all(one.keys() == {"share"} for one in found.values())
    file = written(tmp_path, {"kind": "cosine"}, [None] * TRACKLETS)
    (_, features), *_ = read_features([file], ["feature"]).splits()
    assert gate(headline(make_search(features, Rules(True)))) is None


def test_scores_hold_it(tmp_path):
    params = load(["score.bootstrap.samples=10"], path=ROOT / "params.yaml")
    file = written(tmp_path, comparison(), outfits_of())
    found = score_tables(params, [file], tmp_path / "out")
    assert found["gate"]["looks"]["same_clothes_auc"] > 0.5
