"""Every command, as a person meets it."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMMANDS = [
    "extract.walkers",
    "extract.scene",
    "extract.tracks",
    "extract.weights",
    "extract.index",
    "extract.captions",
    "extract.pose2d",
    "extract.pose3d",
    "extract.silhouettes",
    "shards.write",
    "shards.inspect",
    "shards.convert",
    "shards.kinect",
    "train.stage1",
    "train.stage2",
    "evaluate.embed",
    "evaluate.score",
    "evaluate.report",
    "evaluate.search",
    "evaluate.attention",
    "pipeline.doctor",
    "pipeline.params",
    "pipeline.finish",
]
STAGES = [
    "extract.index",
    "extract.pose2d",
    "extract.pose3d",
    "shards.write",
    "train.stage1",
    "train.stage2",
    "evaluate.embed",
    "evaluate.score",
    "evaluate.report",
]

KEY = {
    module: "--dataset" if module.startswith(("extract", "shards")) else "--run"
    for module in STAGES
}


@pytest.mark.parametrize("module", COMMANDS)
def test_help_comes_without_importing_torch(module):
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['{module}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{module}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        "heavy = {'torch', 'mmpose', 'mmengine', 'dask', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'heavy imports: {heavy}' if heavy else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize("module", STAGES)
def test_stages_share_their_options(command, module):
    text = command(module, "--help").stdout
    for option in (KEY[module], "--limit", "--dry-run", "--try", "--verbose", "--quiet"):
        assert option in text


@pytest.mark.parametrize("module", STAGES)
def test_a_dataset_that_is_not_enabled_is_one_line(command, module):
    done = command(module, KEY[module], "walkerz")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Did you mean walkers?" in done.stderr
