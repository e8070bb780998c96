"""The scoring command and its protocols, from feature tables to reports."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluate.score.run import find_rules, score_tables
from pipeline.errors import PipelineError
from pipeline.params.config import Params
from pipeline.schema import PER_QUERY, check
from tests.evaluate.score.conftest import index_of, small_rows, table


def with_score(params: Params, **knobs: object) -> Params:
    return params.model_copy(update={"score": params.score.model_copy(update=knobs)})


def test_the_two_gallery_rules_score_different_numbers_of_queries(
    params: Params, score: Callable
) -> None:
    made = table(small_rows())
    without = score(made, with_score(params, gallery_includes_queries=False))
    with_queries = score(made, with_score(params, gallery_includes_queries=True))
    assert (without["queries_scored"], without["gallery"]) == (4, 9)
    assert (with_queries["queries_scored"], with_queries["gallery"]) == (6, 15)
    assert without["queries"] == with_queries["queries"] == 6
    assert "queries not in the gallery" in without["protocol"]
    assert "queries in the gallery" in with_queries["protocol"]


def test_a_table_that_lists_queries_in_the_gallery_too_means_the_same(
    params: Params, score: Callable
) -> None:
    rows = small_rows()
    again = [(name, pid, camid, "gallery") for name, pid, camid, split in rows if split == "query"]
    plain = table(rows)
    # The copies carry the features of their originals.
    originals = [i for i, row in enumerate(rows) if row[3] == "query"]
    copies = plain.take(originals).set_column(3, "split", pa.array(["gallery"] * len(again)))
    both = pa.concat_tables([plain, copies])
    for rule in (True, False):
        knobs = with_score(params, gallery_includes_queries=rule)
        left, right = score(plain, knobs), score(both, knobs)
        assert left["mAP"] == pytest.approx(right["mAP"], abs=1e-9)
        assert left["gallery"] == right["gallery"]


@pytest.mark.parametrize("lists_queries", [True, False])
@pytest.mark.parametrize("by_distances", [True, False])
def test_random_features_find_nobody_where_the_own_camera_is_ranked(
    tmp_path: Path, params: Params, score: Callable, lists_queries: bool, by_distances: bool
) -> None:
    """A query that stands in the gallery, by the rule or in the table, never finds itself."""
    queries = [(f"p{p}t0", p, 0, "query") for p in range(1, 41)]
    gallery = [(f"p{p}t{t}", p, 0, "gallery") for p in range(1, 41) for t in range(4)]
    if not lists_queries:
        gallery = [row for row in gallery if not row[0].endswith("t0")]
    noise = {
        f"p{p}t{t}": np.random.default_rng((p, t)).random(8) - 0.5
        for _, p, _, _ in queries
        for t in range(4)
    }
    made = table(queries + gallery)
    flat = np.concatenate([noise[name] for name in made["tracklet"].to_pylist()])
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float32)), 8)
    made = made.set_column(made.column_names.index("feature"), "feature", column)
    options = {}
    if by_distances:
        ranked = gallery if lists_queries else queries + gallery
        ours, theirs = (np.stack([noise[row[0]] for row in rows]) for rows in (queries, ranked))
        np.save(tmp_path / "d.npy", np.linalg.norm(ours[:, None] - theirs, axis=2))
        options = {"distances": tmp_path / "d.npy"}
    knobs = with_score(params, gallery_includes_queries=True)
    metrics = score(made, knobs, index_of(tmp_path, "vreid_xfd"), **options)
    assert (metrics["queries_scored"], metrics["gallery"]) == (40, 160)
    assert metrics["rank1"] < 0.15
    assert by_distances or metrics["reranked"]["rank1"] < 0.15
    assert metrics["verification"]["genuine_pairs"] == 40 * 3
    assert metrics["verification"]["EER"] > 0.3
    for row in pq.read_table(tmp_path / "report/per_query.parquet").to_pylist():
        own = row["gallery"].index(row["tracklet"])
        assert (row["is_junk"][own], row["is_match"][own]) == (True, False)


def test_the_order_of_the_table_changes_no_file(
    tmp_path: Path, params: Params, score: Callable
) -> None:
    rows = small_rows()
    made = table(rows, channels=3)
    knobs, found = with_score(params, gallery_includes_queries=True), []
    for order in (np.arange(len(rows)), np.random.default_rng(0).permutation(len(rows))):
        score(made.take(order), knobs)
        files = sorted((tmp_path / "report").glob("*.json"))
        lists = pq.read_table(tmp_path / "report/per_query.parquet").sort_by("tracklet")
        found.append([[file.read_text() for file in files], lists])
    assert found[0] == found[1]


def test_one_name_of_two_tracklets_is_refused(score: Callable) -> None:
    rows = [("a", 1, 0, "query"), ("a", 2, 1, "gallery"), ("b", 1, 1, "gallery")]
    with pytest.raises(PipelineError, match="a is a query of person 1 in camera 0, and a gallery"):
        score(table(rows))


def test_mars_at_full_size_scores_1980_or_1840_queries(
    real_data: Path, tmp_path: Path, params: Params, score: Callable
) -> None:
    rows = []
    with (real_data / "mars_info" / "mars_tracklets.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if line["split"] == "test":
                split = "query" if line["role"] == "query" else "gallery"
                name = line["prefix"].rpartition("/")[2]
                rows.append((name, int(line["pid"]), int(line["camid"]) - 1, split))
    made = table(rows)
    knobs = params.score.rerank.model_copy(update={"enabled": False})
    mars, index = with_score(params, rerank=knobs), index_of(tmp_path, "mars")
    official = score(made, mars, index)
    assert (official["queries_scored"], official["gallery"]) == (1980, 11310)
    assert official["gallery_includes_queries"] is True
    assert official["protocol"].startswith("official rules: queries in the gallery")
    common = score(made, with_score(mars, gallery_includes_queries=False), index)
    assert (common["queries_scored"], common["gallery"]) == (1840, 9330)
    assert "chosen rules" in common["protocol"]


@pytest.mark.parametrize(
    ("name", "queries", "own_camera"),
    [("mars", True, False), ("ls_vid", False, False), ("vreid_xfd", False, True)],
)
def test_official_rules_come_with_the_index(
    tmp_path: Path, params: Params, name: str, queries: bool, own_camera: bool
) -> None:
    rules = find_rules(params, index_of(tmp_path, name))
    assert (rules.gallery_includes_queries, rules.same_camera_counts) == (queries, own_camera)
    assert rules.is_official


def test_reports_hold_what_their_readers_need(tmp_path: Path, score: Callable) -> None:
    metrics = score(table(small_rows()))
    assert json.loads((tmp_path / "report/scores.json").read_text())["mAP"] == pytest.approx(
        metrics["mAP"], abs=1e-6
    )
    cmc = json.loads((tmp_path / "report/cmc.json").read_text())
    assert [record["rank"] for record in cmc] == list(range(1, 51))
    assert cmc[0]["cmc"] == pytest.approx(metrics["rank1"], abs=1e-6)
    assert cmc[4]["reranked"] == pytest.approx(metrics["reranked"]["rank5"], abs=1e-6)
    roc = json.loads((tmp_path / "report/roc.json").read_text())
    assert {record["fpr"]: record["tpr"] for record in roc}[0.1] == pytest.approx(
        metrics["verification"]["TPR_at_FPR_1e-1"], abs=1e-6
    )
    assert "TPR_at_FPR_1e-3" not in metrics["verification"]
    pairs = json.loads((tmp_path / "report/camera_pairs.json").read_text())
    assert {(pair["query_camid"], pair["gallery_camid"]) for pair in pairs} == {(0, 1), (0, 2)}
    path = tmp_path / "report/per_query.parquet"
    check(path, PER_QUERY, "")
    rows = {row["tracklet"]: row for row in pq.read_table(path).to_pylist()}
    assert rows["q5c0"]["ap"] is None
    first = rows["q1"]
    matched = [i for i, flag in enumerate(first["is_match"]) if flag]
    assert {first["gallery"][i] for i in matched} == {"g1c1", "g1c2"}
    ranked = [
        flag for flag, junk in zip(first["is_match"], first["is_junk"], strict=True) if not junk
    ]
    assert first["first_rank"] == ranked.index(True) + 1
    assert first["distance"] == sorted(first["distance"])


def test_distances_made_elsewhere_are_ranked_as_they_stand(tmp_path: Path, score: Callable) -> None:
    rows = small_rows()
    made = table(rows)
    query = [row for row in rows if row[3] == "query"]
    gallery = [row for row in rows if row[3] == "gallery"]
    perfect = np.array([[float(g[1] != q[1]) for g in gallery] for q in query])
    np.save(tmp_path / "d.npy", perfect)
    metrics = score(made, distances=tmp_path / "d.npy")
    assert metrics["mAP"] == 1
    assert "reranked" not in metrics


def test_distances_of_another_shape_are_refused(tmp_path: Path, score: Callable) -> None:
    np.save(tmp_path / "d.npy", np.zeros((2, 2)))
    with pytest.raises(PipelineError, match=r"6 queries and 10 gallery"):
        score(table(small_rows()), distances=tmp_path / "d.npy")
    (tmp_path / "d.npy").write_text("0 1 2")
    with pytest.raises(PipelineError, match=r"not a readable \.npy"):
        score(table(small_rows()), distances=tmp_path / "d.npy")


def test_ten_splits_give_mean_and_deviation(
    tmp_path: Path, params: Params, score: Callable
) -> None:
    rows = small_rows()
    alone = [table(rows, seed=seed, split_id=[seed] * len(rows)) for seed in range(3)]
    single = [score(made) for made in alone]
    files = []
    for seed, made in enumerate(alone):
        files.append(tmp_path / f"{seed}.parquet")
        pq.write_table(made, files[-1])
    together = score_tables(params, files, tmp_path / "all")
    one_table = score(pa.concat_tables(alone))
    values = [metrics["mAP"] for metrics in single]
    assert together["splits"] == 3
    assert together["mAP"] == pytest.approx(np.mean(values))
    assert together["std"]["mAP"] == pytest.approx(np.std(values, ddof=1))
    assert together["reranked"]["rank1"] == pytest.approx(
        np.mean([metrics["reranked"]["rank1"] for metrics in single])
    )
    rates = [metrics["verification"]["EER"] for metrics in single]
    assert together["verification"]["EER"] == pytest.approx(np.mean(rates))
    assert together["std"]["verification"]["EER"] == pytest.approx(np.std(rates, ddof=1))
    assert "interval95" not in together["verification"]
    roc = json.loads((tmp_path / "all/roc.json").read_text())
    assert {record["fpr"]: record["tpr"] for record in roc}[0.1] == pytest.approx(
        together["verification"]["TPR_at_FPR_1e-1"], abs=1e-6
    )
    assert together["queries"] == 6
    assert together["protocol"].endswith("mean of 3 splits")
    assert one_table["mAP"] == together["mAP"]
