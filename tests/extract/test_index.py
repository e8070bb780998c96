"""The index command, on datasets in folders."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from extract.index import find_parser, formats, holds_skeletons
from extract.tracklets import ParserInput, Tracklet, write_index
from pipeline.errors import PipelineError
from tests.conftest import ROOT


@pytest.fixture
def project(tmp_path: Path, put: Callable) -> Path:
    """A folder with params.yaml that enables one dataset in folders, and its frames."""
    text = (ROOT / "params.yaml").read_text()
    line = "toy: {format: folder, source: x, pose2d: x, pose3d: x, counts: none}"
    ours = f"datasets:\n  {line}\n"
    (tmp_path / "params.yaml").write_text(text.replace("datasets:\n", ours, 1))
    put(tmp_path / "data/raw/toy", [f"query/1/{c}/a/{f}.jpg" for c in (1, 2) for f in range(3)])
    return tmp_path


def test_the_command_writes_the_index_and_says_what_is_next(
    project: Path, command: Callable
) -> None:
    done = command("extract.index", "--dataset", "toy", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "2 tracklets, 6 frames" in done.stdout
    assert "dvc repro pose2d@toy" in done.stdout
    assert pq.read_table(project / "data/index/toy.parquet").num_rows == 2


def test_the_same_files_give_the_same_bytes(project: Path, command: Callable) -> None:
    out = project / "data/index/toy.parquet"
    command("extract.index", "--dataset", "toy", cwd=project)
    first = out.read_bytes()
    command("extract.index", "--dataset", "toy", cwd=project)
    assert out.read_bytes() == first


def test_a_limit_writes_to_the_trial_folder_only(project: Path, command: Callable) -> None:
    done = command("extract.index", "--dataset", "toy", "--limit", "1", cwd=project)
    assert done.returncode == 0, done.stderr
    assert not (project / "data/index").exists()
    assert pq.read_table(project / "work/try/trial/data/index/toy.parquet").num_rows == 1


def test_a_dry_run_writes_nothing(project: Path, command: Callable) -> None:
    done = command("extract.index", "--dataset", "toy", "--dry-run", cwd=project)
    assert done.returncode == 0
    assert "would read data/raw/toy as folder" in done.stdout
    assert not (project / "data/index").exists()


def test_the_data_root_comes_from_the_environment(
    project: Path, tmp_path: Path, command: Callable
) -> None:
    elsewhere = tmp_path / "disk"
    (project / "data/raw").rename(elsewhere)
    done = command("extract.index", "-d", "toy", cwd=project, REID_DATA_ROOT=str(elsewhere))
    assert done.returncode == 0, done.stderr
    frames = pq.read_table(project / "data/index/toy.parquet")["frames"][0].as_py()
    assert frames[0] == "query/1/1/a/0.jpg"


def test_a_missing_dataset_is_one_line(project: Path, command: Callable) -> None:
    (project / "data/raw/toy").rename(project / "toy")
    done = command("extract.index", "-d", "toy", cwd=project)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "data/raw/toy is not there" in done.stderr


def test_every_format_says_where_to_get_its_data() -> None:
    for name in formats():
        source = find_parser(name).FACTS.source
        assert "docs/datasets.md" in source or source == "Run: python -m extract.walkers"
    assert {name for name in formats() if holds_skeletons(find_parser(name))} == {
        "biwi", "ias_lab", "kgbd", "ks20",
    }  # fmt: skip


def test_an_unknown_format_gets_a_suggestion() -> None:
    with pytest.raises(PipelineError, match="Did you mean mars"):
        find_parser("marz")


def test_a_tracklet_without_frames_is_refused(tmp_path: Path) -> None:
    empty = Tracklet("t1", 1, 0, "train", [], [])
    with pytest.raises(PipelineError, match="t1 has no frames"):
        write_index(tmp_path / "x.parquet", [empty], {}, ParserInput(tmp_path))
