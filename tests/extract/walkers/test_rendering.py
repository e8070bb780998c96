"""How walkers are rendered: in processes, stopped and continued, and one run at a time."""

import contextlib
import itertools
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from extract.walkers.render import is_sound
from pipeline.lock import locked
from tests.conftest import ROOT
from tests.extract.walkers.conftest import digest, run
from tests.kills import kill_at


def test_two_processes_render_the_same_bytes_as_one(place, dataset, tmp_path):
    text = (place / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("workers: 1", "workers: 2"))
    assert run(tmp_path).returncode == 0
    assert digest(tmp_path / "data" / "raw" / "walkers") == digest(dataset)


def test_another_seed_renders_other_people(place, dataset):
    done = run(place, "--limit", "2", "walkers.seed=1")
    assert done.returncode == 0, done.stderr
    tried = place / "work" / "try" / "trial" / "data" / "raw" / "walkers"
    assert len(list(tried.rglob("*.jpg"))) > 0
    assert not set(digest(tried / "bbox_train").values()) & set(
        digest(dataset / "bbox_train").values()
    )


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(place, dataset, tmp_path):
    shutil.copy(place / "params.yaml", tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "extract.walkers", "-q"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("work/walkers/walkers/*/truth/*.parquet")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data" / "raw" / "walkers").exists()
    assert run(tmp_path).returncode == 0
    assert digest(tmp_path / "data" / "raw" / "walkers") == digest(dataset)


def test_a_run_killed_at_any_step_of_publishing_and_cleaning_up_loses_no_frame(place, tmp_path):
    tiny = (place / "params.yaml").read_text()
    for key, value in {"identities_train": 2, "identities_test": 2, "frames": "[2, 2]"}.items():
        tiny = re.sub(rf"^(  {key}:) [^#\n]*", rf"\1 {value} ", tiny, count=1, flags=re.M)
    rendered, made = tmp_path / "rendered", Path("data/raw/walkers")
    rendered.mkdir()
    (rendered / "params.yaml").write_text(tiny)
    # Workers render; the first step of the command itself is the first of publishing.
    assert kill_at(1, rendered, "walkers", "walkers")
    undisturbed = shutil.copytree(rendered, tmp_path / "undisturbed")
    assert not kill_at(0, undisturbed, "walkers", "walkers")
    expected, was_published, left = digest(undisturbed / made), set(), []
    assert any(name.endswith(".jpg") for name in expected)
    for step in itertools.count(1):
        folder = shutil.copytree(rendered, tmp_path / f"step{step}")
        if not kill_at(step, folder, "walkers", "walkers"):
            break
        was_published.add((folder / made).exists())
        # Before DVC runs a command again it removes what that has made.
        shutil.rmtree(folder / made, ignore_errors=True)
        kept = {name for name in digest(folder) if not re.search(r"\.discarded|\.tmp$", name)}
        if kept in left:
            continue
        left.append(kept)
        assert not kill_at(0, folder, "walkers", "walkers")
        assert digest(folder / made) == expected
    assert len(left) > 2
    assert was_published == {True, False}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(200) + b"PAR1"])
def test_truth_of_unfinished_work_that_is_damaged_is_removed(tmp_path, content):
    file = tmp_path / "train-0001.parquet"
    file.write_bytes(content)
    assert not is_sound(file)
    assert not file.exists()
    pd.DataFrame({"path": ["a.jpg"]}).to_parquet(file)
    assert is_sound(file)


def test_two_runs_at_once_refuse_each_other(place, tmp_path):
    shutil.copy(place / "params.yaml", tmp_path)
    with contextlib.chdir(tmp_path), locked(Path("data/raw/walkers")):
        done = run(tmp_path)
    assert done.returncode == 1
    assert "data/raw/walkers is being made by another run" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_second_run_renders_nothing(place, dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    done = run(place)
    assert done.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before
    assert "0 of" in run(place, "--dry-run").stdout


def test_impossible_lengths_are_refused_in_one_line(place):
    done = run(place, "walkers.frames=[9,3]")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "walkers.frames" in done.stderr


def test_help_is_quick_because_it_imports_nothing_heavy():
    code = (
        "import sys, extract.walkers, extract.fit;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'pyarrow', 'mmpose')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
