"""Arrays and weights that another program could have written: NumPy, MATLAB, safetensors, torch."""

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.io import loadmat, savemat

State = dict[str, torch.Tensor]


def _odd(array: np.ndarray, rng: random.Random) -> tuple[np.ndarray, str]:
    """Return an array of another type, shape or size, or with other numbers."""
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "text": lambda: array.astype(str),
        "complex": lambda: array.astype(complex),
        "bool": lambda: array.astype(bool),
        "int8": lambda: np.zeros(array.shape, np.int8),
        "empty": lambda: array[:0],
        "flat": lambda: array.ravel(),
        "turned": lambda: array.T,
        "scalar": lambda: np.array(3.0),
        "deeper": lambda: array[None, None],
        "shorter": lambda: array[: len(array) // 2] if array.ndim else array,
        "twice": lambda: np.concatenate([array, array]) if array.ndim else array,
        "NaN": lambda: np.full(array.shape, np.nan),
        "infinite": lambda: np.full(array.shape, np.inf),
        "negative": lambda: -np.abs(np.nan_to_num(array.astype(float))) - 1,
        "zero": lambda: np.zeros_like(array),
        "huge": lambda: np.full(array.shape, 1e18),
        "halves": lambda: np.nan_to_num(array.astype(float)) + 0.5,
    }
    name = rng.choice(sorted(kinds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kinds[name](), name


def another_npy(file: Path, rng: random.Random) -> object:
    array, said = _odd(np.load(file), rng)
    file.unlink()
    np.save(file, array)
    return said


def npy_of_objects(file: Path, rng: random.Random) -> None:
    file.unlink()
    np.save(file, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)


def npy_of_records(file: Path, rng: random.Random) -> None:
    file.unlink()
    np.save(file, np.zeros(3, [("a", np.int32), ("b", np.float32)]))


def another_npz(file: Path, rng: random.Random) -> object:
    with np.load(file) as found:
        arrays = dict(found)
    name = rng.choice(sorted(arrays))
    if rng.random() < 0.3:
        arrays[f"{name}2"] = arrays.pop(name)
        said = "renamed"
    else:
        arrays[name], said = _odd(arrays[name], rng)
    file.unlink()
    np.savez(file, **arrays)
    return name, said


def _mat(file: Path) -> dict[str, np.ndarray]:
    if h5py.is_hdf5(file):
        with h5py.File(file) as found:
            return {name: one[()].T for name, one in found.items()}
    return {name: one for name, one in loadmat(file).items() if name[0] != "_"}


def another_mat(file: Path, rng: random.Random) -> object:
    arrays = _mat(file)
    name = rng.choice(sorted(arrays))
    kind = rng.randrange(5)
    said: object = kind
    if kind == 0:
        arrays["other"] = arrays.pop(name)
    elif kind == 1:
        arrays[name] = np.array([["a", "b"]], dtype=object)
    elif kind == 2:
        arrays["more"] = np.zeros((2, 2))
    else:
        arrays[name], said = _odd(arrays[name], rng)
    _write_mat(file, arrays, rng)
    return name, said


def _write_mat(file: Path, arrays: dict[str, np.ndarray], rng: random.Random) -> None:
    file.unlink()
    if rng.random() < 0.5:
        with h5py.File(file, "w") as out:
            for name, one in arrays.items():
                out[name] = one.T.astype("S") if one.dtype.kind in "UO" else one.T
    else:
        savemat(file, arrays)


def hdf5_of_groups(file: Path, rng: random.Random) -> None:
    names = sorted(_mat(file))
    file.unlink()
    with h5py.File(file, "w") as out:
        for name in names:
            out.create_group(name)["x"] = np.zeros(3)


def _tensors(file: Path) -> tuple[State, dict[str, str]]:
    with safe_open(file, "pt") as found:
        return {name: found.get_tensor(name) for name in found.keys()}, found.metadata() or {}  # noqa: SIM118


def another_safetensors(file: Path, rng: random.Random) -> object:
    state, metadata = _tensors(file)
    said = _change(state, rng)
    file.unlink()
    save_file(state, file, metadata)
    return said


def _change(state: State, rng: random.Random) -> object:
    name = rng.choice(sorted(state))
    tensor = state.pop(name)
    kind = rng.choice(["gone", "renamed", "wider", "flat", "int", "empty", "half", "NaN", "scalar"])
    if kind == "renamed":
        state[f"module.{name}"] = tensor
    elif kind == "wider":
        state[name] = torch.cat([tensor.reshape(-1), tensor.reshape(-1)])
    elif kind == "flat":
        state[name] = tensor.reshape(-1, 1).contiguous()
    elif kind == "int":
        state[name] = torch.zeros(tensor.shape, dtype=torch.int32)
    elif kind == "empty":
        state[name] = torch.zeros(0)
    elif kind == "half":
        state[name] = tensor.half()
    elif kind == "NaN":
        state[name] = torch.full(tensor.shape, float("nan"))
    elif kind == "scalar":
        state[name] = torch.tensor(1.0)
    return name, kind


def safetensors_with_odd_words(file: Path, rng: random.Random) -> object:
    state, metadata = _tensors(file)
    if not metadata or rng.random() < 0.3:
        metadata = rng.choice([{}, {"about": "x"}, {"about": "{}"}, {"about": "[]"}, {"a": "b"}])
    else:
        import json

        from tests.disk.texts import _changed

        key = rng.choice(sorted(metadata))
        try:
            node, said = _changed(json.loads(metadata[key]), rng)
        except ValueError:
            node = said = "x"
        metadata[key] = json.dumps(node)
        file.unlink()
        save_file(state, file, metadata)
        return said
    file.unlink()
    save_file(state, file, metadata)
    return metadata


def safetensors_of_nothing(file: Path, rng: random.Random) -> None:
    file.unlink()
    save_file({}, file)


def another_pth(file: Path, rng: random.Random) -> object:
    content = torch.load(file, weights_only=False)
    kinds: dict[str, Any] = {
        "tensor": torch.zeros(3),
        "list": [torch.zeros(3)],
        "none": None,
        "number": 7,
        "empty": {},
        "keys": {1: torch.zeros(3)},
        "nested": {"state_dict": {"a": {"b": torch.zeros(3)}}},
    }
    name = rng.choice([*sorted(kinds), "key gone", "key changed"])
    if name in kinds or not isinstance(content, dict):
        content = kinds.get(name)
    else:
        key = rng.choice(sorted(content))
        content.pop(key)
        name += f" {key}"
        if name.startswith("key changed"):
            content[key] = rng.choice([None, [], {}, 7, torch.zeros(3), "x"])
    file.unlink()
    torch.save(content, file)
    return name


NPY = [another_npy, another_npy, another_npy, npy_of_objects, npy_of_records]
NPZ = [another_npz]
MAT = [another_mat, another_mat, another_mat, hdf5_of_groups]
SAFETENSORS = [
    another_safetensors, another_safetensors, safetensors_with_odd_words,
    safetensors_with_odd_words,
    safetensors_of_nothing,
]  # fmt: skip
PTH = [another_pth]
