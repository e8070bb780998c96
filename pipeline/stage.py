"""What a stage is: a description of one run of it, and how such a run is carried out.

The module of a stage ends like this::

    def index(stage: Stage, check_frames: CheckFrames = False) -> Job:
        \"\"\"List the tracklets of a dataset.\"\"\"
        return Listing(stage, check_frames)

    if __name__ == "__main__":
        run_stage("index", index)

`run_stage` adds the options that all stages have. What is described is carried out by `carry_out`:
planned, found done, or made under a lock and summed up.
"""

import inspect
import os
import shlex
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_type_hints

from pipeline import cli, console, graph, machine, paths
from pipeline.errors import PipelineError, did_you_mean
from pipeline.lock import locked
from pipeline.paths import file_name

if TYPE_CHECKING:
    from pipeline.params.config import Params
    from pipeline.params.knobs import KinectParams, PretrainingParams, RunParams

# The trial of a command line that changes something and names none.
TRIAL = "trial"
# Sections of params.yaml whose lines are datasets.
ON_DISK = ("datasets", "kinect")


@dataclass(frozen=True)
class Stage:
    """One run of one stage.

    Attributes:
        name: The stage's name.
        key: What it works on: a dataset, or from training on a run.
        dataset: The dataset whose frames it reads.
        params: All knobs, with those of the run's recipe and the command line's overrides.
        limit: Number of tracklets to stop after, or 0 for all.
        dry_run: Whether to print the plan only.
        trial: Name of the trial, or an empty string.
        overrides: The command line's overrides.
    """

    name: str
    key: str
    dataset: str
    params: "Params"
    limit: int = 0
    dry_run: bool = False
    trial: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def on_disk(self) -> "KinectParams":
        """The line of params.yaml that says how the dataset is read."""
        return self.params.on_disk(self.dataset)

    @property
    def line(self) -> "PretrainingParams | RunParams":
        """The line of params.yaml that says what is trained and where it starts."""
        lines = self.params.pretraining if self.name == "stage1" else self.params.runs
        return lines[self.key]

    def out(self, path: Path) -> Path:
        """Return where to write what normally goes to `path`."""
        return paths.trial_dir(self.trial) / path if self.trial else path

    def read(self, path: Path) -> Path:
        """Return where to read what normally lies at `path`: a trial prefers its own."""
        return own if (own := self.out(path)).exists() else path

    def work(self, fingerprint: str) -> Path:
        """Return the folder of this run's unfinished work: a trial has its own."""
        return self.out(paths.work_dir(self.name, self.key, fingerprint))

    def rebuild(self, stage: str) -> str:
        """Return the command that makes what another stage should have left."""
        where = graph.section(stage)
        return self.params.rebuild(stage, self.dataset if where in ON_DISK else self.key)

    def then(self, stage: str, key: str = "") -> str:
        """Return the command that runs another stage next: by DVC, or in the same trial."""
        key = key or self.key
        if not self.trial:
            return f"dvc repro {stage}@{key}"
        again = [f"--try {self.trial}", *([f"--limit {self.limit}"] if self.limit else [])]
        return " ".join([graph.command(stage, key), *again, *map(shlex.quote, self.overrides)])


class Run(Protocol):
    """What one run of a stage is going to do."""

    @property
    def output(self) -> Path:
        """The file or folder it publishes."""

    @property
    def then(self) -> str:
        """The stage to run next, or a command."""

    def is_done(self) -> bool:
        """Return whether what this run would publish is there already."""

    def plan(self) -> None:
        """Print what would be done."""

    def make(self) -> str:
        """Make and publish it, going on where a stopped run ended; return how much it is."""


