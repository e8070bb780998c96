"""What dvc.yaml says about a stage: the module that runs it, and what it runs for each of."""

from functools import cache
from typing import Any

from pipeline import paths


@cache
def stages() -> dict[str, Any]:
    """Return the stages of dvc.yaml, as they stand there."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((paths.ROOT / "dvc.yaml").read_text(encoding="utf-8"), loader)["stages"]


def command(stage: str, key: str) -> str:
    """Return the command of a stage for one dataset, run or set of weights.

    >>> command("pose2d", "mars")
    'python -m extract.pose2d --dataset mars'
    """
    about = stages()[stage]
    text: str = about.get("do", about)["cmd"]
    return text.replace("${key}", key).replace("${item}", key)


def module(stage: str) -> str:
    """Return the module of a stage.

    >>> module("shards")
    'shards.write'
    """
    return command(stage, "").split()[2]


def section(stage: str) -> str | None:
    """Return the section of params.yaml whose lines a stage runs for, if it runs more than once.

    Commands that are no stage of DVC work on a run.

    >>> section("pose2d"), section("score"), section("walkers")
    ('datasets', 'runs', None)
    """
    about = stages().get(stage)
    if about is None:
        return "runs"
    return about["foreach"].strip("${}") if "foreach" in about else None
