"""Parquet files that another program, or another version, could have written."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HUGE = [2**15, 2**31, 2**40, 2**63 - 1, -(2**31) - 1, -(2**63), -1, -7, 40_000]
TEXTS = ["", " ", "../../x", "/etc/passwd", "a\0b", "x" * 5000, "NaN", "None", "7.5", "é", "a/b\nc"]


def _table(change: Callable[[pa.Table, random.Random], tuple[pa.Table, object]]) -> Any:
    """Make damage of a function from a table to another and to what it did."""

    def damage(file: Path, rng: random.Random) -> object:
        table, said = change(pq.read_table(file), rng)
        file.unlink()
        pq.write_table(table, file, row_group_size=rng.choice([1, 3, 256]))
        return said

    damage.__name__ = change.__name__
    return damage


def _column(table: pa.Table, rng: random.Random, kind: Callable[[pa.DataType], bool] = bool) -> str:
    fitting = [field.name for field in table.schema if kind(field.type)]
    return rng.choice(fitting or table.column_names)


def _set(table: pa.Table, name: str, values: Any) -> pa.Table:
    at = table.column_names.index(name)
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return table.set_column(at, name, array)


def _alter(
    table: pa.Table, rng: random.Random, name: str, value: Callable[[Any], Any], share: float
) -> pa.Table:
    """Change some values of a column; the type follows where it must."""
    values = table[name].to_pylist()
    for at in range(len(values)):
        if rng.random() < share or at == 0:
            values[at] = value(values[at])
    try:
        array = pa.array(values, table.schema.field(name).type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        try:
            array = pa.array(values)
        except pa.ArrowException:
            # No column holds values of several kinds; text holds all.
            array = pa.array([None if one is None else str(one) for one in values])
    return _set(table, name, array)


def _half_more(one: Any) -> Any:
    """Return a number and a half; of a table without whole numbers nothing changes."""
    return (one or 0) + 0.5 if one is None or isinstance(one, int | float) else one


def _as_text(one: Any) -> str:
    if one is None:
        return ""
    return f"P{one:03}" if isinstance(one, int) else f"P{one}"


@_table
def without_a_column(table, rng):
    name = _column(table, rng)
    return table.drop_columns(name), name


@_table
def with_a_column_more(table, rng):
    return table.append_column("extra", pa.nulls(len(table), pa.int8())), "extra"


@_table
def with_a_column_twice(table, rng):
    name = _column(table, rng)
    return table.append_column(name, table[name]), name


@_table
def renamed(table, rng):
    name = _column(table, rng)
    names = [rng.choice([name.upper(), f"{name} "]) if n == name else n for n in table.column_names]
    return table.rename_columns(names), name


@_table
def in_another_order(table, rng):
    names = table.column_names
    rng.shuffle(names)
    return table.select(names), names[0]


@_table
def of_another_type(table, rng):
    name = _column(table, rng)
    kinds = [
        pa.string(), pa.large_string(), pa.int64(), pa.float64(), pa.float16(), pa.bool_(),
        pa.binary(), pa.list_(pa.float32()), pa.list_(pa.string()), pa.uint8(), pa.timestamp("s"),
    ]  # fmt: skip
    kind = rng.choice(kinds)
    try:
        return _set(table, name, table[name].cast(kind)), (name, str(kind))
    except pa.ArrowException:
        return _set(table, name, [str(one) for one in table[name].to_pylist()]), (name, "text")


@_table
def as_categories(table, rng):
    name = _column(table, rng, pa.types.is_string)
    return _set(table, name, table[name].combine_chunks().dictionary_encode()), name


@_table
def as_lists_of_any_length(table, rng):
    name = _column(table, rng, pa.types.is_fixed_size_list)
    values = table[name].to_pylist()
    if rng.random() < 0.7 and values and isinstance(values[0], list):
        values[0] = values[0][: rng.choice([0, 1, 2])]
    return _set(table, name, values), name


@_table
def of_nulls(table, rng):
    name = _column(table, rng)
    return _set(table, name, pa.nulls(len(table), table.schema.field(name).type)), name


@_table
def with_nulls(table, rng):
    name = _column(table, rng)
    return _alter(table, rng, name, lambda one: None, rng.choice([0.0, 0.3])), name


@_table
def with_nulls_in_lists(table, rng):
    name = _column(table, rng, pa.types.is_list)
    return _alter(
        table, rng, name, lambda one: [None, *one[1:]] if isinstance(one, list) else one, 0.2
    ), name


@_table
def with_numbers_out_of_range(table, rng):
    name, value = _column(table, rng, pa.types.is_integer), rng.choice(HUGE)
    return _alter(table, rng, name, lambda one: value, rng.choice([0.0, 0.5])), (name, value)


@_table
def with_half_numbers(table, rng):
    name = _column(table, rng, pa.types.is_integer)
    return _alter(table, rng, name, _half_more, 1.0), name


@_table
def with_numbers_as_text(table, rng):
    name = _column(table, rng, pa.types.is_integer)
    return _alter(table, rng, name, _as_text, 1.0), name


@_table
def with_odd_texts(table, rng):
    name, value = _column(table, rng, pa.types.is_string), rng.choice(TEXTS)
    return _alter(table, rng, name, lambda one: value, rng.choice([0.0, 1.0])), (name, value[:20])


@_table
def with_odd_floats(table, rng):
    name = _column(table, rng, lambda kind: pa.types.is_fixed_size_list(kind))
    value = rng.choice([float("nan"), float("inf"), -1e38, 1e300, 0.0])

    def change(one):
        return [value] * len(one) if isinstance(one, list) else one

    return _alter(table, rng, name, change, rng.choice([0.0, 1.0])), (name, value)


@_table
def with_odd_bytes(table, rng):
    name = _column(table, rng, pa.types.is_binary)
    value = rng.choice([b"", b"\xff\xd8", rng.randbytes(50), b"\xff\xd8\xff\xd9"])
    return _alter(table, rng, name, lambda one: value, rng.choice([0.0, 1.0])), name


@_table
def without_rows(table, rng):
    keep = rng.choice([0, 1, len(table) // 2, len(table) - 1])
    return table.slice(0, keep), keep


@_table
def with_rows_twice(table, rng):
    return pa.concat_tables([table, table.slice(0, rng.choice([1, len(table)]))]), "first"


@_table
def with_rows_in_another_order(table, rng):
    rows = list(range(len(table)))
    rng.shuffle(rows)
    return table.take(rows), rows[:3]


@_table
def without_metadata(table, rng):
    return table.replace_schema_metadata(), ""


@_table
def with_odd_metadata(table, rng):
    metadata = dict(table.schema.metadata or {b"x": b""})
    key = rng.choice(sorted(metadata))
    value = rng.choice([b"", b"\xff\xfe", b"null", b"[]", b"{}", b"7", b'{"a": 1}', b"True"])
    return table.replace_schema_metadata(metadata | {key: value}), (key, value)


@_table
def without_one_metadata(table, rng):
    metadata = dict(table.schema.metadata or {b"x": b""})
    key = rng.choice(sorted(metadata))
    del metadata[key]
    return table.replace_schema_metadata(metadata), key


KINDS = [
    without_a_column, with_a_column_more, with_a_column_twice, renamed, in_another_order,
    of_another_type, of_another_type, as_categories, as_lists_of_any_length, of_nulls, with_nulls,
    with_nulls_in_lists, with_numbers_out_of_range, with_numbers_out_of_range, with_half_numbers,
    with_numbers_as_text, with_odd_texts, with_odd_floats, with_odd_bytes, without_rows,
    with_rows_twice, with_rows_in_another_order, without_metadata, with_odd_metadata,
    without_one_metadata,
]  # fmt: skip
