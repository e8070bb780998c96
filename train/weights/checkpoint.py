"""Weights on disk: our own as safetensors, and what others published under other names.

Nothing here runs code that a file brings along: pickles are read with `weights_only`, and the
TorchScript archives OpenAI publishes with an unpickler that knows tensors and nothing else.
"""

import json
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.paths import write_atomic
from train.weights.renaming import CLIP, TIMM_CNN, TIMM_VIT, State, rename


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


def load_visual(encoder: nn.Module, path: Path) -> None:
    """Load a published image model into a `VitEncoder` or `CnnEncoder`.

    OpenAI's archives, open_clip's and timm's checkpoints are told apart by the names they hold.
    Positions learnt on another grid are resampled; the projection and the cameras keep their first
    values when the file has none.

    Args:
        encoder: Built for the same architecture.
        path: The file, or a folder that holds one file.

    Raises:
        PipelineError: If there is no file, or it belongs to another architecture.
    """
    from train.parts.image import VitEncoder, resize_pos_embed

    file = _one_file(path)
    state = _image_tower(_read(file))
    if "class_embedding" in state:
        rules = CLIP
    else:
        rules = TIMM_VIT if isinstance(encoder, VitEncoder) else TIMM_CNN
    state = rename(state, rules)
    own = encoder.state_dict()
    if "vit.pos_embed" in state and "vit.pos_embed" in own:
        vit = encoder.vit
        prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
        state["vit.pos_embed"] = resize_pos_embed(
            state["vit.pos_embed"].float(), vit.patch_embed.grid_size, prefix
        )
    kept = {name: own[name] for name in ("proj.weight", "cameras.weight") if name in own}
    state = {name: value.float() for name, value in state.items() if name in own}
    load_part(encoder, kept | state, "", file)


def _one_file(path: Path) -> Path:
    files = [path] if path.is_file() else sorted(path.glob("*.*")) if path.is_dir() else []
    if len(files) != 1:
        raise PipelineError(
            f"{path} is {'no' if not files else 'not one'} file of weights. "
            f"Run: python -m extract.weights --model {path.stem}"
        )
    return files[0]


def _image_tower(state: Mapping[str, Tensor]) -> State:
    """Return the image tower alone, without the prefixes that wrappers add."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    tower = {
        name.removeprefix("visual.").removeprefix("trunk."): value
        for name, value in state.items()
        if name.startswith("visual.")
    }
    return tower or state


def _read(file: Path) -> State:
    if file.suffix == ".safetensors":
        return load(file)[0]
    try:
        if zipfile.is_zipfile(file) and _is_torchscript(file):
            return _read_torchscript(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise PipelineError(f"{file} holds more than weights, or is damaged: {reason}") from None
    for key in ("state_dict", "model"):
        state = state.get(key, state)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _is_torchscript(file: Path) -> bool:
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


class _Module:
    """Stands for a module of a TorchScript archive: its attributes, none of its code."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _TensorUnpickler(pickle.Unpickler):
    """Reads the objects of a TorchScript archive and makes tensors and empty modules only."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if module == "torch.jit._pickle":
            # Typed lists and the like: the plain value says as much.
            return lambda value, *_: value
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0)


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    if not math.prod(size):
        return storage.new_empty(size)
    return storage.as_strided(size, stride, offset).clone()


def _read_torchscript(file: Path) -> State:
    with zipfile.ZipFile(file) as archive:
        root = archive.namelist()[0].split("/")[0]
        return dict(_named_tensors(_TensorUnpickler(archive, root).load(), ""))


def _named_tensors(module: _Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, _Module):
            yield from _named_tensors(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{name}", value
