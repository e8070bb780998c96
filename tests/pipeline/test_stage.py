from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import typer

from pipeline import console, paths, stage
from pipeline.errors import PipelineError
from pipeline.lock import locked
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    console.set_quiet(False)


@dataclass
class Writing:
    """A run that writes a file."""

    output: Path = Path("data/made.txt")
    then: str = "embed"
    done: list[str] = field(default_factory=list)

    def is_done(self) -> bool:
        return self.output.exists()

    def plan(self) -> None:
        self.done.append("plan")

    def make(self) -> str:
        self.done.append("make")
        with pytest.raises(PipelineError, match="is being made by another run"), locked_elsewhere():
            pass
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.touch()
        return "1 file"


def locked_elsewhere():
    """Another process that wants the same output; a lock does not hold against its own process."""
    import subprocess
    import sys

    line = (
        "from pathlib import Path; from pipeline.lock import locked\n"
        "from pipeline.errors import PipelineError\n"
        "try:\n    locked(Path('data/made.txt')).__enter__()\n"
        "except PipelineError as error:\n    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", line], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    ).stdout
    if said:
        raise PipelineError(said.strip())
    return locked(Path("other"))


def test_a_run_is_made_once_and_then_up_to_date(capsys):
    run, one = Writing(), stage.start("stage2", "walkers")
    stage.carry_out(one, run)
    assert run.done == ["make"]
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "written  data/made.txt",
        "amount   1 file",
        "next     dvc repro embed@walkers",
    ]
    assert float((paths.times_dir("walkers") / "stage2").read_text()) >= 0
    stage.carry_out(one, run)
    assert run.done == ["make"]
    assert capsys.readouterr().out == "data/made.txt is up to date\n"


def test_a_dry_run_plans_and_does_nothing():
    run = Writing()
    stage.carry_out(stage.start("stage2", "walkers", dry_run=True), run)
    assert run.done == ["plan"]
    assert not run.output.exists()


def test_other_processes_of_a_training_take_no_lock_and_say_nothing(monkeypatch, capsys):
    one = stage.start("stage2", "walkers")
    capsys.readouterr()
    monkeypatch.setenv("RANK", "1")
    run = Writing()
    monkeypatch.setattr(Writing, "make", lambda self: "1 file")
    with locked(run.output):
        stage.carry_out(one, run)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "options", [{"overrides": ["stage2.lr=0.5"]}, {"limit": 3}, {"trial": "mine"}]
)
def test_a_trial_never_writes_where_dvc_looks_and_reads_its_own_first(options):
    one, target = stage.start("stage2", "walkers", **options), paths.stage2_file("walkers")
    own = Path("work/try") / options.get("trial", "trial") / target
    assert one.out(target) == own
    assert one.read(target) == target
    own.parent.mkdir(parents=True)
    own.touch()
    assert one.read(target) == own
    plain = stage.start("stage2", "walkers")
    assert plain.work("abc") == Path("work/stage2/walkers/abc")
    assert one.work("abc") == Path("work/try") / options.get("trial", "trial") / plain.work("abc")
    assert plain.out(target) == plain.read(target) == target


def test_the_next_line_of_a_trial_goes_on_with_it():
    one = stage.start("stage2", "walkers", ["stage2.milestones=[1, 2]"], limit=4, trial="mine")
    assert one.then("embed") == (
        "python -m evaluate.embed --run walkers --try mine --limit 4 'stage2.milestones=[1, 2]'"
    )
    assert stage.start("index", "walkers").then("pose2d") == "dvc repro pose2d@walkers"


def test_a_run_works_on_the_dataset_of_its_line_with_the_knobs_of_its_recipe(capsys):
    text = Path("params.yaml").read_text()
    text = text.replace("kinect: {}", "kinect: {biwi: {format: biwi, source: x, counts: none}}")
    text = text.replace("  # biwi: {train: biwi, test: biwi", "  mine: {train: biwi, test: walkers")
    Path("params.yaml").write_text(text)
    Path("conf/recipe").mkdir(parents=True)
    recipe = Path("conf/recipe/kinect.yaml")
    recipe.write_text((ROOT / recipe).read_text())
    trained, tested = (stage.start(name, "mine") for name in ("stage2", "embed"))
    assert (trained.dataset, tested.dataset) == ("biwi", "walkers")
    assert trained.params.stage2.clips == tested.params.stage2.clips == 32
    assert trained.rebuild("shards") == trained.rebuild("index") == "dvc repro kinect@biwi"
    assert tested.rebuild("shards") == "dvc repro shards@walkers"
    assert tested.rebuild("walkers") == "dvc repro walkers"
    assert tested.rebuild("stage2") == "dvc repro stage2@mine"
    assert "knobs    conf/recipe/kinect.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("pose2d", "walker", r"walker is not enabled\..* under datasets\. Did you mean walkers\?"),
        ("stage2", "mars", r"mars is not enabled\..* under runs"),
        (
            "stage1",
            "bare",
            r"bare has no first stage: it starts from x\. Run: dvc repro stage2@bare",
        ),
        ("shards", "biwi", r"biwi holds skeletons alone\. Run: dvc repro kinect@biwi"),
    ],
)
def test_a_name_that_a_stage_does_not_know_is_one_line(name, key, message):
    data, system = "train:walkers,test:walkers", "model:visual,encoder:none,start:x"
    line = f"runs.bare={{{data},{system},recipe:params.yaml}}"
    biwi = "kinect.biwi={format:biwi,source:x,counts:none}"
    with pytest.raises(PipelineError, match=message):
        stage.start(name, key, [line, biwi])


def test_a_stage_has_the_shared_options_and_its_own(monkeypatch, capsys):
    got = {}

    def describe(
        one: stage.Stage, shout: Annotated[bool, typer.Option("--shout", help="Louder.")] = False
    ) -> Writing:
        """Write something."""
        got.update(stage=one, shout=shout)
        return Writing()

    monkeypatch.setattr("sys.argv", ["x", "-d", "walkers", "--shout", "--limit", "2", "--dry-run"])
    with pytest.raises(SystemExit) as end:
        stage.run_stage("pose2d", describe)
    assert not end.value.code
    assert (got["shout"], got["stage"].limit, got["stage"].key) == (True, 2, "walkers")
    monkeypatch.setattr("sys.argv", ["x", "--help"])
    with pytest.raises(SystemExit):
        stage.run_stage("pose2d", describe)
    said = capsys.readouterr().out
    for part in ("Write something.", "Louder.", "--dataset", "--try", "--quiet"):
        assert part in said
