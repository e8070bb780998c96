"""The knobs of params.yaml, checked: what each means and its range. Values stand there only.

Print them all with their meaning:   python -m pipeline.params
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import PipelineError, did_you_mean


class Section(BaseModel):
    """Knobs that stand under one key of params.yaml; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetParams(Section):
    """One dataset."""

    format: str = Field(description="parser that reads it: a module of extract/")
    source: str = Field(description="file or folder that tells DVC when the dataset changed")
    pose2d: str = Field(description="weights of the 2D estimator: a file of conf/weights/")
    pose3d: str = Field(description="weights of the 3D lifter: a file of conf/weights/")
    recipe: str = Field(description="knobs that replace the sections': a key under recipes")
    counts: Literal["published", "none"] = Field(
        "published", description="what the numbers of tracklets are compared with"
    )
    case: str | None = Field(None, description="test case of VReID-XFD: a folder of the dataset")


class WalkersParams(Section):
    """The rendered dataset."""

    seed: int = Field(ge=0, description="same seed, same bytes")
    identities_train: int = Field(ge=2, le=3000, description="persons to train on")
    identities_test: int = Field(ge=2, le=3000, description="persons to test on")
    cameras: int = Field(ge=2, le=6, description="cameras; MARS names have room for six")
    tracklets: int = Field(ge=1, le=100, description="per person and camera")
    frames: tuple[int, int] = Field(description="shortest and longest tracklet, at 15 per second")
    wardrobe: int = Field(ge=0, description="outfits shared by all; 0: one each")
    bodies: int = Field(ge=0, description="bodies shared by all; 0: one each")
    change_clothes: bool = Field(description="whether about half the cameras see other clothes")
    distractors: int = Field(ge=0, description="tracklets of strangers (pid 0)")
    junk: int = Field(ge=0, description="tracklets whose boxes miss the person (pid -1)")

    @model_validator(mode="after")
    def _frames_ascend(self) -> "WalkersParams":
        if not 1 <= self.frames[0] <= self.frames[1] <= 900:
            raise ValueError(
                f"walkers.frames is {list(self.frames)}: give the shortest and the longest tracklet, "
                "as [12, 20]; names have room for 900 frames"
            )
        return self


class IndexParams(Section):
    """Reading a dataset's own files."""

    trial: int = Field(ge=0, le=9, description="which of the ten splits to train on")
    max_bad_frames: float = Field(ge=0, le=1, description="share of bad frames tolerated")


class Pose2dParams(Section):
    """2D joints."""

    flip_test: bool = Field(description="average with the mirrored image")
    precision: Literal["auto", "float32", "bfloat16"] = Field(description="of the forward pass")
    min_score: float = Field(ge=0, le=1, description="mean joint score below which status is 3")


class Pose3dParams(Section):
    """3D joints."""

    flip_test: bool = Field(description="average with the mirrored pose")
    max_gap: int = Field(ge=0, description="longest gap of bad frames to interpolate over")
    smooth: Literal["none", "one_euro", "savgol"] = Field(description="filter along time")


class ShardsParams(Section):
    """Shards."""

    embed_frames: bool = Field(description="store the JPEGs themselves, not their paths")
    shard_mb: int = Field(ge=1, description="size to aim at")


Precision = Literal["float32", "bfloat16", "float16"]


class SkeletonParams(Section):
    """The skeleton encoder."""

    inputs: list[str] = Field(min_length=1, description="xyz, bone_length, velocity")
    dim: int = Field(ge=1, description="channels of a token")
    layers: int = Field(ge=1, description="attention blocks over the joints of a frame")
    heads: int = Field(ge=1, description="attention heads")
    temporal_layers: int = Field(ge=0, description="attention blocks over the frames of a clip")
    cls_token: bool = Field(description="a token of its own for each frame")
    dropout: float = Field(ge=0, lt=1)


