"""Read shards: skeleton columns as shared arrays, frames by random access.

shards = Shards(Path("data/shards/walkers"))
first, length = shards.tracklets.loc[0, ["first", "length"]]
frames = [decode(jpeg) for jpeg in shards.jpeg(range(first, first + length))]
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import paths, schema
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import pandas as pd

# Raised whenever the cached arrays change in kind, so that those of an older program are not read.
CACHE_VERSION = 1
# Name, shape of one row, type. A frame without joints holds NaN.
_COLUMNS = {
    "xy_px": ((17, 2), np.float32),
    "score": ((17,), np.float32),
    "xyz": ((17, 3), np.float32),
    "status": ((), np.int8),
    "bridged": ((), np.bool_),
    "width": ((), np.int16),
    "height": ((), np.int16),
    "frame_number": ((), np.int32),
}
_TRACKLET_KEY = ["tracklet", "pid", "camid", "split"]


class Shards:
    """All shards of a folder as one table of `F` frames, addressed by global row.

    The files follow each other in the order of their names. The joints and the other small columns
    are copied once to `work/` and mapped into memory, so that all processes share them. Frames are
    read from the Parquet files, which every process opens for itself: Arrow and fork do not mix.

    Attributes:
        folder: Where the files lie.
        files: The files, in order.
        metadata: File metadata of the first shard.
    """

    def __init__(self, folder: Path) -> None:
        """Open the shards of `folder`.

        Raises:
            PipelineError: If there are none or one is broken or of another schema version.
        """
        self.folder = Path(folder)
        self.files = sorted(self.folder.glob("*.parquet"))
        rebuild = f"dvc repro shards@{self.folder.name}"
        if not self.files:
            raise PipelineError(f"{self.folder} holds no shards. Run: {rebuild}")
        found = [schema.check(file, schema.SHARD, rebuild) for file in self.files]
        self.metadata = schema.metadata(found[0])
        self._opened: dict[int, pq.ParquetFile] = {}
        self._pid = os.getpid()

    def __reduce__(self) -> tuple[type["Shards"], tuple[Path]]:
        """Travel to other processes as a path: arrays and open files stay here."""
        return Shards, (self.folder,)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.status)

    @cached_property
    def tracklets(self) -> "pd.DataFrame":
        """One row per tracklet: `tracklet, pid, camid, split, first, length`.

        `first` is the global row of its first frame; its frames follow each other.
        """
        return pq.read_table(self._cache / "tracklets.parquet", use_threads=False).to_pandas()

    @property
    def xy_px(self) -> np.ndarray:
        """COCO-17 joints in pixels of the stored frame, `(F, 17, 2)`."""
        return self._array("xy_px")

    @property
    def score(self) -> np.ndarray:
        """Confidence of each 2D joint in `[0, 1]`, `(F, 17)`."""
        return self._array("score")

    @property
    def xyz(self) -> np.ndarray:
        """H36M-17 joints around the pelvis, camera axes, `(F, 17, 3)`."""
        return self._array("xyz")

    @property
    def status(self) -> np.ndarray:
        """How each frame fared, a `pipeline.schema.Status`, `(F,)`."""
        return self._array("status")

    @property
    def bridged(self) -> np.ndarray:
        """Whether a frame's 3D joints rest on interpolated 2D joints, `(F,)`."""
        return self._array("bridged")

    @property
    def width(self) -> np.ndarray:
        """Width of each frame in pixels, 0 where there is none, `(F,)`."""
        return self._array("width")

    @property
    def height(self) -> np.ndarray:
        """Height of each frame in pixels, 0 where there is none, `(F,)`."""
        return self._array("height")

    @property
    def frame_number(self) -> np.ndarray:
        """The dataset's own frame numbers, `(F,)`."""
        return self._array("frame_number")

    def jpeg(self, rows: Iterable[int]) -> list[bytes | None]:
        """Return the encoded frames at some global rows, None where a frame is bad.

        Rows of one tracklet usually lie in one row group, which is read once.
        """
        wanted = np.asarray(rows if isinstance(rows, Sequence) else list(rows), dtype=np.int64)
        columns = ["jpeg"] if self._is_embedded else ["path", "status"]
        found: dict[int, bytes | None] = {}
        groups = np.searchsorted(self._groups["first"], wanted, side="right") - 1
        for group in np.unique(groups):
            first, file, number = (int(x) for x in self._groups[group])
            table = self._open(file).read_row_group(number, columns=columns, use_threads=False)
            for row in wanted[groups == group]:
                found[int(row)] = self._encoded(table, int(row) - first)
        return [found[int(row)] for row in wanted]

    def find(self, tracklet: str) -> int:
        """Return the position of a tracklet in `tracklets`.

        Raises:
            PipelineError: If there is none of that name.
        """
        from pipeline.errors import did_you_mean

        names = self.tracklets["tracklet"]
        at = np.flatnonzero(names == tracklet)
        if not len(at):
            raise PipelineError(
                f"{self.folder}: no tracklet {tracklet!r}. {did_you_mean(tracklet, names[:10000])}"
            )
        return int(at[0])

    def rows(self, position: int) -> np.ndarray:
        """Return the global rows of the tracklet at a position of `tracklets`."""
        first, length = (int(self.tracklets[name].iat[position]) for name in ("first", "length"))
        return np.arange(first, first + length)

    @cached_property
    def _is_embedded(self) -> bool:
        return self.metadata.get("embed_frames", "True") == "True"

    def _encoded(self, table: pa.Table, row: int) -> bytes | None:
        if self._is_embedded:
            return table["jpeg"][row].as_py()
        if table["status"][row].as_py() in (schema.Status.MISSING, schema.Status.UNREADABLE):
            return None
        file = paths.dataset_root(self.metadata["dataset"]) / table["path"][row].as_py()
        try:
            return file.read_bytes()
        except FileNotFoundError:
            raise PipelineError(
                f"{file} is gone, and {self.folder} keeps paths only (shards.embed_frames: false). "
                "Put it back or set REID_DATA_ROOT"
            ) from None

    def _open(self, file: int) -> pq.ParquetFile:
        if self._pid != os.getpid():
            # After a fork: the parent's handles must not be shared.
            self._opened, self._pid = {}, os.getpid()
        if file not in self._opened:
            self._opened[file] = pq.ParquetFile(self.files[file], memory_map=True)
        return self._opened[file]

    def _array(self, name: str) -> np.ndarray:
        if name not in self.__dict__.setdefault("_arrays", {}):
            self._arrays[name] = np.load(self._cache / f"{name}.npy", mmap_mode="r")
        return self._arrays[name]

    @cached_property
    def _groups(self) -> np.ndarray:
        return np.load(self._cache / "groups.npy")

    @cached_property
    def _cache(self) -> Path:
        """Folder of the arrays, made on first use by any process."""
        folder = paths.work_dir("columns", self.folder.name, _fingerprint(self.files))
        if not folder.is_dir():
            made = folder.with_name(f".{folder.name}.{os.getpid()}")
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            try:
                _copy_columns(self.files, made)
                made.rename(folder)
            except OSError:
                # Another process was faster: its folder is the same.
                if not folder.is_dir():
                    raise
            finally:
                shutil.rmtree(made, ignore_errors=True)
        return folder


