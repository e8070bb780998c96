"""Unfinished work that survives anything: chunks of rows, each a file that is whole or not there.

A stage cuts its input into chunks, always the same way for the same input, and writes each to
`work/<stage>/<dataset>/<fingerprint>/chunk-<number>.parquet`. A killed run leaves the chunks it
finished; the next run makes the others. At the end all are joined into the stage's output folder,
which appears by a rename.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from extract.engine.frames import STAMP, bad_rows
from pipeline import paths, schema
from pipeline.errors import PipelineError
from pipeline.files import tables
from pipeline.names import listed

AGAIN = "Run the same command again"
FILE_FRAMES = 500_000


class ChunkStore:
    """The chunks of one run in one folder."""

    def __init__(self, folder: Path, count: int) -> None:
        """Use `folder` for chunks 0 to `count` - 1."""
        self.folder, self.count = folder, count

    def path(self, number: int) -> Path:
        """Return the file of a chunk."""
        return self.folder / f"chunk-{number:06d}.parquet"

    def missing(self) -> list[int]:
        """Return the numbers of the chunks still to make."""
        there = {file.name for file in listed(self.folder, "chunk-*.parquet")}
        return [number for number in range(self.count) if self.path(number).name not in there]

    def drop_damaged(self) -> list[int]:
        """Forget the finished chunks that cannot be read any more; return their numbers."""
        damaged = []
        for number in sorted(set(range(self.count)) - set(self.missing())):
            try:
                tables.read(self.path(number), AGAIN)
            except PipelineError:
                damaged.append(number)
        self.drop(damaged)
        return damaged

    def clean(self) -> None:
        """Remove what killed runs left half written."""
        for file in self.folder.glob(".*.tmp"):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "output", ignore_errors=True)

    def tables(self) -> Iterator[pa.Table]:
        """Yield all chunks in order."""
        for number in range(self.count):
            yield tables.read(self.path(number), AGAIN)

    def stamps(self) -> Iterator[tuple[int, str | None]]:
        """Yield the number of each chunk that is there, and the stamp of the frames behind it."""
        for number in sorted(set(range(self.count)) - set(self.missing())):
            yield number, schema.metadata(tables.read_schema(self.path(number), AGAIN)).get(STAMP)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget chunks, so that the next run makes them again."""
        for number in numbers:
            path = self.path(number)
            # A folder can lie there too, whoever put it.
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def publish(self, final: Path, metadata: Callable[[str], Mapping[str, object]]) -> int:
        """Join all chunks into `<split>-00000.parquet` and so on, and rename their folder.

        Args:
            final: The stage's output folder.
            metadata: From a split to the text metadata of its files.

        Returns:
            Bytes written.
        """
        output = self.folder / "output"
        output.mkdir()
        writer = _Writer(output, metadata)
        for table in self.tables():
            writer.add(table)
        writer.close()
        size = sum(file.stat().st_size for file in output.iterdir())
        paths.publish_dir(output, final)
        return size

    def remove(self) -> None:
        """Remove all chunks."""
        paths.discard(self.folder)


class _Writer:
    """Writes chunks one after the other, in row groups of 256 frames; no chunk crosses a file."""

    def __init__(self, folder: Path, metadata: Callable[[str], Mapping[str, object]]) -> None:
        self._folder, self._metadata = folder, metadata
        self._numbers: Counter[str] = Counter()
        self._file: pq.ParquetWriter | None = None
        self._split, self._frames = "", 0
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Append a chunk, whose rows are all of one split."""
        if not table.num_rows:
            return
        split = table["split"][0].as_py()
        if split != self._split or self._frames + table.num_rows > FILE_FRAMES:
            self.close()
            self._open(split, table.schema)
        self._frames += table.num_rows
        self._waiting.append(table)
        self._write(whole=False)

    def _open(self, split: str, columns: pa.Schema) -> None:
        path = paths.below(self._folder, f"{split}-{self._numbers[split]:05d}.parquet")
        self._numbers[split] += 1
        self._split, self._frames = split, 0
        columns = schema.with_metadata(columns, split=split, **self._metadata(split))
        self._file = _parquet_writer(path, columns)

    def _write(self, whole: bool) -> None:
        table = pa.concat_tables(self._waiting)
        size = schema.ROW_GROUP_FRAMES
        end = table.num_rows if whole else table.num_rows - table.num_rows % size
        for start in range(0, end, size):
            part = table.slice(start, min(size, end - start)).combine_chunks()
            self._file.write_table(part.cast(self._file.schema), row_group_size=size)
        self._waiting = [table.slice(end)]

    def close(self) -> None:
        """Finish the file at hand, if there is one."""
        if self._file:
            self._write(whole=True)
            self._file.close()
            self._file, self._waiting = None, []


def _parquet_writer(path: Path, columns: pa.Schema) -> pq.ParquetWriter:
    texts = [field.name for field in columns if pa.types.is_string(field.type)]
    return pq.ParquetWriter(
        path, columns, compression="zstd", use_dictionary=texts, write_statistics=["pid", "frame"]
    )


def write_chunk(path: Path, table: pa.Table) -> None:
    """Write one chunk: its file is whole or not there."""
    with paths.write_atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def bad_frames(store: ChunkStore) -> Iterator[tuple[int, str, str]]:
    """Yield chunk, path and status of every missing or unreadable frame."""
    for number, table in enumerate(store.tables()):
        for path, status in bad_rows(table):
            yield number, path, status


def cut(lengths: Sequence[int], groups: Sequence[object], frames: int) -> list[tuple[int, int]]:
    """Cut a list of tracklets into chunks of neighbours.

    Args:
        lengths: Frames of each tracklet.
        groups: What tracklets of one chunk must have in common (their split).
        frames: Size of a chunk to aim at; a longer tracklet is a chunk of its own.

    Returns:
        First tracklet of each chunk and the one behind its last.

    >>> cut([3, 3, 9, 1], ["a", "a", "a", "b"], frames=6)
    [(0, 2), (2, 3), (3, 4)]
    """
    chunks, first, held = [], 0, 0
    for i, (length, group) in enumerate(zip(lengths, groups, strict=True)):
        if i > first and (held + length > frames or group != groups[first]):
            chunks.append((first, i))
            first, held = i, 0
        held += length
    return [*chunks, (first, len(lengths))] if len(lengths) else []
