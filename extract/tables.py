"""Arrow columns of frame tables."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def explode(tracklets: pa.Table) -> pa.Table:
    """Turn rows of the index into one row of keys per frame.

    Returns:
        Columns tracklet, pid, camid, split, frame, frame_number and path.
    """
    tracklets = tracklets.combine_chunks()
    lengths = pc.list_value_length(tracklets["frames"]).to_numpy()
    rows = pa.array(np.repeat(np.arange(len(lengths)), lengths))
    starts = np.cumsum(lengths) - lengths
    keys = tracklets.select(["tracklet", "pid", "camid", "split"]).take(rows)
    position = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    keys = keys.append_column("frame", pa.array(position, pa.int32()))
    keys = keys.append_column("frame_number", pc.list_flatten(tracklets["frame_numbers"]))
    return keys.append_column("path", pc.list_flatten(tracklets["frames"]))


def fixed_lists(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """Return float32 rows `(N, ...)` as lists of fixed size, null where `missing` `(N,)`."""
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    flat[missing] = 0
    return pa.FixedSizeListArray.from_arrays(
        pa.array(flat.reshape(-1)), flat.shape[1], mask=pa.array(missing)
    )


def assemble(schema: pa.Schema, keys: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """Put keys and columns together in the order and the types of `schema`."""
    arrays = [columns[name] if name in columns else keys[name] for name in schema.names]
    return pa.table(dict(zip(schema.names, arrays, strict=True))).cast(schema)


def to_numpy(table: pa.Table, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a column of fixed lists as `(N, *shape)` float32; null rows are zeros."""
    column = table[name].combine_chunks()
    values = column.values.slice(
        column.offset * column.type.list_size, len(column) * column.type.list_size
    )
    out = values.to_numpy(zero_copy_only=False).reshape(len(column), *shape).copy()
    out[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return out
