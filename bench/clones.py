"""Experiments of DVC in clones of the project, which keep the files of the last one.

In those of `dvc exp run --temp` every frame would have to be laid out anew.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.measure import DEFAULT
from pipeline import paths
from pipeline.errors import PipelineError


class Clone:
    """A clone of the project in which experiments run, one after the other."""

    def __init__(self, kind: str, number: int) -> None:
        """Make the clone, or bring it up to date.

        Args:
            kind: Of the experiments.
            number: Of the clone, where several run side by side.
        """
        self.folder = paths.WORK / kind / str(number)
        if not self.folder.exists():
            call(["git", "clone", "--quiet", ".", str(self.folder)])
        self.head = call(["git", "rev-parse", "HEAD"]).strip()
        self.call("git", "fetch", "--quiet")
        self.call("git", "checkout", "--quiet", "--force", "--detach", self.head)
        cache = call(["dvc", "cache", "dir"]).strip()
        self.call("dvc", "cache", "dir", "--local", str(Path(cache).resolve()))

    def experiment(self, name: str, changes: list[str], target: str) -> dict[str, Any]:
        """Run an experiment of DVC here, or find the one that has run, and return its scores.

        Args:
            name: Of its ref, without blanks.
            changes: Assignments to knobs.
            target: The DVC stage to bring up to date.

        Raises:
            PipelineError: If it failed.
        """
        ref = self._ref(name)
        # One that ended just before this program was stopped is there already.
        if not self.call("git", "for-each-ref", ref):
            # Turn the knobs of the experiment before back; dvc.lock still says what lies here.
            self.call("git", "checkout", "--quiet", "HEAD", "--", "params.yaml")
            assigned = [f"--set-param={change}" for change in changes]
            self.call("dvc", "exp", "run", "--name", name, *assigned, target)
        call(["git", "fetch", "--quiet", str(self.folder), f"+{ref}:{ref}"])
        return self.published(name, "scores.json")

    def published(self, name: str, file: str) -> Any:
        """Return what a JSON file of the report of an experiment holds."""
        return json.loads(self.call("git", "show", f"{self._ref(name)}:reports/{DEFAULT}/{file}"))

    def output(self, name: str, file: Path) -> Path:
        """Return a copy of what a stage of an experiment made: another one may lie here by now."""
        copy = self.folder / "work" / "outputs" / name / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        revision = self.call("git", "rev-parse", self._ref(name)).strip()
        out = str(copy.resolve())
        self.call("dvc", "get", "--force", "--rev", revision, "-o", out, ".", str(file))
        return copy

    def _ref(self, name: str) -> str:
        return f"refs/exps/{self.head[:2]}/{self.head[2:]}/{name}"

    def call(self, *command: str) -> str:
        """Run a command in the clone and return what it prints."""
        return call(list(command), self.folder)


def call(command: list[str], folder: Path | None = None) -> str:
    """Run a command of the project with one thread, and return what it prints.

    Raises:
        PipelineError: If it fails; its output is kept.
    """
    # Experiments run side by side; threads that wait for each other would take ten times as long.
    # DVC is that of this Python, whether its environment is activated or not.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PATH": programs}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        log = paths.WORK / "results.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        said = " ".join(command)
        raise PipelineError(f"`{said}` failed: see {log}, mend it and run this again")
    return done.stdout
