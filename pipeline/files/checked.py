"""Tables of this project, checked down to their rows: what is read is what a stage wrote."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.errors import PipelineError
from pipeline.files import tables
from pipeline.schema import Status

# These stand in every row; what a dataset does not say, or a frame does not have, is null.
_REQUIRED = (
    "tracklet", "pid", "camid", "split", "frame", "frame_number", "path", "interpolated", "status",
    "frames", "frame_numbers",
)  # fmt: skip
_ONE_OF = {"split": list(schema.SPLITS), "status": [int(one) for one in Status]}


def read(
    path: Path, expected: pa.Schema, rebuild: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return some columns of a table of this project, or all.

    Raises:
        PipelineError: If the file is missing, damaged, of another schema or version, or a row holds
            what no stage writes.
    """
    found, names = schema.check(path, expected, rebuild), columns or expected.names
    table = tables.read(path, f"Run: {rebuild}", schema.stored(names, found))
    table = schema.current(table, pa.schema([expected.field(name) for name in names]))
    check_rows(table, path, f"Run: {rebuild}")
    return table


def read_index(path: Path, rebuild: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return some columns of an index, or all; every tracklet stands in it once.

    Raises:
        PipelineError: As `read`.
    """
    table = read(path, schema.INDEX, rebuild, columns)
    if "tracklet" in table.column_names:
        names = table["tracklet"]
        if len(pc.unique(names)) < len(names):
            twice = next(
                one["values"] for one in pc.value_counts(names).to_pylist() if one["counts"] > 1
            )
            raise PipelineError(f"{path}: tracklet {twice} stands twice. Run: {rebuild}")
    if {"frames", "frame_numbers"} <= set(table.column_names):
        lengths = (pc.list_value_length(table[name]) for name in ("frames", "frame_numbers"))
        if not pc.all(pc.equal(*lengths), min_count=0).as_py():
            raise PipelineError(f"{path}: a tracklet has a frame without a number. Run: {rebuild}")
    return table


def check_rows(table: pa.Table, path: Path, fix: str) -> None:
    """Check that no row holds what no stage writes.

    Raises:
        PipelineError: If a key is missing, a split or status is none, or a number is not finite.
    """
    for name in table.column_names:
        column = table[name]
        if column.null_count and name in _REQUIRED:
            raise PipelineError(f"{path}: {column.null_count} rows have no {name}. {fix}")
        if name in _ONE_OF:
            known = pc.is_in(column, pa.array(_ONE_OF[name], column.type))
            if not pc.all(known, min_count=0).as_py():
                odd = column.filter(pc.invert(known))[0].as_py()
                raise PipelineError(f"{path}: {odd!r} is no {name}. {fix}")
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            _check_lists(column, name, path, fix)


def _check_lists(column: pa.ChunkedArray, name: str, path: Path, fix: str) -> None:
    values = pc.list_flatten(column)
    if values.null_count:
        raise PipelineError(f"{path}: a list of {name} has a gap. {fix}")
    if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values), min_count=0).as_py():
        raise PipelineError(f"{path}: {name} holds numbers that are not finite. {fix}")


def check_order(table: pa.Table, path: Path, fix: str, begun: bool = False) -> None:
    """Check that frames of a tracklet follow each other, from 0, with the same keys.

    Args:
        table: Rows of a frame table.
        path: Its file.
        fix: What to do.
        begun: Whether the first tracklet may have begun in rows before these.

    Raises:
        PipelineError: If not.
    """
    frame = table["frame"].to_numpy()
    follows = frame != 0
    sound = len(frame) == 0 or begun or not follows[0]
    sound = sound and bool((frame[1:] == frame[:-1] + 1)[follows[1:]].all())
    for name in ("tracklet", "pid", "camid", "split"):
        if sound and name in table.column_names and len(table) > 1:
            codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy()
            sound = bool((codes[1:] == codes[:-1])[follows[1:]].all())
    if not sound:
        raise PipelineError(f"{path}: the frames of a tracklet are not in their order. {fix}")
    starts = table.filter(pa.array(~follows))
    if len(np.unique(starts["tracklet"].to_numpy())) < len(starts):
        raise PipelineError(f"{path}: a tracklet stands twice. {fix}")


def check_found(table: pa.Table, path: Path, fix: str) -> None:
    """Check that every frame that is fine has joints.

    Raises:
        PipelineError: If one has none.
    """
    good = table.filter(pc.equal(table["status"], int(Status.OK)))
    for name in {"xy_px", "score"} & set(table.column_names):
        if missing := good[name].null_count:
            raise PipelineError(f"{path}: {missing} frames of status 0 have no {name}. {fix}")
