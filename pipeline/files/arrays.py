"""Files of arrays: NumPy's, and MATLAB's of every version."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.files.reading import reading

_HDF5 = b"\x89HDF\r\n\x1a\n"
# Where HDF5 may begin: MATLAB writes 512 bytes of its own before it.
_HDF5_PLACES = (0, 512, 1024, 2048)


def read_npy(path: Path, fix: str, mmap_mode: Any = None) -> np.ndarray:
    """Return the array of numbers in a `.npy` file, read or mapped into memory.

    Raises:
        PipelineError: If the file is missing, damaged, or holds something else.
    """
    with reading(path, ".npy array", fix):
        found = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
            raise ValueError("it holds no numbers")
        return found


def read_npz(path: Path, names: tuple[str, ...], fix: str) -> list[np.ndarray]:
    """Return some arrays of a `.npz` file.

    Raises:
        PipelineError: If the file is missing or damaged or lacks one.
    """
    with reading(path, ".npz archive", fix), np.load(path, allow_pickle=False) as found:
        return [found[name] for name in names]


def read_mat(path: Path, key: str, fix: str, others: tuple[str, ...] = ()) -> np.ndarray:
    """Read one array of a MATLAB file, of version 4 to 7.3.

    Args:
        path: The file.
        key: The array.
        fix: What to do when it is damaged.
        others: What the array is called in other copies. Where it has none of these names and the
            file holds a single array, that is taken.

    Returns:
        The array as MATLAB shows it: rows first, two axes.

    Raises:
        PipelineError: If the file is missing or damaged, or has no such array of numbers.
    """
    with reading(path, "MATLAB file", fix):
        arrays = _hdf5(path) if _is_hdf5(path) else _version_5(path)
    known = [name for name in (key, *others) if name in arrays] or list(arrays)[: len(arrays) == 1]
    if not known:
        raise PipelineError(
            f"{path} has no array {key}. It holds {', '.join(sorted(arrays)) or 'none'}. {fix}"
        )
    found = np.asarray(arrays[known[0]])
    if found.dtype.kind not in "biuf" or found.ndim != 2:
        raise PipelineError(f"{path}: {known[0]} is no table of numbers. {fix}")
    return found


def whole(path: Path, found: np.ndarray, fix: str) -> np.ndarray:
    """Return numbers as int64; those that are none are never cut.

    Raises:
        PipelineError: If a number is no whole one.
    """
    numbers = found.astype(np.float64)
    # Beyond 2^53 a float64 does not tell whole numbers apart.
    if not (np.abs(numbers) < 2.0**53).all() or (numbers % 1).any():
        raise PipelineError(f"{path} holds numbers that are no whole ones. {fix}")
    return found.astype(np.int64)


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        for place in _HDF5_PLACES:
            file.seek(place)
            if file.read(len(_HDF5)) == _HDF5:
                return True
    return False


def _hdf5(path: Path) -> dict[str, Any]:
    """Return the arrays of version 7.3, turned: HDF5 counts a matrix's columns first."""
    import h5py

    with h5py.File(path) as file:
        found = {name: one for name, one in file.items() if isinstance(one, h5py.Dataset)}
        return {name: np.atleast_2d(one[()]).T for name, one in found.items()}


def _version_5(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    return {name: one for name, one in loadmat(path).items() if not name.startswith("__")}
