"""Weights that this project publishes: safetensors, with what a reader should know of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.paths import write_atomic
from train.weights.renaming import State


def save(path: Path, module: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Publish a module's parameters and buffers, with what a reader should know about them.

    Args:
        path: A `.safetensors` file.
        module: What to save.
        metadata: Anything JSON can hold.
    """
    state = {name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
    with write_atomic(path) as temporary:
        save_file(state, temporary, {key: json.dumps(value) for key, value in metadata.items()})


def load(path: Path) -> tuple[State, dict[str, Any]]:
    """Return what `save` wrote: the parameters and the metadata.

    Raises:
        PipelineError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise PipelineError(f"{path} is missing. Run: dvc repro") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise PipelineError(f"{path} cannot be read ({error}). Run: dvc repro -f") from None


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
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("about")
            return None if text is None else json.loads(text)
    except (SafetensorError, OSError, ValueError) as error:
        raise PipelineError(f"{path} cannot be read ({error}). Make it again") from None
