import yaml

from pipeline.params.config import load
from tests.conftest import ROOT


def test_the_listing_is_yaml_that_says_where_each_value_stands(command):
    done = command("pipeline.params", "stage2.lr=0.5")
    assert done.returncode == 0, done.stderr
    listed = yaml.safe_load(done.stdout)
    params = load(["stage2.lr=0.5"], path=ROOT / "params.yaml")
    assert listed["stage2"] == params.stage2.model_dump(mode="json")
    assert listed["score"]["rerank"]["lambda"] == params.score.rerank.lambda_
    lines = (ROOT / "params.yaml").read_text().splitlines()
    for line in done.stdout.splitlines():
        if line.startswith("  lr: "):
            place = line.split("# params.yaml:")[1].split(":")[0]
            assert lines[int(place) - 1].strip().startswith("lr: ")


def test_a_run_is_listed_with_the_knobs_of_its_recipe(command):
    where = "train:walkers,test:walkers,model:skeleton,encoder:none,start:x"
    line = f"runs.r={{{where},recipe:conf/recipe/kinect.yaml}}"
    done = command("pipeline.params", "--run", "r", line)
    assert done.returncode == 0, done.stderr
    assert "  clips: 32  # conf/recipe/kinect.yaml:" in done.stdout
    assert "  seed: 0  # params.yaml:" in done.stdout
    assert "Did you mean walkers?" in command("pipeline.params", "--run", "walker").stderr
