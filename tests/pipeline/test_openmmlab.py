import os
import pickle
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
from pipeline.openmmlab import repair, safe_loading
repair()
assert repair() == [], "a second call must change nothing"
import mmpose.apis, mmpose.models
safe_loading()
from mmengine.runner.checkpoint import CheckpointLoader
import sys
CheckpointLoader.load_checkpoint(sys.argv[1], map_location="cpu")
"""


class Mischief:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("environment", [{}, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}])
def test_a_checkpoint_cannot_run_code(tmp_path, environment):
    trace = tmp_path / "code-ran"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Mischief(str(trace))))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "evil.pth"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "AssertionError" not in done.stderr
    assert not trace.exists()
    expected = "Unset it" if environment else "WeightsUnpickler"
    assert expected in done.stderr.replace("Weights only load failed", "WeightsUnpickler")
