"""The knobs of params.yaml, read, overridden and checked.

Print them all with their meaning:   python -m pipeline.params
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError, model_validator

from pipeline.errors import PipelineError, did_you_mean
from pipeline.knobs import (
    DatasetParams,
    EmbedParams,
    IndexParams,
    Pose2dParams,
    Pose3dParams,
    ReportParams,
    RuntimeParams,
    ScoreParams,
    Section,
    ShardsParams,
    Stage1Params,
    Stage2Params,
    WalkersParams,
)


class Params(Section):
    """All of params.yaml."""

    datasets: dict[str, DatasetParams]
    weights: list[str]
    walkers: WalkersParams
    index: IndexParams
    pose2d: Pose2dParams
    pose3d: Pose3dParams
    shards: ShardsParams
    stage1: Stage1Params
    stage2: Stage2Params
    embed: EmbedParams
    score: ScoreParams
    report: ReportParams
    runtime: RuntimeParams
    overrides: dict[Literal["stage1", "stage2"], dict[str, Any]]
    recipes: dict[str, dict[str, dict[str, Any]]]

    @model_validator(mode="after")
    def _recipes_exist(self) -> "Params":
        for name, dataset in self.datasets.items():
            if dataset.recipe not in self.recipes:
                raise ValueError(
                    f"datasets.{name}.recipe is {dataset.recipe!r}, which is not under recipes. "
                    + did_you_mean(dataset.recipe, self.recipes)
                )
        return self

    @property
    def modality(self) -> str:
        """What tracklets are described by: visual, skeleton or both."""
        return self.embed.modality or self.stage2.modality

    def fingerprint(self, *sections: str) -> str:
        """Return 12 hex digits that change with any knob of the named sections."""
        knobs = {name: self.model_dump(mode="json")[name] for name in sections}
        return hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()[:12]


def load(
    overrides: Sequence[str] = (), dataset: str | None = None, path: Path = Path("params.yaml")
) -> Params:
    """Read params.yaml and check it.

    Args:
        overrides: Changes in Hydra's override grammar, as `stage2.lr=1e-5`. They win over recipes.
        dataset: Apply the recipe of this dataset.
        path: The file to read.

    Returns:
        Checked knobs.

    Raises:
        PipelineError: If the file is missing or no YAML, if a key is unknown (the nearest right
            one is named), a value out of range, or the dataset not enabled.
    """
    knobs = _with_overrides(_read(path), overrides)
    _check(knobs, path)
    for recipe in knobs.get("recipes") or {}:
        # A misspelt knob in a recipe that no dataset uses yet is still a mistake.
        _check(_with_recipe(knobs, recipe), path, recipe)
    if dataset is not None:
        if dataset not in knobs["datasets"]:
            raise PipelineError(
                f"{path}: {dataset} is not enabled. Uncomment or add its line under datasets. "
                + did_you_mean(dataset, knobs["datasets"])
            )
        knobs = _with_recipe(knobs, knobs["datasets"][dataset]["recipe"])
        knobs = _with_overrides(knobs, overrides)
    return _check(knobs, path)


def _read(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        knobs = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise PipelineError(f"{path} is missing. Run the command in the project's folder") from None
    except YAMLError as error:
        raise PipelineError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(knobs, dict):
        raise PipelineError(f"{path} holds no sections. Restore it: git checkout {path}")
    return knobs


def _with_recipe(knobs: dict[str, Any], recipe: str) -> dict[str, Any]:
    return merge(knobs, knobs["recipes"][recipe] or {})


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it, mapping by mapping.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _with_overrides(knobs: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    if not overrides:
        return knobs
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            raise PipelineError(f"{text!r} is no override like stage2.lr=1e-5: {reason}") from None
        if override.is_delete() or override.is_sweep_override():
            raise PipelineError(
                f"{text!r}: only single values can be set here. Sweep with: dvc exp run --queue -S"
            )
        change: Any = override.value()
        for key in reversed(override.key_or_group.split(".")):
            change = {key: change}
        knobs = merge(knobs, change)
    return knobs


def _check(knobs: dict[str, Any], path: Path, recipe: str | None = None) -> Params:
    try:
        return Params.model_validate(knobs)
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is what the user wants to hear of.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise PipelineError(f"{path}: {_explain(first, recipe)}") from None


def _explain(error: Any, recipe: str | None) -> str:
    keys = [str(key) for key in error["loc"]]
    name = ".".join(([f"recipes.{recipe}"] if recipe else []) + keys)
    if error["type"] == "extra_forbidden":
        known = [".".join([*keys[:-1], key]) for key in _keys_at(keys[:-1])]
        return f"{name} is not a known key. {did_you_mean('.'.join(keys), known)}"
    if error["type"] == "missing":
        return f"{name} is missing. Add it, or restore the file: git checkout params.yaml"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return f"{name} is {error['input']!r}: {error['msg'].lower()}"


def _keys_at(location: list[str]) -> list[str]:
    model: type[BaseModel] = Params
    for key in location:
        if key in model.model_fields:
            inner = model.model_fields[key].annotation
            model = DatasetParams if key == "datasets" else inner
    return list(model.model_fields)


def main() -> None:
    """Print every knob with its value and meaning."""
    from pipeline import console

    params = load()
    for section, value in params:
        if isinstance(value, Section):
            fields = type(value).model_fields
            rows = [
                (
                    f"{section}.{key}",
                    "null" if knob is None else knob,
                    fields[key].description or "",
                )
                for key, knob in value
            ]
            if rows:
                console.table(type(value).__doc__, ("knob", "value", "meaning"), rows)
                console.say("")


if __name__ == "__main__":
    from pipeline.cli import run

    run(main)
