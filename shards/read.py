"""Read shards: skeleton columns as shared arrays, frames by random access.

shards = Shards(Path("data/shards/walkers"))
first, length = shards.tracklets.loc[0, ["first", "length"]]
frames = [images.decode(jpeg) for jpeg in shards.jpeg(range(first, first + length))]
"""

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import images, paths, schema
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files import tables
from pipeline.files.tables import TableFile
from pipeline.names import camera_names, listed
from pipeline.paths import file_name
from pipeline.skeleton import H36M17, Layout, layout
from shards.columns import LENGTH_BITS, NO_FRAME, UNKNOWN, cached, frame_places

if TYPE_CHECKING:
    import pandas as pd


class Shards:
    """All shards of a folder as one table of `F` frames, addressed by global row.

    The files follow each other in the order of their names. The joints and the other small columns
    are copied once to `work/` and mapped into memory, so that all processes share them. Parquet
    files are opened on first use, by every process for itself: Arrow and fork do not mix.

    Attributes:
        folder: Where the files lie, or the one file.
        files: The files, in order.
        metadata: File metadata of the first shard.
        layout: The 3D joints.
        cameras: What the dataset's files call a `camid`, where it has a name.
    """

    def __init__(self, folder: Path) -> None:
        """Open the shards of `folder`, or a single one.

        Raises:
            PipelineError: If there are none or one is broken or of another schema version.
        """
        self.folder = Path(folder)
        is_file = self.folder.is_file()
        self.files = [self.folder] if is_file else listed(self.folder, "*.parquet")
        dataset = (self.folder.parent if is_file else self.folder).name
        # A folder does not say who makes it.
        rebuild = f"dvc repro shards@{dataset}, or of skeletons alone dvc repro kinect@{dataset}"
        self.rebuild = rebuild
        if not self.files:
            raise PipelineError(f"{self.folder} holds no shards. Run: {rebuild}")
        found = [schema.check_shard(file, rebuild) for file in self.files]
        self.metadata = schema.metadata(found[0])
        self.cameras: dict[int, str] = {}
        for file, one in zip(self.files, found, strict=True):
            self.cameras |= camera_names(schema.metadata(one), file, f"Run: {rebuild}")
        names = sorted({schema.metadata(one).get("layout3d", H36M17.name) for one in found})
        if len(names) > 1:
            raise PipelineError(
                f"{self.folder} mixes shards of joint layouts {' and '.join(names)}. "
                "Keep each dataset in a folder of its own"
            )
        self.layout: Layout = layout(names[0])
        self._opened: dict[int, TableFile] = {}
        self._pid = os.getpid()
        self._mapped: dict[int, np.ndarray] = {}
        self._arrays: dict[str, np.ndarray] = {}

    def __reduce__(self) -> tuple[type["Shards"], tuple[Path]]:
        """Travel to other processes as a path: arrays and open files stay here."""
        return Shards, (self.folder,)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.status)

    @cached_property
    def tracklets(self) -> "pd.DataFrame":
        """One row per tracklet: `tracklet, pid, camid, split, first, length` and how it was seen.

        That is what `pipeline.schema.VIEW` names, None or NaN where the dataset does not say.
        `first` is the global row of its first frame; its frames follow each other.
        """
        return pq.read_table(self._cache / "tracklets.parquet", use_threads=False).to_pandas()

    @property
    def has_frames(self) -> bool:
        """Whether there are pictures; datasets of skeletons alone have none."""
        return self.metadata.get("embed_frames") != "none"

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
        """Joints of `layout` around its root, camera axes, `(F, J, 3)`."""
        return self._array("xyz")

    @property
    def status(self) -> np.ndarray:
        """How each frame fared, a `pipeline.schema.Status`, `(F,)`."""
        return self._array("status")

    @property
    def interpolated(self) -> np.ndarray:
        """Whether a frame's 3D joints rest on interpolated 2D joints, `(F,)`."""
        return self._array("interpolated")

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

        The first read of a row group notes where in the file each of its frames lies, for all
        processes; from then on only the bytes asked for are read.
        """
        wanted = np.fromiter(rows, np.int64)
        places = self._places[wanted]
        groups = np.searchsorted(self._groups["first"], wanted, side="right") - 1
        found: dict[int, bytes | None] = {}
        is_new = places == UNKNOWN
        if is_new.any():
            for group in np.unique(groups[is_new]):
                found |= self._read_group(int(group), wanted[is_new & (groups == group)])
        at = zip(self._groups["file"][groups].tolist(), places.tolist(), strict=True)
        return [
            found[row] if row in found else self._read_frame(file, place)
            for row, (file, place) in zip(wanted.tolist(), at, strict=True)
        ]

    def silhouettes(self, rows: Iterable[int]) -> list[bytes | None]:
        """Return the silhouettes at some global rows as 1-bit PNG, None where there is none."""
        ends = self._array("silhouette_ends")
        wanted = [(int(ends[row]), int(ends[row + 1])) for row in rows]
        return [self._silhouettes[a:b].tobytes() if b > a else None for a, b in wanted]

    @property
    def has_silhouettes(self) -> bool:
        """Whether any frame has a silhouette."""
        return bool(self._array("silhouette_ends")[-1])

    def paths(self) -> pa.Array:
        """Return where each frame came from, relative to the dataset's folder, `F` strings."""
        fix = f"Run: {self.rebuild}"
        found = [tables.read(file, fix, ["path"]) for file in self.files]
        return pa.concat_tables(found)["path"].combine_chunks()

    def find(self, tracklet: str) -> int:
        """Return the position of a tracklet in `tracklets`.

        Raises:
            PipelineError: If there is none of that name.
        """
        names = self.tracklets["tracklet"]
        at = np.flatnonzero(names == tracklet)
        if not len(at):
            raise PipelineError(
                f"{self.folder}: no tracklet {tracklet!r}. {did_you_mean(tracklet, names[:10000])}"
            )
        return int(at[0])

    def decoded(
        self, row: int, jpeg: bytes | None, shrink: int = 1, into: np.ndarray | None = None
    ) -> np.ndarray:
        """Decode what `jpeg` returned for a global row, as `pipeline.images.decode` does.

        Raises:
            PipelineError: If it is none, or no image: the shard is damaged.
        """
        try:
            return images.decode(jpeg or b"", shrink, into)
        except PipelineError as error:
            starts = self.tracklets["first"].to_numpy()
            at = int(np.searchsorted(starts, row, side="right")) - 1
            group = int(np.searchsorted(self._groups["first"], row, side="right")) - 1
            file = self.files[int(self._groups["file"][group])]
            raise PipelineError(
                f"{file}: frame {row - starts[at]} of {self.tracklets['tracklet'].iat[at]}: "
                f"{error}. Run: {self.rebuild}"
            ) from None

    def rows(self, position: int) -> np.ndarray:
        """Return the global rows of the tracklet at a position of `tracklets`."""
        first, length = (int(self.tracklets[name].iat[position]) for name in ("first", "length"))
        return np.arange(first, first + length)

    @cached_property
    def _is_embedded(self) -> bool:
        # Skeletons alone have the column too, all null.
        return self.metadata.get("embed_frames", "True") != "False"

    def _read_group(self, group: int, wanted: np.ndarray) -> dict[int, bytes | None]:
        first, file, number = (int(x) for x in self._groups[group])
        columns = ["jpeg"] if self._is_embedded else ["path", "status"]
        opened = self._open(file)
        table = opened.groups([number], columns)
        if not self._is_embedded:
            return {row: self._from_path(table, row - first) for row in wanted.tolist()}
        jpegs = table["jpeg"].to_pylist()
        places = frame_places(self._bytes(file), opened.metadata.row_group(number), jpegs)
        self._places[first : first + len(jpegs)] = places
        return {row: jpegs[row - first] for row in wanted.tolist()}

    def _read_frame(self, file: int, place: int) -> bytes | None:
        if place == NO_FRAME:
            return None
        offset, length = place >> LENGTH_BITS, place & (2**LENGTH_BITS - 1)
        return self._bytes(file)[offset : offset + length].tobytes()

    def _from_path(self, table: pa.Table, row: int) -> bytes | None:
        if table["status"][row].as_py() in (schema.Status.MISSING, schema.Status.UNREADABLE):
            return None
        root = paths.dataset_root(self.metadata["dataset"])
        file = paths.below(root, table["path"][row].as_py())
        try:
            return paths.read_bytes(file)
        except FileNotFoundError:
            raise PipelineError(
                f"{file} is gone, and {self.folder} keeps paths only (shards.embed_frames: false). "
                "Put it back or set REID_DATA_ROOT"
            ) from None

    def _open(self, file: int) -> TableFile:
        if self._pid != os.getpid():
            # After a fork: the parent's handles must not be shared.
            self._opened, self._pid = {}, os.getpid()
        if file not in self._opened:
            fix = f"Run: {self.rebuild}"
            self._opened[file] = TableFile(self.files[file], fix, memory_map=True)
        return self._opened[file]

    def _bytes(self, file: int) -> np.ndarray:
        if file not in self._mapped:
            # A plain array on the mapped memory: slicing a memmap runs Python code of its own.
            self._mapped[file] = np.asarray(np.memmap(self.files[file], np.uint8, "r"))
        return self._mapped[file]

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = np.asarray(np.load(self._cache / f"{name}.npy", mmap_mode="r"))
        return self._arrays[name]

    @cached_property
    def _silhouettes(self) -> np.ndarray:
        return np.asarray(np.memmap(self._cache / "silhouettes.bin", np.uint8, "r"))

    @cached_property
    def _places(self) -> np.ndarray:
        """Where each frame lies in its file, `(F,)`: shared, and filled while reading."""
        return np.asarray(np.load(self._cache / "places.npy", mmap_mode="r+"))

    @cached_property
    def _groups(self) -> np.ndarray:
        return np.load(self._cache / "groups.npy")

    @cached_property
    def _cache(self) -> Path:
        return cached(file_name(self.folder.resolve().name), self.files)
