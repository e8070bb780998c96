"""Parquet files, whole or a row group at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files.reading import reading

KIND = "Parquet file"


def read_schema(path: Path, fix: str) -> pa.Schema:
    """Return the schema of a file, with all its metadata as text.

    Raises:
        PipelineError: If the file is missing or damaged.
    """
    with reading(path, KIND, fix), pq.ParquetFile(path) as file:
        found = file.schema_arrow
        # What a writer added when all rows were written stands beside the schema, not in it.
        added = dict(file.metadata.metadata or {})
        added.pop(b"ARROW:schema", None)
        found = found.with_metadata({**(found.metadata or {}), **added})
        texts(found)
        return found


def texts(schema: pa.Schema) -> dict[str, str]:
    """Return the metadata of a schema as text."""
    return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}


def read(path: Path, fix: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return some columns of a file, or all, checked down to the text in them.

    Raises:
        PipelineError: If the file is missing or damaged or lacks a column.
    """
    with TableFile(path, fix) as file:
        return file.read(columns)


class TableFile:
    """An open file of row groups.

    Attributes:
        path: The file.
        fix: What to do when it is damaged.
        metadata: What its footer says.
        schema: Its columns.
    """

    def __init__(self, path: Path, fix: str, memory_map: bool = False) -> None:
        """Open it and read its footer.

        Raises:
            PipelineError: If it is missing or damaged.
        """
        self.path, self.fix = path, fix
        with reading(path, KIND, fix):
            self._file = pq.ParquetFile(path, memory_map=memory_map)
            self.metadata = self._file.metadata
            self.schema = self._file.schema_arrow
            if len(set(self.schema.names)) < len(self.schema.names):
                raise ValueError("a column stands twice in it")

    def __enter__(self) -> "TableFile":
        """Return the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self._file.close()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.metadata.num_rows

    @property
    def ends(self) -> np.ndarray:
        """The row behind the last of each row group."""
        groups = range(self.metadata.num_row_groups)
        return np.cumsum([self.metadata.row_group(i).num_rows for i in groups], dtype=np.int64)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows of some columns."""
        return self.groups(range(self.metadata.num_row_groups), columns)

    def groups(self, groups: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of some row groups."""
        with reading(self.path, KIND, self.fix):
            for name in columns or ():
                if name not in self.schema.names:
                    raise ValueError(f"it has no column {name}")
            table = self._file.read_row_groups(list(groups), columns=columns, use_threads=False)
            table.validate(full=True)
            return table

    def batches(self, rows: int) -> Iterator[pa.Table]:
        """Yield the rows, so many at a time."""
        batches = self._file.iter_batches(rows, use_threads=False)
        while True:
            with reading(self.path, KIND, self.fix):
                batch = next(batches, None)
                if batch is None:
                    return
                table = pa.Table.from_batches([batch])
                table.validate(full=True)
            yield table


def read_as(path: Path, kinds: Mapping[str, pa.DataType], fix: str) -> pa.Table:
    """Return columns of a table that another program may have written, with the types wanted.

    Args:
        path: The file.
        kinds: The columns and their types. Texts are in every row; anything else may be null.
        fix: What to do.

    Raises:
        PipelineError: If the file is missing or damaged, lacks a column, or holds other values.
    """
    table = read(path, fix, list(kinds))
    with reading(path, "table", fix):
        columns = []
        for name, kind in kinds.items():
            try:
                columns.append(table[name].cast(kind))
            except pa.ArrowException:
                raise ValueError(f"{name} is of type {table[name].type} and not {kind}") from None
            if pa.types.is_string(kind) and columns[-1].null_count:
                raise ValueError(f"{columns[-1].null_count} rows have no {name}")
        return pa.table(dict(zip(kinds, columns, strict=True)))
