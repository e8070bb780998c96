"""Kill a command at every step by which it publishes and cleans up, one after the other.

A step is a rename, a removal or a link in the command's folder; of what `shutil.rmtree` removes the
second file stands for all. `kill_at(1, ...)` kills before the first step, and so on, until the
command comes to its end. `every_step` does all that for one stage, in a process that has imported
what is heavy once for all of them:

    python -m tests.kills '{"folder": "/tmp/project", "stage": "index", "key": "fake", ...}'
"""

import contextlib
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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


def contents(folder: Path, outputs: Iterable[str]) -> dict[str, str]:
    """Return the hash of every file of some outputs; what a kill left half written counts too."""
    found = {}
    for output in outputs:
        place = folder / output
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                name = str(file.relative_to(folder))
                found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def rubbish(folder: Path) -> list[str]:
    """Return what kills left half written among what is published."""
    places = (folder / name for name in ("data", "models", "reports"))
    return [
        file.name
        for place in places
        for file in place.rglob(".*")
        if re.search(r"\.(tmp|new|old)$", file.name)
    ]


def every_step(
    folder: Path,
    stage: str,
    key: str,
    outputs: list[str],
    heavy: tuple[str, ...] = (),
    what: str = "",
) -> int:
    """Kill a stage once before each of its steps, run it again, and compare what it published.

    It is not run again where it left what an earlier kill left. Every second time its outputs are
    removed before, as DVC does.

    Args:
        folder: A project in which the stage can run.
        stage: Its name.
        key: The dataset or run.
        outputs: What it publishes.
        heavy: Modules to import once, before all.
        what: A function of no arguments to call, as `tests.kills_of.fit`, in place of the stage.

    Returns:
        How often it was killed.
    """
    asked = {"folder": str(folder), "stage": stage, "key": key, "outputs": outputs}
    asked |= {"heavy": heavy, "what": what}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", json.dumps(asked)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return int(done.stdout.split()[-1])


def forked(
    folder: Path,
    run: Callable[[], Any],
    before: Callable[[], None] = lambda: None,
    seconds: float = 0,
) -> bool:
    """Run something in a fork of this process, which has no threads; return whether it was killed.

    Args:
        folder: Where.
        run: What.
        before: Called first, in the fork.
        seconds: Kill it after so long; 0 lets it be.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            os.chdir(folder)
            before()
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    status = None
    while status is None:
        ended, status = os.waitpid(child, os.WNOHANG)
        status = status if ended else None
        if status is None and seconds and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"it ended with {code}"
    return code != 0


def _function(name: str) -> Callable[[], Any]:
    module, _, leaf = name.rpartition(".")
    return getattr(importlib.import_module(module), leaf)


def _remove(folder: Path, outputs: Iterable[str]) -> None:
    for output in outputs:
        place = folder / output
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)


def _kill_everywhere(folder: Path, run: Callable[[], Any], outputs: list[str]) -> int:
    places = folder.with_name(f"{folder.name}-kills")
    undisturbed = Path(shutil.copytree(folder, places / "undisturbed", symlinks=True))
    assert not forked(undisturbed, run)
    expected = contents(undisturbed, outputs)
    assert expected
    seen = []
    for step in itertools.count(1):
        place = Path(shutil.copytree(folder, places / f"step{step}", symlinks=True))
        hook = _Steps(place, step)
        if not forked(place, run, lambda hook=hook: sys.addaudithook(hook)):
            return step - 1
        # A removal that finds nothing leaves what the step before it left.
        left = {name: found for name, found in contents(place, ["."]).items() if ".tmp" not in name}
        if left in seen:
            shutil.rmtree(place)
            continue
        seen.append(left)
        if len(seen) % 2:
            _remove(place, outputs)
        assert not forked(place, run), f"after step {step}"
        found = contents(place, outputs)
        assert found == expected, (step, sorted(set(found.items()) ^ set(expected.items())))
        assert not rubbish(place), (step, rubbish(place))
        shutil.rmtree(place)
    raise AssertionError


def main() -> None:
    """Do what `every_step` asks for."""
    asked = json.loads(sys.argv[1])
    stage, key = asked["stage"], asked["key"]
    importlib.import_module(graph.module(stage))
    for module in asked["heavy"]:
        importlib.import_module(module)
    run = _function(asked["what"]) if asked["what"] else lambda: make(stage, key)
    print(_kill_everywhere(Path(asked["folder"]), run, asked["outputs"]))


if __name__ == "__main__":
    main()
