"""Tables of features from elsewhere: clothes, names, faults, and the command that scores any."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluate.score.run import score_tables
from pipeline.errors import PipelineError
from pipeline.params.config import Params
from tests.evaluate.score.conftest import small_rows, table


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
