"""Small columns of shards as arrays in `work/`, mapped into memory by every process that reads."""

import hashlib
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import paths, schema
from pipeline.errors import PipelineError
from pipeline.files import checked, tables
from pipeline.files.arrays import read_npy
from pipeline.files.tables import TableFile
from pipeline.schema import VIEW

# Raised whenever the cached arrays change in kind, so that those of an older program are not read.
CACHE_VERSION = 2
# Name, shape of one row, type. A frame without joints holds NaN. Of `xyz`, H36M-17's.
_COLUMNS = {
    "xy_px": ((17, 2), np.float32),
    "score": ((17,), np.float32),
    "xyz": ((17, 3), np.float32),
    "status": ((), np.int8),
    "interpolated": ((), np.bool_),
    "width": ((), np.int16),
    "height": ((), np.int16),
    "frame_number": ((), np.int32),
}
# A place is an offset in the file and a length in one integer, which is written in one piece
# however many processes fill the same array.
UNKNOWN, NO_FRAME = 0, -1
LENGTH_BITS = 24
_TRACKLET_KEY = ["tracklet", "pid", "camid", "split", *VIEW]


def cached(name: str, files: list[Path]) -> Path:
    """Return the folder of arrays of some shards, made on first use by any process."""
    folder = paths.work_dir("columns", name, _fingerprint(files))
    if _is_whole(folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        _copy_columns(files, made)
        made.rename(folder)
    except OSError:
        # Another process may have been faster: its folder is the same.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """Return whether the arrays are there and can be opened; a damaged one is made again."""
    try:
        for name in ("places", "silhouette_ends", *_COLUMNS):
            read_npy(folder / f"{name}.npy", "", mmap_mode="r")
        tables.read(folder / "tracklets.parquet", "")
        return (folder / "groups.npy").is_file() and (folder / "silhouettes.bin").is_file()
    except PipelineError:
        return False


def joints(column: pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a fixed-size list column as `(rows, *shape)`, NaN where it is null."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    width = array.type.list_size
    values = array.values.slice(array.offset * width, len(array) * width)
    out = values.to_numpy(zero_copy_only=False).reshape(len(array), *shape)
    if array.null_count:
        out = np.where(array.is_null().to_numpy(False).reshape(-1, *[1] * len(shape)), np.nan, out)
    return out.astype(np.float32, copy=False)


def frame_places(
    file: np.ndarray, group: pq.RowGroupMetaData, jpegs: list[bytes | None]
) -> np.ndarray:
    """Find where each frame of a row group lies in the mapped file, after its length.

    Shards keep frames neither compressed nor in a dictionary; where another program rewrote a
    file so that they do not stand there as they are, their places remain unknown.
    """
    columns = (group.column(i) for i in range(group.num_columns))
    chunk = next(column for column in columns if column.path_in_schema == "jpeg")
    start = chunk.data_page_offset
    data = file[start : start + chunk.total_compressed_size].tobytes()
    places = np.full(len(jpegs), UNKNOWN, np.int64)
    at = 0
    for i, jpeg in enumerate(jpegs):
        if jpeg is None:
            places[i] = NO_FRAME
            continue
        found = data.find(len(jpeg).to_bytes(4, "little") + jpeg, at)
        if found < 0 or len(jpeg) >= 2**LENGTH_BITS:
            break
        at = found + 4 + len(jpeg)
        places[i] = (start + found + 4) << LENGTH_BITS | len(jpeg)
    return places


def _fingerprint(files: list[Path]) -> str:
    """Return hex digits that change when a file is replaced, without reading all of it."""
    digest = hashlib.sha256(str(CACHE_VERSION).encode())
    for file in files:
        stat = file.stat()
        digest.update(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _copy_columns(files: list[Path], folder: Path) -> None:
    """Copy the small columns of all files to one array each, a row group at a time."""
    rebuild = f"Run: dvc repro shards@{files[0].parent.name}"
    opened = [TableFile(file, rebuild) for file in files]
    frames = sum(map(len, opened))
    if not frames:
        raise PipelineError(f"{files[0]} holds no frames. {rebuild}")
    numbers = opened[0].schema.field("xyz").type.list_size
    kinds = _COLUMNS | {"xyz": ((numbers // 3, 3), np.float32)}
    arrays = {
        name: mapped(folder / f"{name}.npy", dtype, (frames, *shape))
        for name, (shape, dtype) in kinds.items()
    }
    groups, keys, start = [], [], 0
    with closing(Silhouettes(folder, frames)) as silhouettes:
        for i, file in enumerate(opened):
            for group in range(file.metadata.num_row_groups):
                table = _read_group(file, group, [*_TRACKLET_KEY, "frame", "silhouette", *kinds])
                checked.check_rows(table, file.path, rebuild)
                checked.check_order(table, file.path, rebuild, begun=group > 0)
                silhouettes.add(table["silhouette"])
                stop = start + len(table)
                _fill(arrays, table, start, stop)
                is_first = table["frame"].to_numpy() == 0
                firsts = pa.array(np.flatnonzero(is_first))
                starts = pa.array(np.flatnonzero(is_first) + start, pa.int64())
                keys.append(table.select(_TRACKLET_KEY).take(firsts).append_column("first", starts))
                groups.append((start, i, group))
                start = stop
    for array in arrays.values():
        array.flush()
    np.save(folder / "places.npy", np.full(frames, UNKNOWN, np.int64))
    fields = [("first", np.int64), ("file", np.int32), ("group", np.int32)]
    np.save(folder / "groups.npy", np.array(groups, dtype=fields))
    _write_tracklets(pa.concat_tables(keys), frames, files, rebuild, folder)


def _fill(arrays: dict[str, np.memmap], table: pa.Table, start: int, stop: int) -> None:
    """Copy the columns of a row group to their rows of the arrays."""
    for name, array in arrays.items():
        if array.ndim > 1:
            array[start:stop] = joints(table[name], array.shape[1:])
        else:
            filled = table[name].fill_null(False if array.dtype == np.bool_ else 0)
            array[start:stop] = filled.to_numpy()


def _write_tracklets(
    tracklets: pa.Table, frames: int, files: list[Path], rebuild: str, folder: Path
) -> None:
    """Write the table of tracklets, each with the `length` that the next one's `first` gives."""
    names = zip(*(tracklets[name].to_pylist() for name in ("split", "tracklet")), strict=True)
    if len(set(names)) < len(tracklets):
        raise PipelineError(
            f"{files[0].parent}: a tracklet stands twice in {_some(files)}. {rebuild}"
        )
    bounds = np.append(tracklets["first"].to_numpy(), frames)
    tracklets = tracklets.append_column("length", pa.array(np.diff(bounds)))
    pq.write_table(tracklets, folder / "tracklets.parquet")


def _some(files: list[Path]) -> str:
    return ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")


def mapped(file: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """Return a new array mapped to a file, whose place on the disk is taken at once.

    A disk that is full when a mapped page is written ends the process without a word.
    """
    made = np.lib.format.open_memmap(file, "w+", dtype, shape)
    with file.open("rb+") as opened:
        os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return made


def _read_group(file: TableFile, group: int, names: list[str]) -> pa.Table:
    """Read columns of a row group, of whatever version, under the names of this one."""
    table = file.groups([group], schema.stored(names, file.schema))
    xyz = file.schema.field("xyz")
    fields = [xyz if name == "xyz" else schema.SHARD.field(name) for name in names]
    return schema.current(table, pa.schema(fields))


class Silhouettes:
    """Writes the silhouettes of all frames one after the other, and where each ends."""

    def __init__(self, folder: Path, frames: int) -> None:
        """Open the two files of a folder for so many frames."""
        self._file = (folder / "silhouettes.bin").open("wb")
        self._ends = mapped(folder / "silhouette_ends.npy", np.int64, (frames + 1,))
        self._frames = 0

    def add(self, column: pa.ChunkedArray) -> None:
        """Append a column of encoded pictures; where it is null there is none."""
        for picture in column.to_pylist():
            self._frames += 1
            written = self._file.write(picture) if picture else 0
            self._ends[self._frames] = self._ends[self._frames - 1] + written

    def close(self) -> None:
        """Finish both."""
        self._file.close()
        self._ends.flush()
