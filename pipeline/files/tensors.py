"""Files of weights. Nothing here runs code that a file brings along."""

import json
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.files.reading import reading

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

_ASKED = re.compile(r"GLOBAL (\S+)")


def read_safetensors(path: Path, fix: str) -> "tuple[State, dict[str, str]]":
    """Return the tensors of a safetensors file by name, and its metadata.

    Raises:
        PipelineError: If the file is missing or damaged.
    """
    from safetensors import safe_open

    with reading(path, "safetensors file", fix), safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def read_metadata(path: Path, fix: str) -> dict[str, Any]:
    """Return the metadata of a safetensors file, whose values this project writes as JSON.

    Raises:
        PipelineError: If the file is missing or damaged.
    """
    from safetensors import safe_open

    with reading(path, "safetensors file", fix), safe_open(path, "pt") as file:
        return parsed(file.metadata() or {})


def parsed(metadata: dict[str, str]) -> dict[str, Any]:
    """Return metadata whose values are JSON; those of others are left as text."""
    found: dict[str, Any] = {}
    for key, text in metadata.items():
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def read_pickle(path: Path, fix: str) -> Any:
    """Return what `torch.save` wrote, of tensors and plain values alone.

    Raises:
        PipelineError: If the file is missing or damaged, or holds more than that.
    """
    import torch

    with reading(path, "file of weights", fix):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # PyTorch adds a page of advice, of which half is to trust the file.
            asked = _ASKED.search(str(error))
            raise ValueError(
                f"it asks for code: {asked[1]}" if asked else "it is damaged, or holds code"
            ) from error


# Under which keys training code keeps the weights, the averaged ones last: they are what is left
# where a file holds nothing else.
_STATES = ("state_dict", "model", "model_state_dict", "net", "module", "weights")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher", "shadow")
# What wrappers put before every name: Lightning, torch.compile, DataParallel, averaging.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "ema.", "ema_model.", "online.")


def states(content: Any, path: Path, fix: str) -> "State":
    """Return the named tensors among what a training program saved, without wrappers' prefixes.

    Args:
        content: What the file holds.
        path: The file.
        fix: What to do.

    Raises:
        PipelineError: If there are none.
    """
    import torch

    while isinstance(content, dict):
        tensors = {key: one for key, one in content.items() if isinstance(one, torch.Tensor)}
        inside = next(
            (key for key in (*_STATES, *_AVERAGED) if isinstance(content.get(key), dict)), None
        )
        if inside is None:
            break
        content = content[inside]
    else:
        what = "a bare tensor" if isinstance(content, torch.Tensor) else type(content).__name__
        raise PipelineError(f"{path} holds {what} and no named weights. {fix}")
    named = {key: one for key, one in tensors.items() if isinstance(key, str)}
    # How many averages were taken is no weight.
    named.pop("n_averaged", None)
    if not named:
        raise PipelineError(f"{path} holds no named weights. {fix}")
    return without_prefixes(named)


def without_prefixes(state: "State") -> "State":
    """Take away what wrappers put before every name, however many of them.

    >>> without_prefixes({"module.model.fc.bias": 1, "module.model.fc.weight": 2})
    {'fc.bias': 1, 'fc.weight': 2}
    """
    while state:
        found = next((one for one in _PREFIXES if all(key.startswith(one) for key in state)), None)
        if found is None or any(key == found for key in state):
            return state
        state = {key.removeprefix(found): one for key, one in state.items()}
    return state
