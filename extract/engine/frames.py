"""Notice frames that changed after their joints were found, without reading all of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import paths, schema
from pipeline.files import tables
from pipeline.names import listed
from pipeline.schema import Status

# Under this name the table of an unfinished chunk carries the stamp of its frames.
STAMP = "frames"

_BAD = pa.array([Status.MISSING, Status.UNREADABLE], pa.int8())


@dataclass(frozen=True)
class FrameFiles:
    """The frames of a dataset.

    Attributes:
        root: The dataset's folder.
    """

    root: Path

    def stamp(self, tracklets: pa.Table) -> str:
        """Return what changes with size or time of change of any frame of these index rows."""
        digest = hashlib.sha256()
        for name in pc.list_flatten(tracklets["frames"]).to_pylist():
            try:
                found = paths.below(self.root, name).stat()
                digest.update(b"%d %d;" % (found.st_size, found.st_mtime_ns))
            except OSError:
                digest.update(b"-;")
        return digest.hexdigest()[:16]

    def repaired(self, folder: Path) -> Iterator[str]:
        """Yield the frames that are bad in the tables of `folder`, but can be read now."""
        from pipeline import images

        for file in listed(folder, "*.parquet"):
            fix = "Delete it and run the same command again"
            for name, _ in bad_rows(tables.read(file, fix, ["path", "status"])):
                if images.read(paths.below(self.root, name))[1] == Status.OK:
                    yield name


def bad_rows(table: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield path and status of every missing or unreadable frame."""
    rows = table.filter(pc.is_in(table["status"], _BAD)).select(["path", "status"])
    for row in rows.to_pylist():
        yield row["path"], schema.Status(row["status"]).name.lower()
