"""What `conf/weights/<model>.yaml` says about a pose model; the keys are explained in rtmpose_m."""

import json
from pathlib import Path
from typing import Literal, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import PipelineError, did_you_mean
from pipeline.files import texts
from pipeline.paths import ROOT, below, weights_dir

FOLDER = Path("conf/weights")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Part):
    """One file of weights.

    Attributes:
        name: Its name in the folder of the weights.
        url: Where to download it.
        path: Where it lies on this machine.
        sha256: The hash in hexadecimal, or its first digits.
    """

    name: str = Field(pattern=r"^[^./\\][^/\\]*$")
    url: str | None = None
    path: Path | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")


class ModelSpec(_Part):
    """A model: an MMPose config and its weights."""

    config: str
    checkpoint: str


class EstimatorSpec(ModelSpec):
    """A 2D model, and the mean joint score below which it saw no whole person."""

    min_score: float = Field(ge=0, le=1)


class LifterInput(_Part):
    """Where in the image a lifter wants a person to stand, and how large, in pixels."""

    root_px: tuple[float, float]
    height_px: float = Field(gt=0)
    image_size: tuple[int, int]


class LifterSpec(ModelSpec):
    """A 3D model."""

    input: LifterInput


class DetectorSpec(_Part):
    """What finds people in whole pictures: a model of torchvision by its name, and its weights.

    `model: transformers` stands for what that package reads from the folder of the weights.
    """

    model: str
    checkpoint: str


class Spec(_Part):
    """All that one file of `conf/weights/` says."""

    name: str
    source: Literal["download", "local", "fit", "git"]
    licence: str
    files: tuple[File, ...] = ()
    estimator: EstimatorSpec | None = None
    lifter: LifterSpec | None = None
    detector: DetectorSpec | None = None

    @property
    def file(self) -> Path:
        """The file this was read from."""
        return FOLDER / f"{self.name}.yaml"

    @overload
    def part(self, kind: Literal["estimator"]) -> EstimatorSpec: ...

    @overload
    def part(self, kind: Literal["lifter"]) -> LifterSpec: ...

    def part(self, kind: Literal["estimator", "lifter"]) -> EstimatorSpec | LifterSpec:
        """Return the 2D or the 3D model.

        Raises:
            PipelineError: If these weights hold no such model.
        """
        part = getattr(self, kind)
        if part is None:
            raise PipelineError(f"{self.file} has no {kind}. Name other weights in params.yaml")
        return part

    def checkpoint(self, kind: Literal["estimator", "lifter"]) -> Path:
        """Return the file with the weights of the 2D or the 3D model.

        Raises:
            PipelineError: If it is not there yet.
        """
        path = weights_dir(self.name) / self.part(kind).checkpoint
        if not path.is_file():
            raise PipelineError(f"{path} is missing. Run: dvc repro weights@{self.name}")
        return path

    def accuracy(self) -> dict[str, str]:
        """Return what was measured when the weights were fitted, as metadata of their joints."""
        file = weights_dir(self.name) / "metrics.json"
        if not file.is_file():
            return {}
        rebuild = f"Run: dvc repro -f weights@{self.name}"
        return {
            "accuracy": json.dumps(texts.mapping(file, texts.read_json(file, rebuild), rebuild))
        }

    def config(self, kind: Literal["estimator", "lifter"]) -> Path:
        """Return the MMPose config of the 2D or the 3D model.

        Raises:
            PipelineError: If it is neither in the project's conf/ nor in mmpose. A config is a
                program: one that came with weights is not run.
        """
        from importlib.util import find_spec

        name = self.part(kind).config
        mmpose = find_spec("mmpose")
        own = name.startswith("conf/")
        places = [Path(), ROOT] if own else []
        if mmpose and mmpose.origin and not own:
            places.append(Path(mmpose.origin).parent / ".mim")
        for place in places:
            if (found := below(place, name)).is_file():
                return found
        raise PipelineError(
            f"{self.file}: config {name} is no file of conf/ and none of mmpose's own (configs/). "
            "It is a program that runs: read it, put it into conf/weights/ and name it so"
        )


def load(model: str) -> Spec:
    """Read `conf/weights/<model>.yaml` and check it.

    Raises:
        PipelineError: If there is no such file, or a key is unknown, missing or wrong.
    """
    path = FOLDER / f"{model}.yaml"
    known = [file.stem for file in FOLDER.glob("*.yaml")]
    keys = texts.mapping(
        path,
        texts.read_yaml(path, did_you_mean(model, known)),
        f"Its keys are those of {FOLDER}/rtmpose_m.yaml",
    )
    try:
        return Spec.model_validate({"name": model} | keys)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise PipelineError(f"{path}: {key}: {first['msg'].lower()}") from None
