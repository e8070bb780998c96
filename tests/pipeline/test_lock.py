import subprocess
import sys

import pytest

from pipeline.errors import PipelineError
from pipeline.lock import locked


def test_a_second_run_on_the_same_output_is_refused_until_the_first_dies(tmp_path):
    code = (
        "import time; from pathlib import Path; from pipeline.lock import locked\n"
        f"with locked(Path({str(tmp_path)!r}), Path('out')):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(PipelineError, match="out is being made by another run"):  # noqa: SIM117
            with locked(tmp_path, tmp_path / "out"):
                pass
        other.kill()
        other.wait()
        with locked(tmp_path, tmp_path / "out"):
            pass
