"""What stage 2 published: the one way to load it, for everything that describes people by it."""

import importlib
import inspect
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.stage import Stage
from train.registry import MODELS
from train.run.processes import device
from train.weights.checkpoint import again, load, load_part, published

if TYPE_CHECKING:
    import torch

    from pipeline.params.knobs import EmbedParams
    from train.weights.renaming import State


@dataclass(frozen=True)
class Trained:
    """A published model: its weights, and what it is made of.

    Attributes:
        file: The file.
        about: What stands in it: configuration of the model, its clips, what was held out.
        config: The model's configuration, set to describe as `embed` asks for.
    """

    file: Path
    about: dict[str, Any]
    config: dict[str, Any]

    @classmethod
    def of(cls, stage: Stage) -> "Trained":
        """Load the model of the stage's run.

        Raises:
            PipelineError: If stage 2 has not run, or did not train what should describe.
        """
        file = stage.read(paths.stage2_file(stage.key))
        if not file.exists():
            raise PipelineError(f"{file} is missing. Run: {stage.rebuild('stage2')}")
        return cls.read(file, stage.params.embed)

    @classmethod
    def read(cls, file: Path, knobs: "EmbedParams") -> "Trained":
        """Load a model that stage 2 published, on whatever machine.

        Args:
            file: The file.
            knobs: How to describe.

        Raises:
            PipelineError: If the file is damaged, or as `told`.
        """
        return cls.told(file, published(file) or {}, knobs)

    @classmethod
    def told(cls, file: Path, about: dict[str, Any], knobs: "EmbedParams") -> "Trained":
        """Return the model of a file of weights and of what is said about it.

        Raises:
            PipelineError: If it is none of stage 2, asks for code from elsewhere, or does not know
                what should describe.
        """
        if "model" not in about or "frame_size" not in about.get("clips", {}):
            raise PipelineError(f"{file} is no model of stage 2. {again(file)}")
        size = about["clips"]["frame_size"]
        if not (isinstance(size, list) and len(size) == 2 and all(type(x) is int for x in size)):
            raise PipelineError(f"{file} speaks of frames of {size} pixels. {again(file)}")
        refuse_foreign(about, file)
        return cls(file, about, _describing(about, knobs, file))

    @cached_property
    def state(self) -> "State":
        """Its weights."""
        return load(self.file)[0]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides, beside the weights, whether two features can be compared."""
        found = {"descriptor": self.descriptor, "neck": self.config["neck"]}
        if self.descriptor == "both":
            found["skeleton_weight"] = self.config["skeleton_weight"]
        return found

    @property
    def descriptor(self) -> str:
        """What tracklets are described by: visual, skeleton or both."""
        return self.config.get("descriptor") or trained_descriptor(self.about)

    @property
    def comparison(self) -> dict[str, Any]:
        """What the distance of two descriptors is (`pipeline.distances`)."""
        return self.about.get("comparison", {"kind": "cosine"})

    @property
    def strangers(self) -> dict[str, Any] | None:
        """How near strangers come (`train.run.strangers`), as it describes now.

        None where nobody was held out of its training, or skeletons count otherwise than then.
        """
        neck, descriptor = self.config["neck"], self.descriptor
        own = self.about.get("skeleton_weight", {}).get(neck)
        if descriptor == "both" and self.config["skeleton_weight"] != own:
            return None
        return self.about.get("strangers", {}).get(neck, {}).get(descriptor)

    @property
    def has_prototypes(self) -> bool:
        """Whether it knows a prototype of every training identity."""
        return "visual_prototypes" in self.state

    @property
    def clip_frames(self) -> int:
        """Frames of a clip."""
        return self.about["clips"]["clip_frames"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        height, width = self.about["clips"]["frame_size"]
        return height, width

    def model(self) -> "torch.nn.Module":
        """Build it, with its weights, in evaluation mode on the device."""
        config = json.loads(json.dumps(self.config))
        if config.get("visual"):
            # Its own weights come; nothing is downloaded to be overwritten.
            config["visual"]["weights"] = None
        model = MODELS.build(config)
        load_part(model, self.state, "", self.file)
        return _ready(model)

    def untrained(self) -> "torch.nn.Module":
        """Build it as training began: with pretrained weights at most."""
        import torch

        torch.manual_seed(self.about["seed"])
        model = MODELS.build(json.loads(json.dumps(self.config)))
        if model.visual is not None:
            model.visual.init_weights()
        return _ready(model)


def _ready(model: "torch.nn.Module") -> "torch.nn.Module":
    return model.to(device()).eval()


# Ways of MMEngine to run what is no class of a registry: other registries, other files, downloads;
# and of timm to read another file.
_WAYS_OUT = ("_scope_", "_base_", "_delete_", "custom_imports", "init_cfg", "checkpoint_path")


def refuse_foreign(config: Any, file: Path) -> None:
    """Check that what came with weights names classes of this project alone.

    Raises:
        PipelineError: If it would run anything else.
    """
    if isinstance(config, dict):
        wrong = [key for key in _WAYS_OUT if config.get(key)]
        if "type" in config and not _is_own(config["type"]):
            wrong.append(config["type"])
        if wrong:
            raise PipelineError(
                f"{file} asks for {wrong[0]!r}, which is no part of this project. "
                "Do not use this file"
            )
        for value in config.values():
            refuse_foreign(value, file)
    elif isinstance(config, list):
        for value in config:
            refuse_foreign(value, file)


def _is_own(name: object) -> bool:
    """Return whether a part of a model of this project has that full name.

    What a module imports, and classes that do more than compute, are none.
    """
    if not isinstance(name, str) or not name.startswith("train."):
        return False
    module, _, leaf = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), leaf, None)
    except (ImportError, ValueError):
        return False
    is_part = inspect.isclass(found) and issubclass(found, nn.Module)
    return is_part and found.__module__ == module


def trained_descriptor(about: dict[str, Any]) -> str:
    """Return what a model was trained to be described by."""
    return "visual" if about["model"].get("visual") else "skeleton"


def has_guide(config: dict[str, Any]) -> bool:
    """Return whether a system has a skeleton encoder beside the visual one, trained before."""
    parts = getattr(MODELS.get(config["type"]), "parts", ())
    return "skeleton" in parts and "skeleton" not in config.get("without", ())


def _describing(about: dict[str, Any], knobs: "EmbedParams", file: Path) -> dict[str, Any]:
    """Return the configuration of a model, set to describe as `embed` asks for."""
    trained = trained_descriptor(about)
    wanted = knobs.descriptor or trained
    config = about["model"] | {"neck": knobs.neck}
    has_both = trained == "visual" and has_guide(config)
    if wanted == "both" and not has_both:
        # Runs of a recipe share the knob; one that has one encoder is described by that.
        wanted = trained
    if wanted != trained:
        if not has_both:
            raise PipelineError(
                f"embed.descriptor is {wanted}, but {file} was trained without such an encoder. "
                "Set embed.descriptor to null"
            )
        config["descriptor"] = wanted
    if wanted == "both":
        config["skeleton_weight"] = _skeleton_weight(about, knobs, file)
    return config


def _skeleton_weight(about: dict[str, Any], knobs: "EmbedParams", file: Path) -> float:
    if knobs.skeleton_weight is not None:
        return knobs.skeleton_weight
    if "skeleton_weight" not in about:
        raise PipelineError(
            f"embed.skeleton_weight is null, and {file} was trained on everybody who could say "
            "what it should be. Set stage2.held_out=12, or the weight to a number"
        )
    return about["skeleton_weight"][knobs.neck]
