"""The knobs, read from their files, overridden and checked.

`params.yaml` says what is on disk, what is trained on it and how fast; a recipe, which is
params.yaml too or a file of `conf/recipe/`, says how. A knob stands in one file, and nothing lies
over it but the overrides of a command line.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError, model_validator

from pipeline import graph, paths
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files.reading import reading
from pipeline.params.knobs import (
    DatasetParams,
    EmbedParams,
    IndexParams,
    KinectParams,
    Pose2dParams,
    Pose3dParams,
    PretrainingParams,
    RunParams,
    RuntimeParams,
    ScoreParams,
    ShardsParams,
    SilhouettesParams,
    Stage1Params,
    Stage2Params,
    WalkersParams,
)
from pipeline.paths import file_name

PARAMS = Path("params.yaml")
_LONGEST = 80
RECIPE = ("stage1", "stage2", "embed", "score", "overrides")
# Knobs of earlier versions, and where to look now; a star stands for any name.
RENAMED = {
    "datasets.*.recipe": "name it under pretraining and under runs",
    "recipes": "a recipe is a file of its own, conf/recipe/NAME.yaml",
    "report": "it held nothing",
    "index.max_bad_frames": "it is pose2d.max_bad_frames now",
    "index.trial": "it is index.split_id now",
    "stage1.encoder": "name it under pretraining",
    "stage2.encoder": "name it under pretraining, or under runs",
    "stage2.modality": "name the system under runs: model: skeleton",
    "stage2.use_stage1": "say under runs what a run starts from: start",
    "stage2.use_prototypes": "it is stage2.settings.without: [prototypes] now",
    "stage2.use_temporal": "it is stage2.settings.without: [temporal] now",
    "stage2.use_skeleton": "it is stage2.settings.without: [skeleton] now",
    "stage2.distill_weight": "it is stage2.settings.weights.distill now",
    "runtime.checkpoint_epochs": "it is runtime.checkpoint_minutes now",
    "embed.modality": "it is embed.descriptor now",
}


class Params(BaseModel, extra="forbid", frozen=True):
    """All knobs. Sections of `RECIPE` are those of the recipe that was asked for."""

    datasets: dict[str, DatasetParams]
    kinect: dict[str, KinectParams]
    weights: list[str]
    pretraining: dict[str, PretrainingParams]
    runs: dict[str, RunParams]
    walkers: WalkersParams
    index: IndexParams
    pose2d: Pose2dParams
    silhouettes: SilhouettesParams
    pose3d: Pose3dParams
    shards: ShardsParams
    stage1: Stage1Params
    stage2: Stage2Params
    embed: EmbedParams
    score: ScoreParams
    overrides: dict[Literal["stage1", "stage2"], dict[str, Any]]
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _names_are_known(self) -> "Params":
        for section in ("datasets", "kinect", "weights", "pretraining", "runs"):
            for name in getattr(self, section):
                if name != file_name(name):
                    raise ValueError(f"{section}: {name!r} becomes a file's name. Choose another")
        on_disk = [*self.datasets, *self.kinect]
        if twice := self.datasets.keys() & self.kinect.keys():
            raise ValueError(f"{min(twice)} stands under datasets and under kinect")
        lines: dict[str, PretrainingParams | RunParams] = {
            f"{section}.{name}": line
            for section in ("pretraining", "runs")
            for name, line in getattr(self, section).items()
        }
        for name, line in lines.items():
            for key in ("train", "test"):
                dataset = getattr(line, key, line.train)
                if dataset not in on_disk:
                    raise ValueError(
                        f"{name}.{key} is {dataset!r}, which is not enabled. Uncomment or add its "
                        f"line under datasets. {did_you_mean(dataset, on_disk)}"
                    )
        for name, line in self.runs.items():
            if self.encoder_of(name) is None:
                raise ValueError(
                    f"runs.{name} names no encoder, and neither does what it starts from, "
                    f"{line.start}. Add to its line a file of conf/encoder/, as encoder: conv_stem"
                )
        return self

    def on_disk(self, dataset: str) -> KinectParams:
        """Return the line of a dataset, be it of pictures or of skeletons alone."""
        return self.datasets.get(dataset) or self.kinect[dataset]

    def rebuild(self, stage: str, key: str) -> str:
        """Return the command that makes what a stage leaves for a dataset or run.

        Index and shards of a dataset of skeletons alone are of the stage `kinect`.
        """
        if stage in ("index", "shards") and key in self.kinect:
            stage = "kinect"
        return f"dvc repro {stage}@{key}" if graph.section(stage) else f"dvc repro {stage}"

    def encoder_of(self, run: str, *before: str) -> str | None:
        """Return the visual encoder of a run: the one it names, or that of what it starts from.

        Args:
            run: The run.
            before: Runs that start from it, and are not asked again.
        """
        line = self.runs[run]
        if line.encoder:
            return line.encoder
        stage, name = self.starts_from(line) or ("", "")
        if stage == "stage1":
            return self.pretraining[name].encoder
        return (
            self.encoder_of(name, run, *before)
            if name in self.runs.keys() - {run, *before}
            else None
        )

    def starts_from(self, line: PretrainingParams | RunParams) -> tuple[str, str] | None:
        """Return the stage and the key that make the weights a line starts from, if one does."""
        lines = [("stage1", name, paths.stage1_file(name)) for name in self.pretraining]
        lines += [("stage2", name, paths.stage2_file(name)) for name in self.runs]
        return next((one[:2] for one in lines if one[2] == Path(line.start)), None)

    def fingerprint(self, *sections: str) -> str:
        """Return 12 hex digits that change with any knob of the named sections."""
        knobs = {name: self.model_dump(mode="json")[name] for name in sections}
        return hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()[:12]


def load(overrides: Sequence[str] = (), recipe: Path | None = None, path: Path = PARAMS) -> Params:
    """Read the knobs and check them.

    Args:
        overrides: Changes in Hydra's override grammar, as `stage2.lr=1e-5`.
        recipe: File to take the sections of `RECIPE` from; by default `path` itself.
        path: The file that says all else.

    Raises:
        PipelineError: If a file is missing or no YAML, if a key is unknown (the nearest right one
            is named) or a value out of range.
    """
    knobs = read(path)
    source = {}
    if recipe and recipe != PARAMS:
        own = read(recipe)
        for key in own.keys() - set(RECIPE):
            raise PipelineError(
                f"{recipe}: {key} does not belong into a recipe, which holds {', '.join(RECIPE)}"
            )
        knobs |= own
        source = dict.fromkeys(own, recipe)
    return _check(_with_overrides(knobs, overrides), path, source)


def read(path: Path) -> dict[str, Any]:
    """Return what a YAML file of knobs holds, unchecked.

    Raises:
        PipelineError: If it is missing or no mapping.
    """
    where = "Run the command in the project's folder" if path == PARAMS else "Name another"
    with reading(path, "text", where):
        text = path.read_text(encoding="utf-8-sig")
    # A copy: callers lay their overrides over it.
    return json.loads(_parsed(path, text))


@cache
def _parsed(path: Path, text: str) -> str:
    from omegaconf import OmegaConf

    restore = f"Restore it: git checkout {path}"
    with reading(path, "YAML", restore):
        knobs = OmegaConf.to_container(OmegaConf.create(text))
        if not isinstance(knobs, dict) or not all(isinstance(key, str) for key in knobs):
            raise ValueError("it holds no sections")
        return json.dumps(knobs)


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


def _with_overrides(knobs: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
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


def _check(knobs: dict[str, Any], path: Path, source: dict[str, Path]) -> Params:
    try:
        return Params.model_validate(knobs)
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is what the user wants to hear of.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        section = str(first["loc"][0]) if first["loc"] else ""
        file = source.get(section, path)
        raise PipelineError(f"{file}: {_explain(first, file)}") from None


def _explain(error: Any, file: Path) -> str:
    keys = [str(key) for key in error["loc"]]
    name = ".".join(keys)
    if error["type"] == "extra_forbidden":
        if now := RENAMED.get(name) or RENAMED.get(".".join([*keys[:1], "*", *keys[2:]])):
            return f"{name} is not a knob any more: {now} (CHANGELOG.md)"
        known = [".".join([*keys[:-1], key]) for key in _keys_at(keys[:-1])]
        return f"{name} is not a known key. {did_you_mean(name, known)}"
    if error["type"] == "missing":
        return f"{name} is missing. Add it, or restore the file: git checkout {file}"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    found = repr(error["input"])
    found = found if len(found) <= _LONGEST else f"{found[: _LONGEST - 4]} ..."
    return f"{name} is {found}: {error['msg'].lower()}"


def _keys_at(location: list[str]) -> list[str]:
    """Return the known keys at a place; a line of a mapping by name is what its type says."""
    model: Any = Params
    for key in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            if key not in model.model_fields:
                return []
            model = model.model_fields[key].annotation
        else:  # dict[str, Line]
            model = model.__args__[1]
    return list(model.model_fields) if hasattr(model, "model_fields") else []
