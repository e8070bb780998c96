"""The report says what was measured, opens offline in a real browser, and shows its pictures."""

import html
import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluate.report import charts, page
from pipeline.errors import PipelineError
from tests.evaluate.report.conftest import start_from, text
from tests.stages import make


def words(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", markup)))


def test_the_page_holds_the_numbers_of_the_scores(scored):
    make("report", "fake")
    metrics = json.loads(Path("reports/fake/scores.json").read_text())
    said = words(text())
    assert metrics["protocol"] in said
    for found in (metrics, metrics["reranked"], metrics["baselines"]["random"]):
        for key in ("mAP", "rank1", "rank5", "mINP"):
            assert f"{100 * found[key]:.1f}" in said
    interval = metrics["interval95"]["mAP"]
    assert f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f}" in said
    verified = metrics["verification"]
    assert f"{verified['genuine_pairs']:,} pairs of one person" in said
    for key in ("EER", "TPR_at_FPR_1e-1", "TPR_at_FPR_1e-2"):
        low, high = (100 * end for end in verified["interval95"][key].values())
        assert f"{100 * verified[key]:.1f} {low:.1f} to {high:.1f}" in " ".join(said.split())


def test_the_roc_curve_stands_beside_the_cmc_curve_in_powers_of_ten(scored):
    rows = [{"fpr": 10.0**power, "tpr": 1 + power / 10} for power in range(-4, 1)]
    Path("reports/fake/roc.json").write_text(json.dumps(rows))
    make("report", "fake")
    (section,) = re.findall(r'<section id="curves">(.*?)</section>', text(), re.DOTALL)
    assert section.count("<svg") == 2
    assert "CMC" in section
    shown = words(section.split("ROC")[1])
    for tick in ("0.01 %", "0.1 %", "1 %", "10 %", "100 %"):
        assert tick in shown
    (points,) = re.findall(r'points="([^"]*)"', section.split("ROC")[1])
    across = [float(point.split(",")[0]) for point in points.split()]
    assert np.diff(across) == pytest.approx(np.diff(across)[0], abs=0.2)


def test_every_query_worth_seeing_has_a_picture_on_disk_and_on_the_page(scored):
    make("report", "fake")
    files = sorted(file.name for file in Path("reports/fake/ranked").iterdir())
    assert files == ["best.png", *(f"hardest-{i:02}.png" for i in range(1, 7)), "median.png"]
    assert all(cv2.imread(f"reports/fake/ranked/{name}") is not None for name in files)
    queries = pq.read_table("reports/fake/per_query.parquet").to_pylist()
    (section,) = re.findall(r'<section id="ranked-lists">(.*?)</section>', text(), re.DOTALL)
    lists = re.findall(r'<div class="row">(.*?)</figure>', section, re.DOTALL)
    assert len(lists) == len(files)
    # Nothing of a list scrolls: its cells go to another row where a screen is narrow.
    assert "wide" not in section
    for one, said in zip(lists, re.findall("<figcaption>[^:]*: ([^,]*),", section), strict=True):
        (query,) = [row for row in queries if row["tracklet"] == said]
        ranked = [
            matches
            for name, matches, junk in zip(
                query["gallery"], query["is_match"], query["is_junk"], strict=True
            )
            if name != said and not junk
        ]
        shown = re.findall(r'alt="(\d+)  (match|other), ', one)
        words = ["match" if matches else "other" for matches in ranked[:10]]
        assert shown == [(str(rank), word) for rank, word in enumerate(words, start=1)]


def test_scores_by_camera_average_to_the_whole(scored):
    make("report", "fake")
    cameras = json.loads(Path("reports/fake/cameras.json").read_text())
    metrics = json.loads(Path("reports/fake/scores.json").read_text())
    assert [row["camera"] for row in cameras] == ["camera 0", "camera 1"]
    weights = [row["queries"] for row in cameras]
    for key in ("mAP", "rank1"):
        average = np.average([row[key] for row in cameras], weights=weights)
        assert average == pytest.approx(metrics[key], abs=1e-5)


def test_nothing_is_fetched_from_outside(scored):
    make("report", "fake")
    assert not re.search(r"<script|<link|@import|url\(", text())
    sources = re.findall(r'(?:src|href)="([^"]*)"', text())
    assert all(source.startswith(("data:", "#")) for source in sources)


