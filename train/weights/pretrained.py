"""Image models that others published, under whatever names.

Nothing here runs code that a file brings along: pickles are read with `weights_only`, and the
TorchScript archives OpenAI publishes with an unpickler that knows tensors and nothing else.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.files import tensors
from pipeline.files.reading import reading
from pipeline.names import listed
from train.weights.checkpoint import load_part
from train.weights.renaming import CLIP, State, from_hugging_face, rename


def load_visual(encoder: nn.Module, path: Path) -> None:
    """Load a published image model into a visual encoder.

    OpenAI's archives, open_clip's and timm's checkpoints are told apart by the names they hold.
    Positions learnt on another grid are resampled; the projection and the cameras keep their first
    values when the file has none.

    Args:
        encoder: Built for the same architecture; its `rules` rename what timm calls its parts.
        path: The file, or a folder that holds one file.

    Raises:
        PipelineError: If there is no file, or it belongs to another architecture.
    """
    file = _one_file(path)
    state = _image_tower(_read(file))
    try:
        state = rename(state, CLIP if "class_embedding" in state else encoder.rules)
    except PipelineError as error:
        raise PipelineError(f"{file}: {error}. {_FIX}") from None
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
    files = [path] if path.is_file() else listed(path, "*.*") if path.is_dir() else []
    if len(files) != 1:
        raise PipelineError(
            f"{path} is {'no' if not files else 'not one'} file of weights. "
            f"Run: python -m extract.weights --model {path.stem}"
        )
    return files[0]


def _image_tower(state: State) -> State:
    """Return the image tower alone, under the names that its publisher gave it."""
    if any(name.startswith("vision_model.") for name in state):
        return from_hugging_face(state)
    tower = {
        name.removeprefix("visual.").removeprefix("trunk."): value
        for name, value in state.items()
        if name.startswith("visual.")
    }
    return tower or state


def _read(file: Path) -> State:
    if file.suffix == ".safetensors":
        state, fix = tensors.read_safetensors(file, _FIX)[0], _FIX
        return tensors.states(state, file, fix)
    with reading(file, "file of weights", _FIX):
        if zipfile.is_zipfile(file) and _is_torchscript(file):
            return _read_torchscript(file)
    return tensors.states(tensors.read_pickle(file, _FIX), file, _FIX)


def _is_torchscript(file: Path) -> bool:
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


_FIX = "Give a checkpoint of an image model"
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


def resize_pos_embed(pos_embed: Tensor, grid: tuple[int, int], prefix: int = 1) -> Tensor:
    """Resample a square grid of positions to another, bilinearly.

    Args:
        pos_embed: `(1, prefix + S * S, C)`.
        grid: Rows and columns to make.
        prefix: Tokens before the grid, which stay as they are.
    """
    return resample_abs_pos_embed(
        pos_embed, list(grid), num_prefix_tokens=prefix, interpolation="bilinear", antialias=False
    )
