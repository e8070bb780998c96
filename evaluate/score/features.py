"""Read a table of tracklet features, whoever made it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import PipelineError
from pipeline.paths import regular
from pipeline.ranking import Ids

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED = ("tracklet", "pid", "camid", "split")


@dataclass(frozen=True)
class Features:
    """Tracklets with ids and named features `(N, C)`, in the order of the table."""

    split: np.ndarray
    ids: Ids
    trial: np.ndarray
    values: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Return the number of tracklets."""
        return len(self.ids)

    @property
    def tracklet(self) -> np.ndarray:
        """Names of the tracklets."""
        return self.ids.tracklet

    def __getitem__(self, keep: np.ndarray | slice) -> "Features":
        """Return some tracklets."""
        values = {name: value[keep] for name, value in self.values.items()}
        return Features(self.split[keep], self.ids[keep], self.trial[keep], values)

    def trials(self) -> Iterator[tuple[int, "Features"]]:
        """Yield the number and the tracklets of each random split; 0 and all if there is one."""
        for trial in np.unique(self.trial):
            yield int(trial), self[self.trial == trial]


def read_features(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Features:
    """Read features with the ids that scoring needs.

    Args:
        paths: Parquet files with `tracklet`, `pid`, `camid`, `split`, features as lists of one
            length, and optionally `clothes` and `trial`. Several files hold a trial each.
        columns: Names of the feature columns; by default all columns of fixed-size lists.

    Returns:
        Query and gallery tracklets.

    Raises:
        PipelineError: If a file or a column is missing, if a tracklet lacks an id or a feature,
            or stands twice in a split of a trial, or if there are no queries or no gallery.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    name = " + ".join(map(str, paths))
    tables = [_read_table(path) for path in paths]
    try:
        table = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise PipelineError(f"{name}: the columns differ ({error}).") from None
    if columns is None:
        columns = [field.name for field in table.schema if pa.types.is_fixed_size_list(field.type)]
    for column in (*REQUIRED, *columns):
        if column not in table.column_names:
            raise PipelineError(f"{name} has no column {column}. It has {table.column_names}.")
        if missing := table[column].null_count:
            raise PipelineError(
                f"{name}: {missing} tracklets have no {column}; each needs exactly one."
            )
    table = table.filter(pc.is_in(table["split"], pa.array(["query", "gallery"])))
    trial = _ints(table, "trial") if _complete(table, "trial") else np.zeros(len(table), np.int64)
    clothes = _ints(table, "clothes") if _complete(table, "clothes") else None
    found = Features(
        split=table["split"].to_numpy().astype(object),
        ids=Ids(
            _ints(table, "pid"),
            _ints(table, "camid"),
            clothes,
            table["tracklet"].to_numpy().astype(object),
        ),
        trial=trial,
        values={column: _matrix(table, column, name) for column in columns},
    )
    _check(found, name)
    return found


def _read_table(path: Path) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(regular(path)).replace_schema_metadata()
    except FileNotFoundError:
        raise PipelineError(f"{path} is missing. Make it with: python -m evaluate.embed") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise PipelineError(f"{path} is not a readable Parquet file ({reason}).") from None


def _complete(table: "pa.Table", name: str) -> bool:
    return name in table.column_names and len(table) > 0 and not table[name].null_count


def _ints(table: "pa.Table", name: str) -> np.ndarray:
    return table[name].to_numpy().astype(np.int64)


def _matrix(table: "pa.Table", name: str, where: str) -> np.ndarray:
    column = table[name].combine_chunks()
    lengths = set(column.value_lengths().to_pylist())
    if len(lengths) != 1 or None in lengths:
        raise PipelineError(f"{where}: the lists of {name} have several lengths.")
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).reshape(len(table), -1).any(axis=1).argmax())
        raise PipelineError(f"{where}: {name} of {table['tracklet'][bad]} is NaN or infinite.")
    return values.reshape(len(table), -1)


def _check(features: Features, where: str) -> None:
    for split in ("query", "gallery"):
        if split not in features.split:
            raise PipelineError(f"{where} has no tracklets of split {split}: nothing to score.")
    seen = set()
    for key in zip(features.trial, features.split, features.tracklet, strict=True):
        if key in seen:
            raise PipelineError(f"{where}: {key[2]} stands twice among the {key[1]} tracklets.")
        seen.add(key)
