"""How every command behaves: options, overrides, trials, errors in one line.

A stage module ends like this::

    def main(
        dataset: Dataset,
        overrides: Overrides = None,
        limit: Limit = 0,
        dry_run: DryRun = False,
        verbose: Verbose = False,
        quiet: Quiet = False,
    ) -> None:
        \"\"\"List the tracklets of a dataset.\"\"\"
        stage = start("index", dataset, overrides, limit, dry_run, verbose, quiet)
        ...

    if __name__ == "__main__":
        run(main)

With `--limit` or an override the run is a trial: what it writes goes to `work/try/`, never to the
files that DVC knows.
"""

import functools
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import console, paths
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.params import Params

Dataset = Annotated[
    str,
    typer.Option("--dataset", "-d", help="A dataset that stands under `datasets` in params.yaml."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Knobs to try, as stage2.lr=1e-5; output goes to work/try/."),
]
Limit = Annotated[
    int,
    typer.Option("--limit", min=0, help="Only the first N tracklets; output goes to work/try/."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and more detail.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]

_verbose = False
_running: "tuple[Stage, float] | None" = None


@dataclass(frozen=True)
class Stage:
    """One run of one stage.

    Attributes:
        name: The stage's name.
        dataset: The dataset it works on.
        params: All knobs, with the dataset's recipe and the command line's overrides applied.
        limit: Number of tracklets to stop after, or 0 for all.
        dry_run: Whether to print the plan only.
        trial: Whether outputs go to `work/try/`.
    """

    name: str
    dataset: str
    params: "Params"
    limit: int
    dry_run: bool
    trial: bool

    def out(self, path: Path) -> Path:
        """Return where to write what normally goes to `path`."""
        return paths.WORK / "try" / path if self.trial else path

    def rebuild(self, stage: str) -> str:
        """Return the command that makes this dataset's part of another stage."""
        return f"dvc repro {stage}@{self.dataset}"


def verbose() -> bool:
    """Return whether the user asked for detail."""
    return _verbose


def set_output(verbose: bool, quiet: bool) -> None:
    """Apply `-v` and `-q`."""
    global _verbose
    _verbose = verbose
    console.set_quiet(quiet)


def start(
    name: str,
    dataset: str,
    overrides: list[str] | None,
    limit: int,
    dry_run: bool,
    verbose: bool,
    quiet: bool,
) -> Stage:
    """Read params.yaml, apply the command line, and return the run.

    Raises:
        PipelineError: If the dataset is not enabled or a knob is unknown or out of range.
    """
    set_output(verbose, quiet)
    from pipeline.params import load

    params = load(overrides or (), dataset)
    stage = Stage(name, dataset, params, limit, dry_run, trial=bool(limit or overrides))
    global _running
    _running = (stage, time.monotonic())
    return stage


def _note_time() -> None:
    """Keep how long a stage took, for the report; a run that found all done says nothing."""
    if _running is None or not console.has_summary():
        return
    stage, began = _running
    if stage.dataset and not (stage.trial or stage.dry_run):
        with paths.write_atomic(paths.times_dir(stage.dataset) / stage.name) as temporary:
            temporary.write_text(f"{time.monotonic() - began:.1f}\n")


def run(main: Callable[..., None]) -> None:
    """Run a command: a user's mistake is one line on standard error and exit code 1."""

    @functools.wraps(main)
    def command(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
            _note_time()
        except PipelineError as error:
            if _verbose:
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print("\nstopped; the same command continues where this one ended", file=sys.stderr)
            raise typer.Exit(130) from None

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    app()
