import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.lock import locked
from tests.conftest import ROOT


@pytest.mark.parametrize("lock", [None, "gallery.parquet.lock"])
def test_a_second_run_on_the_same_output_is_refused_until_the_first_dies(
    tmp_path, monkeypatch, lock
):
    monkeypatch.chdir(tmp_path)
    output, lock = Path("data/out"), lock and Path(lock)
    code = (
        "import time; from pathlib import Path, PosixPath; from pipeline.lock import locked\n"
        f"with locked({output!r}, {lock!r}):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(PipelineError, match="data/out is being made by another run"),
            locked(output, lock),
        ):
            pass
        with locked(Path("data/other")):
            pass
        other.kill()
        other.wait()
        with locked(output, lock):
            pass


def test_who_is_patient_gets_the_lock_when_it_is_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "import time; from pathlib import Path; from pipeline.lock import locked\n"
        "with locked(Path('out')):\n"
        "    print('held', flush=True); time.sleep(0.5)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with locked(Path("out"), patience_s=60):
            assert other.wait(60) == 0
