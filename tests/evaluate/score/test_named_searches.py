"""Named searches, and tables by how tracklets were seen."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from evaluate.score.features import read_features
from evaluate.score.protocol import Rules, headline, make_search
from evaluate.score.rerank import rerank
from evaluate.score.run import score_tables
from evaluate.score.views import by_view
from extract.rules import BY_CLOTHES, NamedSearch, rules_of, written
from pipeline import schema
from pipeline.distances import distances_of, telling
from pipeline.errors import PipelineError
from pipeline.params.config import load
from pipeline.ranking import Ids, cmc_and_map
from tests.conftest import ROOT

I2V = NamedSearch(query={"spectrum": "infrared"}, gallery={"spectrum": "visible"})
V2I = NamedSearch("v2i", query={"spectrum": "visible"}, gallery={"spectrum": "infrared"})
PARTS = {"kind": "parts", "parts": 3}


@pytest.fixture
def known(golden_dir: Path) -> dict[str, np.ndarray]:
    return load_file(golden_dir / "cross_modality_retrieval.safetensors")


@pytest.fixture
def table(known: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """The golden tracklets as a table of features: each is a query and a gallery tracklet."""
    parts = known["in.parts"].transpose(0, 2, 1)
    flat = np.ascontiguousarray(parts.reshape(len(parts), -1))
    spectra = np.array(schema.SPECTRA, object)[known["in.modality"]]
    # Person 0 would be a distractor.
    columns = {
        "tracklet": [f"{i:03}" for i in range(len(flat))],
        "pid": pa.array(known["in.pid"] + 1, pa.int32()),
        "camid": pa.array(known["in.camid"], pa.int16()),
        "split": ["query"] * len(flat),
        "spectrum": spectra.tolist(),
        "distance_m": pa.array(np.arange(len(flat)) % 50, pa.float32()),
    }
    made = pa.table(columns)
    values = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])
    made = made.append_column(telling(pa.field("feature", values.type), PARTS), values)
    gallery = made.set_column(3, "split", pa.array(["gallery"] * len(made)))
    file = tmp_path / "f.parquet"
    pq.write_table(pa.concat_tables([made, gallery]), file)
    return file


def index_of(
    folder: Path, same_camera_counts: bool, searches: tuple[NamedSearch, ...] = (I2V, V2I)
) -> Path:
    rules = {
        "gallery_includes_queries": True,
        "same_camera_counts": same_camera_counts,
        "searches": searches,
    }
    file = folder / "cross.parquet"
    about = schema.with_metadata(schema.INDEX, dataset="cross", rules=written(rules))
    pq.write_table(pa.Table.from_pylist([], about), file)
    assert rules_of(file, "redo") == rules
    return file


@pytest.mark.golden
@pytest.mark.parametrize("rule", ["camera_left_out", "all_ranked"])
def test_both_directions_give_the_golden_numbers(known, table, tmp_path, rule):
    index = index_of(tmp_path, rule == "all_ranked")
    params = load(["score.bootstrap.samples=10"], path=ROOT / "params.yaml")
    found = score_tables(params, [table], tmp_path / "out", index)
    assert "queries infrared alone, gallery visible alone" in found["protocol"]
    for direction, scores in (("i2v", found), ("v2i", found["v2i"])):
        names, place = ("mAP", "cmc", "valid"), f"out.{direction}.{rule}"
        expected = {name: known[f"{place}.{name}"] for name in names}
        assert scores["queries_scored"] == expected["valid"][0]
        assert scores["mAP"] == pytest.approx(expected["mAP"][0], abs=1e-6)
        for k in (1, 5, 10, 20):
            assert scores[f"rank{k}"] == pytest.approx(expected["cmc"][k - 1], abs=1e-6)
    written_down = json.loads((tmp_path / "out/scores.json").read_text())
    assert written_down["v2i"]["mAP"] == pytest.approx(found["v2i"]["mAP"], abs=1e-6)
    assert set(found["reranked"]) >= {"mAP", "rank1"}


@pytest.mark.golden
def test_distances_of_parts_are_the_golden_ones(known, table):
    (_, features), *_ = read_features([table], ["feature"]).splits()
    search = headline(make_search(features, Rules(True, False, searches=(I2V, V2I))))
    np.testing.assert_allclose(search.distances("feature")[:], known["out.i2v.distance"], rtol=1e-5)


def test_tables_by_view_are_made_of_parts_of_the_search(table, tmp_path):
    (_, features), *_ = read_features([table], ["feature"]).splits()
    search = make_search(features, Rules(True, True))
    dist = search.distances("feature")
    plain = search.score(dist, 20)
    rows = by_view(dist, search, plain)
    spectra = {(r["query"], r["gallery"]): r for r in rows if r["column"] == "spectrum"}
    assert len(spectra) == 4
    crossed = search.named(I2V)
    scores = crossed.score(crossed.distances("feature"), 20)
    assert spectra["infrared", "visible"]["mAP"] == pytest.approx(scores.mean_ap)
    bins = [r for r in rows if r["column"] == "distance_m"]
    assert [r["query"] for r in bins] == ["0-10", "10-20", "20-40", "40-80"]
    counts = np.array([r["queries_scored"] for r in bins])
    assert counts.sum() == plain.scored.sum()
    means = np.array([r["mAP"] for r in bins])
    assert (means * counts).sum() / counts.sum() == pytest.approx(plain.mean_ap)
    assert not [r for r in rows if r["column"] in ("platform", "altitude_m")]


def test_both_spectra_are_searched_for_each_other_and_averaged(known, table, tmp_path):
    params = load(["score.bootstrap.samples=10"], path=ROOT / "params.yaml")
    index = index_of(tmp_path, False, BY_CLOTHES)
    found = score_tables(params, [table], tmp_path / "out", index)["spectrum"]
    for name, place in (("I2V", "i2v"), ("V2I", "v2i")):
        expected = known[f"out.{place}.camera_left_out.mAP"][0]
        assert found[name]["mAP"] == pytest.approx(expected, abs=1e-6)
    for name in ("mAP", "rank1", "mINP"):
        assert found["mean"][name] == pytest.approx((found["I2V"][name] + found["V2I"][name]) / 2)
    counted = [found[name]["queries_scored"] for name in ("I2V", "V2I", "mean")]
    assert counted[2] == counted[0] + counted[1]


def test_a_protocol_that_says_what_is_searched_for_is_left_alone(table, tmp_path):
    params = load(["score.bootstrap.samples=10"], path=ROOT / "params.yaml")
    own = score_tables(params, [table], tmp_path / "own", index_of(tmp_path, False))
    assert "spectrum" not in own
    # Of one light alone there is nothing to search across.
    visible = pq.read_table(table)
    visible = visible.set_column(
        visible.column_names.index("spectrum"), "spectrum", pa.array(["visible"] * len(visible))
    )
    pq.write_table(visible, table)
    index = index_of(tmp_path, False, BY_CLOTHES)
    assert "spectrum" not in score_tables(params, [table], tmp_path / "one", index)


def test_a_filter_by_what_the_table_does_not_hold_is_one_line(table):
    (_, features), *_ = read_features([table], ["feature"]).splits()
    search = make_search(features, Rules(True))
    with pytest.raises(PipelineError, match=r"search a2g asks for platform aerial.* no column"):
        search.named(NamedSearch("a2g", query={"platform": "aerial"}))
    with pytest.raises(PipelineError, match="asks for spectrum thermal, and no tracklet is such"):
        search.named(NamedSearch("x", gallery={"spectrum": "thermal"}))


def test_an_index_that_knew_no_searches_is_read(tmp_path):
    file = tmp_path / "old.parquet"
    for is_both, names in ((True, ["clothes.same", "clothes.changing", "reversed"]), (False, 2)):
        own = {"gallery_includes_queries": False, "same_camera_counts": True, "both_ways": is_both}
        rules = json.dumps(own)
        pq.write_table(
            pa.Table.from_pylist([], schema.with_metadata(schema.INDEX, rules=rules)), file
        )
        found = [one.name for one in rules_of(file, "redo")["searches"]]
        assert found == names if is_both else len(found) == names


def test_reranking_takes_any_distances():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 12))
    pid = np.repeat(np.arange(1, 7), 6)
    values = (centres[pid - 1] + 0.9 * rng.normal(size=(36, 12))).astype(np.float32)
    query, gallery = values[::3], np.delete(values, np.arange(0, 36, 3), 0)
    ids = (Ids(pid[::3], np.zeros(12)), Ids(np.delete(pid, np.arange(0, 36, 3)), np.ones(24)))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query, gallery)]
    # One part by its cosine is half the squared distance of unit vectors: the same neighbours.
    one_part = {"kind": "parts", "parts": 1, "metric": "cosine"}
    plain = rerank(*unit, k1=6, k2=3, lambda_=0.0)
    as_part = rerank(*unit, k1=6, k2=3, lambda_=0.0, comparison=one_part)
    np.testing.assert_allclose(as_part, plain, atol=1e-4)
    parts = {"kind": "parts", "parts": 3}
    before = cmc_and_map(distances_of(parts, query, gallery), *ids).mean_ap
    after = cmc_and_map(rerank(query, gallery, 6, 3, comparison=parts), *ids).mean_ap
    assert after > before