def test_curves_pose_scores_and_times_appear_where_they_exist(scored, project: Path):
    # Its first stage has another name, and there is one of its own name that is not its own.
    start_from("first")
    own = Path("reports/fake/stage1/plots/metrics")
    own.mkdir(parents=True)
    (own / "loss.tsv").write_text("step\tloss\n1\t0.9\n2\t0.5\n")
    make("report", "fake")
    without = words(text())
    assert "Stage 1: loss" not in without
    metrics = Path("reports/first/stage1/plots/metrics")
    metrics.mkdir(parents=True)
    (metrics / "loss.tsv").write_text("timestamp\tstep\tloss\n1\t1\t0.9\n2\t2\t0.5\n")
    (metrics / "accuracy.tsv").write_text("step\taccuracy\n1\t0.2\n2\t0.6\n")
    (project / "reports/first/stage1/config.yaml").write_text("model: {type: NoSuchModel}\n")
    accuracy = {b"pose2d.accuracy": b'{"held out": {"pck@0.1": 0.953}}'}
    for file in (project / "data/shards/fake").glob("*.parquet"):
        table = pq.read_table(file)
        about = table.schema.metadata | accuracy
        pq.write_table(table.replace_schema_metadata(about), file, use_dictionary=False)
    (project / "work/times/fake").mkdir(parents=True, exist_ok=True)
    (project / "work/times/fake/pose2d").write_text("75.0\n")
    (project / "work/times/first").mkdir()
    (project / "work/times/first/stage1").write_text("3600.0\n")
    make("report", "fake")
    said = words(text())
    for expected in ("NoSuchModel", "0.953", "pose2d@fake", "stage1@first"):
        assert expected in said
    for expected in ("Stage 1 of first: loss", "Stage 1 of first: accuracy"):
        assert expected in said
    assert "Stage 1: loss" not in said


def test_the_page_names_the_revision_of_code_and_data(scored, project: Path):
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    start_from("first")
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-q", "-m", "knobs")
    (project / "dvc.lock").write_text(
        "stages:\n  shards@fake:\n    outs:\n"
        "    - {path: data/shards/fake, md5: 0123456789abcdef}\n"
        "  stage1@first:\n    outs:\n"
        "    - {path: models/first/stage1.safetensors, md5: fedcba9876543210}\n"
        "  stage1@fake:\n    outs:\n"
        "    - {path: models/fake/stage1.safetensors, md5: 0000cba9876543210}\n"
    )
    git("add", "dvc.lock")
    make("report", "fake")
    said = words(text())
    assert f"git {git('rev-parse', 'HEAD')}" in said
    assert "uncommitted" not in said
    assert "0123456789ab" in said
    assert "fedcba987654" in said
    assert "0000cba98765" not in said
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "\n")
    make("report", "fake")
    assert "with uncommitted changes" in words(text())


def test_the_same_scores_give_the_same_page(scored):
    make("report", "fake")
    first = text()
    pictures = {file: file.read_bytes() for file in Path("reports/fake/ranked").iterdir()}
    make("report", "fake")
    assert text() == first
    assert {file: file.read_bytes() for file in pictures} == pictures


def test_without_scores_the_command_says_what_to_run(scored):
    Path("reports/fake/scores.json").unlink()
    with pytest.raises(PipelineError, match=r"scores.json is missing. Run: dvc repro score@fake"):
        make("report", "fake", quiet=False)


def test_a_dry_run_writes_nothing(scored):
    make("report", "fake", dry_run=True, quiet=False)
    assert not Path("reports/fake/report.html").exists()


def test_names_from_data_cannot_break_the_page():
    evil = "<script>alert(1)</script>"
    made = page.page(evil, evil, [("A", page.table([evil], [[evil]]) + page.folded(evil, evil))])
    made += charts.lines({evil: [(0, 0), (1, 1)]}, evil, evil) + charts.bars({evil: 1.0}, evil)
    assert "<script" not in made


@pytest.mark.parametrize("points", [[(1, 0.5)], [(1, 2.0), (2, 2.0)], [(0, float("nan")), (1, 1)]])
def test_charts_of_few_or_equal_points_have_finite_places(points):
    made = charts.lines({"a": points}, "x", "y", (0, 1))
    for name in ("points", "x", "y", "x1", "y1"):
        for found in re.findall(rf' {name}="([^"]*)"', made):
            assert np.isfinite([float(x) for x in re.split("[ ,]+", found)]).all()
