"""Files kept in git: YAML that every reader takes, and nothing large."""

import subprocess
from pathlib import Path

import yaml

from tests.conftest import ROOT

# The pose models that let a first `make repro`, and a first video, start at once.
LARGE = ("data/weights/walkers_pose/", "data/weights/movenet_lightning/")
LARGEST_KB = 1500


def tracked(*patterns: str) -> list[Path]:
    """Return the files git knows, those of the next commit too."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if (ROOT / name).is_file()]


def test_yaml_reads():
    for file in tracked("*.yaml", "*.yml", "*.lock"):
        try:
            yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise AssertionError(f"{file}: {error}") from None


def test_no_file_is_large():
    for file in tracked():
        if not any(file.is_relative_to(ROOT / folder) for folder in LARGE):
            assert file.stat().st_size <= 1000 * LARGEST_KB, f"{file} is for DVC, not for git"


def test_hooks_before_a_commit_are_tools_of_the_project():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert (ROOT / hook["entry"].split()[0]).is_file()