class Stage1Params(Section):
    """Contrastive skeleton-image pretraining."""

    encoder: str = Field(description="visual encoder: a file of conf/encoder/")
    train_visual: bool = Field(description="false: pretrained and frozen, features are cached")
    skeleton: SkeletonParams = Field(description="the skeleton encoder, of both stages")
    clip_frames: int = Field(ge=1, description="frames of a clip, T")
    identities: int = Field(ge=2, description="identities in a batch, P")
    clips: int = Field(ge=1, description="clips per identity in a batch, K")
    flip: float = Field(ge=0, le=1, description="share of clips mirrored")
    epochs: int = Field(ge=1, description="length of the run")
    lr: float = Field(gt=0, description="learning rate")
    warmup_lr: float = Field(gt=0, description="learning rate the warm-up starts from")
    warmup_epochs: int = Field(ge=0, description="length of the warm-up")
    min_lr: float = Field(ge=0, description="learning rate at the end of the cosine")
    weight_decay: float = Field(ge=0, description="of Adam")
    precision: Precision = Field(description="of the forward pass")
    seed: int = Field(ge=0, description="same seed, same weights")


class Stage2Params(Section):
    """Prototype-guided fine-tuning."""

    encoder: str = Field(description="visual encoder: a file of conf/encoder/")
    modality: Literal["visual", "skeleton"] = Field(description="skeleton: train on that alone")
    use_stage1: bool = Field(description="start from the weights of stage 1")
    use_prototypes: bool = Field(description="prototype fusion and update")
    use_temporal: bool = Field(description="the skeleton-guided temporal module")
    use_skeleton: bool = Field(description="let skeletons take part in both")
    distill_weight: float = Field(ge=0, description="ties the student path to the guided one")
    shuffle_frames: bool = Field(description="destroy the motion, for comparison")
    clip_frames: int = Field(ge=1, description="frames of a clip, T")
    identities: int = Field(ge=2, description="identities in a batch, P")
    clips: int = Field(ge=2, description="clips per identity in a batch, K")
    flip: float = Field(ge=0, le=1, description="share of clips mirrored")
    erase: float = Field(ge=0, le=1, description="share of clips with a part erased")
    epochs: int = Field(ge=1, description="length of the run")
    lr: float = Field(gt=0, description="learning rate")
    bias_lr_mult: float = Field(gt=0, description="times lr, for biases of the encoders")
    new_lr_mult: float = Field(gt=0, description="times lr, for parts that stage 1 did not train")
    warmup_epochs: int = Field(ge=0, description="length of the warm-up, from a tenth of lr")
    milestones: list[int] = Field(description="epochs from which lr is a tenth of before")
    weight_decay: float = Field(ge=0, description="of Adam")
    refresh_epochs: int = Field(ge=1, description="epochs between two refreshes of prototypes")
    held_out: int = Field(ge=0, description="training identities kept to choose the best epoch")
    accumulate: int = Field(ge=1, description="batches per update")
    precision: Precision = Field(description="of the forward pass")
    seed: int = Field(ge=0, description="same seed, same weights")


class EmbedParams(Section):
    """Features of the test tracklets."""

    frames: Literal["rrs", "dense"] = Field(description="frames of a tracklet that count")
    modality: Literal["visual", "skeleton"] | None = Field(description="null: as stage 2 trained")


class RerankParams(Section):
    """k-reciprocal re-ranking."""

    enabled: bool = Field(description="report re-ranked scores beside the plain ones")
    k1: int = Field(ge=1, description="neighbours checked for reciprocity")
    k2: int = Field(ge=1, description="neighbours whose encodings are averaged")
    lambda_: float = Field(alias="lambda", ge=0, le=1, description="weight of the plain distance")


class BootstrapParams(Section):
    """Intervals of the averages over queries."""

    samples: int = Field(ge=1, description="draws of as many queries")
    seed: int = Field(ge=0)


class ScoreParams(Section):
    """Retrieval scores."""

    max_rank: int = Field(ge=20, description="length of the CMC curve")
    gallery_includes_queries: bool | None = Field(
        description="whether queries are ranked too; null: the dataset's official rule"
    )
    ranked_list: int = Field(ge=1, description="gallery tracklets kept per query for the report")
    rerank: RerankParams
    bootstrap: BootstrapParams


class ReportParams(Section):
    """The page and the pictures."""


class RuntimeParams(Section):
    """Where and how fast it runs; no result depends on it."""

    device: str = Field(description="auto, cpu, cuda or cuda:N")
    workers: int = Field(ge=1, description="processes of a stage")
    scheduler: str | None = Field(description="address of a Dask scheduler")
    memory_limit: str | None = Field(description="of each local Dask worker")
    batch_frames: int = Field(ge=1, description="frames per forward pass of the pose models")
    compile: bool = Field(description="run torch.compile on the pose models")
    checkpoint_epochs: int = Field(ge=1, description="epochs between two checkpoints")


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