def decode(jpeg: bytes) -> np.ndarray:
    """Decode an encoded frame to `(H, W, 3)` RGB uint8.

    Raises:
        PipelineError: If the bytes are no image.
    """
    import cv2

    data = np.frombuffer(jpeg, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
    if image is None:
        raise PipelineError(f"a frame of {len(data)} bytes does not decode as an image")
    return image


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


def _fingerprint(files: list[Path]) -> str:
    """Return hex digits that change when a file is replaced, without reading all of it."""
    digest = hashlib.sha256(str(CACHE_VERSION).encode())
    for file in files:
        stat = file.stat()
        digest.update(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _copy_columns(files: list[Path], folder: Path) -> None:
    """Copy the small columns of all files to one array each, a row group at a time."""
    opened = [pq.ParquetFile(file) for file in files]
    frames = sum(file.metadata.num_rows for file in opened)
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (frames, *shape))
        for name, (shape, dtype) in _COLUMNS.items()
    }
    groups, keys, start = [], [], 0
    for i, file in enumerate(opened):
        for group in range(file.num_row_groups):
            columns = [*_TRACKLET_KEY, "frame", *_COLUMNS]
            table = file.read_row_group(group, columns=columns, use_threads=False)
            stop = start + len(table)
            for name, (shape, dtype) in _COLUMNS.items():
                if shape:
                    arrays[name][start:stop] = joints(table[name], shape)
                else:
                    filled = table[name].fill_null(False if dtype is np.bool_ else 0)
                    arrays[name][start:stop] = filled.to_numpy()
            is_first = table["frame"].to_numpy() == 0
            firsts = pa.array(np.flatnonzero(is_first))
            starts = pa.array(np.flatnonzero(is_first) + start, pa.int64())
            keys.append(table.select(_TRACKLET_KEY).take(firsts).append_column("first", starts))
            groups.append((start, i, group))
            start = stop
    for array in arrays.values():
        array.flush()
    fields = [("first", np.int64), ("file", np.int32), ("group", np.int32)]
    np.save(folder / "groups.npy", np.array(groups, dtype=fields))
    tracklets = pa.concat_tables(keys)
    bounds = np.append(tracklets["first"].to_numpy(), frames)
    tracklets = tracklets.append_column("length", pa.array(np.diff(bounds)))
    pq.write_table(tracklets, folder / "tracklets.parquet")
