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
from extract.index import find_parser
from extract.rules import written
from pipeline.errors import PipelineError
from pipeline.params.config import Params, load
from pipeline.schema import INDEX, PER_QUERY, VIEW, check, features, with_metadata
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


def with_score(params: Params, **knobs: object) -> Params:
    return params.model_copy(update={"score": params.score.model_copy(update=knobs)})


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


def test_two_tables_of_one_split_are_refused(tmp_path: Path, params: Params) -> None:
    pq.write_table(table(small_rows()), tmp_path / "a.parquet")
    with pytest.raises(PipelineError, match="stands twice"):
        score_tables(params, [tmp_path / "a.parquet"] * 2, tmp_path / "out")


def test_a_column_of_an_older_name_is_no_split_by_itself(tmp_path: Path, params: Params) -> None:
    older = table(small_rows()).rename_columns({"split_id": "trial"})
    pq.write_table(older, tmp_path / "a.parquet")
    with pytest.raises(PipelineError, match="trial, which is split_id now"):
        score_tables(params, [tmp_path / "a.parquet"], tmp_path / "out")


def test_clothes_are_scored_where_every_tracklet_has_them(score: Callable) -> None:
    rows = small_rows()
    clothes = [camid // 2 for _, _, camid, _ in rows]
    metrics = score(table(rows, clothes=clothes))
    # The matches in camera 2 wear other clothes than the queries in camera 0.
    assert metrics["clothes"]["same"]["queries_scored"] == 4
    assert metrics["clothes"]["changing"]["queries_scored"] == 4
    assert "clothes" not in score(table(rows))


def test_baselines_are_scored_by_the_same_code(
    tmp_path: Path, params: Params, score: Callable
) -> None:
    made = table(small_rows())
    plain = score(made)
    zeros = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(len(made) * 2, np.float32)), 2)
    renamed = made.rename_columns({"feature": "colour"}).append_column("random", zeros)
    pq.write_table(renamed, tmp_path / "b.parquet")
    found = score(made, baselines=tmp_path / "b.parquet")["baselines"]
    assert set(found) == {"colour", "random"}
    assert found["colour"]["mAP"] == pytest.approx(plain["mAP"])
    assert found["random"]["mAP"] < plain["mAP"]


def without(made: pa.Table, column: str, value: object) -> pa.Table:
    """Replace the first value of a column."""
    values = made[column].to_pylist()
    values[0] = value
    field = made.schema.field(column)
    return made.set_column(made.column_names.index(column), field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda t: without(t, "pid", None), "1 tracklets have no pid; each needs exactly one"),
        (lambda t: without(t, "camid", None), "1 tracklets have no camid"),
        (lambda t: without(t, "feature", None), "1 tracklets have no feature"),
        (lambda t: without(t, "feature", [float("nan")] * 8), "feature of g1c1 is NaN"),
        (lambda t: without(t, "tracklet", "g1c2"), "g1c2 stands twice among the gallery"),
        (lambda t: t.drop_columns("camid"), "has no column camid"),
        (
            lambda t: t.filter(pa.compute.equal(t["split"], "gallery")),
            "no tracklets of split query",
        ),
        (lambda t: without(t, "tracklet", "q1"), "1 of 6 queries are also gallery tracklets"),
    ],
)
def test_faulty_tables_are_refused(score: Callable, break_it: Callable, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        score(break_it(table(small_rows())))


def test_the_command_scores_any_table(tmp_path: Path, command: Callable) -> None:
    pq.write_table(table(small_rows()), tmp_path / "f.parquet")
    done = command(
        "evaluate.score", "--features", tmp_path / "f.parquet", "--out", tmp_path / "report"
    )
    assert done.returncode == 0, done.stderr
    assert "re-ranked" in done.stdout
    assert "4 queries scored" in done.stdout
    assert (tmp_path / "report" / "scores.json").exists()


def test_the_command_without_a_table_or_run_says_what_to_name(command: Callable) -> None:
    done = command("evaluate.score")
    assert done.returncode == 1
    assert "--run" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_table_names_the_command_that_makes_it(tmp_path: Path, command: Callable) -> None:
    done = command("evaluate.score", "--features", tmp_path / "x.parquet", "--out", tmp_path)
    assert done.returncode == 1
    assert "python -m evaluate.embed" in done.stderr


def named(made: pa.Table, column: str, values: list) -> pa.Table:
    return made.set_column(made.column_names.index(column), column, pa.array(values))


def test_names_as_ids_are_numbered_and_kept(
    tmp_path: Path, params: Params, score: Callable
) -> None:
    made = table(small_rows())
    plain = score(made)
    pids = made["pid"].to_pylist()
    people = named(made, "pid", [f"P{pid:03}" if pid > 0 else f"{pid}" for pid in pids])
    people = named(people, "camid", [f"cam {camid}" for camid in made["camid"].to_pylist()])
    pq.write_table(people, tmp_path / "named.parquet")
    found = score_tables(params, [tmp_path / "named.parquet"], tmp_path / "named")
    assert found["mAP"] == plain["mAP"]
    about = pq.read_schema(tmp_path / "named/per_query.parquet").metadata
    assert set(json.loads(about[b"pid_names"])) == set(people["pid"].to_pylist())
    assert json.loads(about[b"camid_names"])["cam 0"] == 0


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("camid", lambda one: [40_000] * len(one), "camid 40000 is too large"),
        ("pid", lambda one: [pid + 0.5 for pid in one], r"pid \d+\.5 is no whole number"),
        ("pid", lambda one: [2**40] * len(one), "is too large"),
        ("feature", lambda one: [[]] * len(one), "the lists of feature are empty"),
        ("feature", lambda one: [["x"]] * len(one), "feature is of type"),
        ("split", lambda one: list(range(len(one))), "no tracklets of split query or gallery"),
    ],
)
def test_odd_columns_are_one_line_and_nothing_is_written(
    tmp_path: Path, params: Params, column: str, values: Callable, message: str
) -> None:
    made = table(small_rows())
    odd = named(made, column, values(made[column].to_pylist()))
    pq.write_table(odd, tmp_path / "odd.parquet")
    with pytest.raises(PipelineError, match=f"odd.parquet.*{message}"):
        score_tables(params, [tmp_path / "odd.parquet"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