def start(
    name: str,
    key: str,
    overrides: list[str] | None = None,
    limit: int = 0,
    dry_run: bool = False,
    trial: str = "",
) -> Stage:
    """Read the knobs, apply the command line, and return the stage.

    Raises:
        PipelineError: If the dataset or run is not enabled or a knob is unknown or out of range.
    """
    from pipeline.params.config import load

    if trial and trial != file_name(trial):
        raise PipelineError(f"--try {trial!r} is no name. Give one without / that begins otherwise")
    changes = tuple(overrides or ())
    params, dataset, recipe = load(changes), key, ""
    if section := graph.section(name):
        _check_enabled(params, section, key)
    if section == "pretraining":
        dataset, recipe = params.pretraining[key].train, params.pretraining[key].recipe
    elif section == "runs":
        line = params.runs[key]
        dataset, recipe = line.train if name == "stage2" else line.test, line.recipe
    if recipe:
        params = load(changes, Path(recipe))
        console.say(f"knobs    {recipe}")
    trial = trial or (TRIAL if limit or changes else "")
    return Stage(name, key, dataset, params, limit, dry_run, trial, changes)


def _check_enabled(params: "Params", section: str, key: str) -> None:
    """Raise where params.yaml has no such line."""
    lines = getattr(params, section)
    if key in lines:
        return
    if section == "datasets" and key in params.kinect:
        raise PipelineError(f"{key} holds skeletons alone. Run: dvc repro kinect@{key}")
    if section == "pretraining" and key in params.runs:
        raise PipelineError(
            f"{key} has no first stage: it starts from {params.runs[key].start}. "
            f"Run: dvc repro stage2@{key}"
        )
    raise PipelineError(
        f"params.yaml: {key} is not enabled. Uncomment or add its line under {section}. "
        + did_you_mean(key, lines)
    )


def carry_out(stage: Stage, run: Run) -> None:
    """Do what a run of a stage describes, once.

    Raises:
        PipelineError: If another process is making the same output.
    """
    if stage.dry_run:
        run.plan()
        return
    if run.is_done():
        console.say(f"{run.output} is up to date")
        return
    machine.allow_files()
    began = time.monotonic()
    # Of several processes that train together, the first stands for all.
    is_first = int(os.environ.get("RANK", 0)) == 0
    with locked(run.output) if is_first else nullcontext():
        if is_first:
            paths.sweep(run.output)
        amount = run.make()
    if not is_first:
        return
    then = run.then if " " in run.then else stage.then(run.then)
    console.summary(run.output, amount, then)
    if not stage.trial:
        with paths.write_atomic(paths.times_dir(stage.key) / stage.name) as temporary:
            temporary.write_text(f"{time.monotonic() - began:.1f}\n")


def run_stage(name: str, describe: Callable[..., Run]) -> None:
    """Run the command of a stage.

    Args:
        name: The stage's name.
        describe: From a `Stage`, and the stage's own options as keywords, to the run. Its docstring
            is the command's help.
    """
    shared: dict[str, tuple[Any, Any]] = {
        "overrides": (cli.Overrides, None),
        "limit": (cli.Limit, 0),
        "dry_run": (cli.DryRun, False),
        "trial": (cli.Try, ""),
        "verbose": (cli.Verbose, False),
        "quiet": (cli.Quiet, False),
    }
    own = list(inspect.signature(describe).parameters.values())[1:]
    hints = get_type_hints(describe, include_extras=True) if own else {}

    def command(**given: Any) -> None:
        cli.set_output(given.pop("verbose"), given.pop("quiet"))
        options = {one.name: given.pop(one.name) for one in own}
        stage = start(name, given.pop("key", name), **given)
        carry_out(stage, describe(stage, **options))

    empty = inspect.Parameter.empty
    key = {"key": (_key_option(name), empty)} if graph.section(name) else {}
    options = {one.name: (hints[one.name], one.default) for one in own}
    parameters = [
        inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for one, (kind, default) in (key | options | shared).items()
    ]
    command.__doc__ = describe.__doc__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    # What inspect, and so Typer, takes in place of the one that is written above.
    vars(command)["__signature__"] = inspect.Signature(parameters)
    cli.run(command)


def _key_option(stage: str) -> Any:
    return cli.Dataset if graph.section(stage) in ON_DISK else cli.Run
