"""Stages inside this process, as their commands run them."""

import importlib
from typing import Any

from pipeline import console, graph
from pipeline.stage import carry_out, start


def make(
    name: str,
    key: str,
    *overrides: str,
    limit: int = 0,
    dry_run: bool = False,
    trial: str = "",
    quiet: bool = True,
    **options: Any,
) -> Any:
    """Run a stage for a dataset or run, quietly; return what it described.

    Args:
        name: The stage.
        key: The dataset or run.
        overrides: As on the command line.
        limit: As on the command line.
        dry_run: As on the command line.
        trial: As `--try`.
        quiet: False to hear it.
        options: Options of this stage alone.
    """
    module = graph.module(name)
    try:
        described = importlib.import_module(f"{module}.__main__")
    except ModuleNotFoundError:
        described = importlib.import_module(module)
    console.set_quiet(quiet)
    try:
        stage = start(name, key, list(overrides), limit, dry_run, trial)
        made = getattr(described, name)(stage, **options)
        carry_out(stage, made)
    finally:
        console.set_quiet(False)
    return made
