"""How every command behaves: shared options, errors in one line.

A command ends like this::

    def main(run: Run, verbose: Verbose = False, quiet: Quiet = False) -> None:
        \"\"\"Draw something.\"\"\"
        set_output(verbose, quiet)
        ...

    if __name__ == "__main__":
        run(main)

Commands that are stages end shorter: see `pipeline.stage`.
"""

import contextlib
import functools
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from pipeline import console, paths
from pipeline.errors import PipelineError, told

Dataset = Annotated[
    str,
    typer.Option("--dataset", "-d", help="A dataset that stands under `datasets` in params.yaml."),
]
Run = Annotated[
    str, typer.Option("--run", "-r", help="A line of `runs` in params.yaml; under torchrun: -r.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Knobs to try, as stage2.lr=1e-5; output goes to work/try/."),
]
Limit = Annotated[
    int,
    typer.Option("--limit", min=0, help="Only the first N tracklets; output goes to work/try/."),
]
Try = Annotated[
    str,
    typer.Option(
        "--try", help="Name of a trial: it reads what the stage before wrote under this name."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and more detail.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]

_verbose = False


def verbose() -> bool:
    """Return whether the user asked for detail."""
    return _verbose


def set_output(verbose: bool, quiet: bool) -> None:
    """Apply `-v` and `-q`."""
    global _verbose
    _verbose = verbose
    console.set_quiet(quiet)


def _keep_traceback() -> None:
    """Keep what nobody foresaw: a run of ten hours need not be repeated to see where it failed."""
    with contextlib.suppress(OSError):
        paths.WORK.mkdir(exist_ok=True)
        (paths.WORK / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")


def run(main: Callable[..., None]) -> None:
    """Run a command: whatever goes wrong is one line on standard error and exit code 1."""

    @functools.wraps(main)
    def command(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt:
            print("\nstopped; the same command continues where this one ended", file=sys.stderr)
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if _verbose:
                traceback.print_exc()
            elif not isinstance(error, PipelineError | OSError | MemoryError):
                _keep_traceback()
            print(f"error: {told(error)}", file=sys.stderr)
            raise typer.Exit(1) from None

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    app()
