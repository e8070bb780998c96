"""Kill a command at every step by which it publishes and cleans up, one after the other.

A step is a rename, a removal or a link in the command's folder; of what `shutil.rmtree` removes the
second file stands for all. `kill_at(1, ...)` kills before the first step, and so on, until the
command comes to its end.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from pipeline import graph
from tests.stages import make

_EVENTS = ("os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree")


class _Steps:
    """An audit hook that kills its own process before a step."""

    def __init__(self, folder: Path, last: int) -> None:
        self._folder, self._left, self._removed = folder, last, 0

    def __call__(self, event: str, args: tuple) -> None:
        if event in _EVENTS and self._counts(event, args):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def _counts(self, event: str, args: tuple) -> bool:
        if event == "shutil.rmtree":
            self._removed = 0
        elif event in ("os.remove", "os.rmdir") and args[1] != -1:
            # Within `rmtree`, which names files relative to a folder that it holds open.
            self._removed += 1
            return self._removed == 2
        return (self._folder / os.fspath(args[0])).is_relative_to(self._folder)


def _run(step: int, folder: Path, stage: str, key: str, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    os.chdir(folder)
    importlib.import_module(graph.module(stage))
    sys.addaudithook(_Steps(folder, step))
    make(stage, key)


def kill_at(step: int, folder: Path, stage: str, key: str) -> bool:
    """Run a stage in a process of its own, and kill that before a step.

    Args:
        step: Which, from 1; 0 lets it come to its end.
        folder: Where to run it.
        stage: Its name.
        key: The dataset or run.

    Returns:
        Whether it was killed; it has come to its end otherwise.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numpy", "pyarrow.parquet", "cv2", graph.module(stage)])
    # The server that processes are forked from has the environment of its own start.
    process = context.Process(target=_run, args=(step, folder, stage, key, dict(os.environ)))
    process.start()
    process.join()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.exitcode in (0, -signal.SIGKILL), f"{stage} ended with {process.exitcode}"
    return process.exitcode != 0
