"""What stands in a folder that was taken away: weights, and `config.json`, which says all else.

Whoever wrote the folder is a stranger: it is read as data, and names parts of this project alone.
"""

import inspect
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.code.fingerprint import sha256
from pipeline.distances import CosineDistances, GatedDistances, PartDistances
from pipeline.errors import PipelineError
from pipeline.files import texts
from pipeline.files.reading import check_plain, reading
from pipeline.params.knobs import EmbedParams
from train.run.strangers import distance_of
from train.trained import Trained, refuse_foreign

CONFIG, WEIGHTS, CARD, ONNX = "config.json", "model.safetensors", "README.md", "model.onnx"
FIX = "Give a folder that python -m evaluate.publish wrote, whole"
# A threshold lets one pair of strangers in so many pass, if as many were asked.
ONE_IN = 100
_LARGEST_SIDE, _LONGEST_CLIP = 4096, 1024


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preprocessing(_Part):
    """What becomes of frames: a clip of `clip_frames` RGB pictures, in [0, 1], normalised."""

    colours: Literal["RGB"] = "RGB"
    height: int = Field(ge=1, le=_LARGEST_SIDE)
    width: int = Field(ge=1, le=_LARGEST_SIDE)
    resize: Literal["area"] = "area"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    clip_frames: int = Field(ge=1, le=_LONGEST_CLIP)
    frames: Literal["rrs", "dense"]


class Described(_Part):
    """What a tracklet is described by: knobs of `embed`."""

    descriptor: Literal["visual", "skeleton", "both"]
    neck: Literal["before", "after"]
    skeleton_weight: float | None = Field(None, ge=0)


class Strangers(_Part):
    """Below which distances which shares of the pairs of strangers lie, both falling."""

    shares: list[float] = Field(min_length=1)
    distances: list[float] = Field(min_length=1)


class Threshold(_Part):
    """The distance within which two tracklets are taken for one person, by held-out people."""

    distance: float
    strangers: float = Field(gt=0, le=1)
    people: int = Field(ge=2)


class Config(_Part):
    """All that `config.json` says."""

    format: Literal[1] = 1
    name: str
    system: str
    encoder: str
    dataset: str
    weights: str = Field(pattern=r"^[0-9a-f]{64}$")
    epoch: int
    seed: int
    held_out: int
    needs: list[str]
    describe: Described
    preprocessing: Preprocessing
    comparison: dict[str, Any]
    threshold: Threshold | None
    strangers: Strangers | None
    model: dict[str, Any]

    @field_validator("comparison")
    @classmethod
    def _has_its_settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        settings = {name: one for name, one in value.items() if name != "kind"}
        kind = value.get("kind")
        known = {"cosine": CosineDistances, "parts": PartDistances, "gated": GatedDistances}
        if kind not in known:
            raise ValueError(f"features are compared by {kind!r}, which nobody knows")
        try:
            inspect.signature(known[kind]).bind([], [], **settings)
        except TypeError as error:
            raise ValueError(f"{kind}: {error}") from None
        return value

    @property
    def about(self) -> dict[str, Any]:
        """What a file of stage 2 says about itself, as far as describing takes it."""
        how, frames = self.describe, self.preprocessing
        prepare = {"type": "train.data.preprocess.ClipPreprocessor"}
        prepare |= frames.model_dump(include={"mean", "std"})
        found = self.model_dump(include={"system", "encoder", "dataset", "epoch", "seed"})
        found |= {
            "held_out": self.held_out,
            "model": self.model | {"data_preprocessor": prepare},
            "clips": {
                "clip_frames": frames.clip_frames,
                "frame_size": [frames.height, frames.width],
                "needs": self.needs,
            },
            "comparison": self.comparison,
        }
        if how.skeleton_weight is not None:
            found["skeleton_weight"] = {how.neck: how.skeleton_weight}
        if self.strangers:
            found["strangers"] = {how.neck: {how.descriptor: self.strangers.model_dump()}}
        return found

    @property
    def knobs(self) -> EmbedParams:
        """How to describe."""
        return EmbedParams(frames=self.preprocessing.frames, **self.describe.model_dump())


def config_of(name: str, trained: Trained, frames: Literal["rrs", "dense"]) -> Config:
    """Return what is said of a model of stage 2.

    Args:
        name: Of its run.
        trained: What was trained, set to describe as its features were made.
        frames: `embed.frames`.

    Raises:
        PipelineError: If it learnt from frames in random order, which nobody has.
    """
    about = trained.about
    if about["clips"].get("shuffle_frames"):
        raise PipelineError(
            f"{trained.file} was trained on frames in random order, for comparison. "
            "Publish one of stage2.shuffle_frames: false"
        )
    model = json.loads(json.dumps(about["model"]))
    prepare = model.pop("data_preprocessor")
    if model.get("visual"):
        # Its own weights come with it; where the first ones lay is nobody's business.
        model["visual"]["weights"] = None
    height, width = trained.size
    noted = trained.strangers
    return Config(
        name=name,
        **{key: about[key] for key in ("system", "encoder", "dataset", "seed", "held_out")},
        weights=sha256(trained.file),
        epoch=about["epoch"],
        needs=about["clips"]["needs"],
        describe=Described(**trained.identity),
        preprocessing=Preprocessing(
            height=height, width=width, mean=prepare["mean"], std=prepare["std"],
            clip_frames=trained.clip_frames, frames=frames,
        ),
        comparison=dict(trained.comparison),
        threshold=_threshold(noted, about["held_out"]) if noted else None,
        strangers=Strangers(**noted) if noted else None,
        model=model,
    )  # fmt: skip


def _threshold(noted: dict[str, Any], people: int) -> Threshold:
    share = max(1 / ONE_IN, noted["shares"][-1])
    distance = round(distance_of(share, noted), 6)
    return Threshold(distance=distance, strangers=share, people=people)


def write(folder: Path, config: Config) -> None:
    """Write `config.json`."""
    text = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def read(folder: Path) -> tuple[Config, Trained]:
    """Return what a folder says, and the model in it.

    Raises:
        PipelineError: If it is damaged, not of this project, or asks for code from elsewhere.
    """
    file, weights = folder / CONFIG, folder / WEIGHTS
    found = texts.mapping(file, texts.read_json(file, FIX), FIX)
    refuse_foreign(found, file)
    try:
        config = Config.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PipelineError(f"{file}: {where}: {first['msg']}. {FIX}") from None
    check_plain(weights, FIX)
    if sha256(weights) != config.weights:
        raise PipelineError(f"{weights} is not the file that {file} describes. {FIX}")
    with reading(file, "configuration of a model", FIX):
        return config, Trained.told(weights, config.about, config.knobs)
