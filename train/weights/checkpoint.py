"""Weights that this project publishes: safetensors, with what a reader should know of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.files import tensors
from train.weights.renaming import State

# What may be missing. PyTorch before 1.0 counted no batches, and nothing here needs the count; an
# encoder that saw visible light alone says nothing of infrared (`train.encoders.stems`).
_FROM_NOTHING = ("num_batches_tracked", ".infrared")


def save(path: Path, module: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Publish a module's parameters and buffers, with what a reader should know about them.

    Args:
        path: A `.safetensors` file.
        module: What to save.
        metadata: Anything JSON can hold.
    """
    state = {name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
    with paths.write_atomic(path) as temporary:
        save_file(state, temporary, {key: json.dumps(value) for key, value in metadata.items()})


def load(path: Path) -> tuple[State, dict[str, Any]]:
    """Return what `save` wrote: the parameters and the metadata.

    Raises:
        PipelineError: If the file is missing or damaged.
    """
    state, metadata = tensors.read_safetensors(path, again(path))
    return state, tensors.parsed(metadata)


def load_part(module: nn.Module, state: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Load the parameters under a prefix of a published file into one part of a model.

    Args:
        module: The part.
        state: All parameters of the file.
        prefix: Name of the part in the file, as `skeleton.`.
        path: The file, for messages.

    Raises:
        PipelineError: If names or shapes differ.
    """
    part = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    missing = {name for name in own.keys() - part.keys() if name.endswith(_FROM_NOTHING)}
    part |= {name: module.state_dict()[name] for name in missing}
    found = {name: tuple(value.shape) for name, value in part.items()}
    for name in sorted(own.keys() | found.keys()):
        if own.get(name) != found.get(name):
            raise PipelineError(
                f"{path} does not fit the model: {prefix}{name} is {found.get(name, 'missing')} "
                f"there and {own.get(name, 'missing')} here. Make both with the same settings"
            )
    module.load_state_dict(part)


def published(path: Path) -> dict[str, Any] | None:
    """Return what stands in a file of weights about itself; None if this project did not write it.

    Raises:
        PipelineError: If the file is damaged.
    """
    about = tensors.read_metadata(path, again(path)).get("about")
    if about is not None and not isinstance(about, dict):
        raise PipelineError(f"{path} does not say what it is. {again(path)}")
    return about


def made_by(path: Path) -> str | None:
    """Return the command that makes what a training stage publishes; None for other files."""
    if path.stem in ("stage1", "stage2"):
        return f"dvc repro {path.stem}@{path.parent.name}"
    return None


def again(path: Path) -> str:
    """Return what to do when a file of weights is damaged."""
    command = made_by(path)
    if command:
        return f"Run: {command.replace('repro', 'repro -f')}"
    return "Make it again, or copy it again from where it came"
