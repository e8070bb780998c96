"""Read a table of tracklet features, whoever made it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluate.score.ids import ids
from pipeline.distances import Comparison, told_of
from pipeline.errors import PipelineError
from pipeline.files import tables
from pipeline.ranking import Ids
from pipeline.schema import INDEX, VIEW

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED = ("tracklet", "pid", "camid", "split")


@dataclass(frozen=True)
class Features:
    """Tracklets with ids and named features `(N, C)`, in the order of the table.

    Attributes:
        split: `query` or `gallery`.
        ids: Who and where.
        split_id: Number of the random split.
        values: Features by name.
        names: What ids that are names became, by column.
        views: How each was seen, by the columns of `pipeline.schema.VIEW` that the table has.
        comparisons: What distances of a feature are, where they are not cosine.
    """

    split: np.ndarray
    ids: Ids
    split_id: np.ndarray
    values: dict[str, np.ndarray]
    names: dict[str, dict[str, int]] = field(default_factory=dict)
    views: dict[str, np.ndarray] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of tracklets."""
        return len(self.ids)

    @property
    def tracklet(self) -> np.ndarray:
        """Names of the tracklets."""
        return self.ids.tracklet

    def __getitem__(self, keep: np.ndarray | slice) -> "Features":
        """Return some tracklets."""
        values, views = (
            {name: value[keep] for name, value in columns.items()}
            for columns in (self.values, self.views)
        )
        split, split_id = self.split[keep], self.split_id[keep]
        return Features(
            split, self.ids[keep], split_id, values, self.names, views, self.comparisons
        )

    def splits(self) -> Iterator[tuple[int, "Features"]]:
        """Yield the number and the tracklets of each random split; 0 and all if there is one."""
        for split_id in np.unique(self.split_id):
            yield int(split_id), self[self.split_id == split_id]


def weights_of(path: Path) -> str | None:
    """Return the SHA-256 of the model that made a table of features, if the table says it."""
    return tables.texts(tables.read_schema(path, "Make it again")).get("weights_sha256")


def read_features(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Features:
    """Read features with the ids that scoring needs.

    Args:
        paths: Parquet files with `tracklet`, `pid`, `camid`, `split`, features as lists of one
            length, and optionally `clothes` and `split_id`. Several files hold a random split each.
        columns: Names of the feature columns; by default all columns of fixed-size lists.

    Returns:
        Query and gallery tracklets.

    Raises:
        PipelineError: If a file or a column is missing, if a tracklet lacks an id or a feature,
            or stands twice in a split, or if there are no queries or no gallery.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    name = " + ".join(map(str, paths))
    parts = [_read_table(path) for path in paths]
    try:
        table = pa.concat_tables(parts, promote_options="default")
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
    table = _with_texts(table, name)
    table = table.filter(pc.is_in(table["split"], pa.array(["query", "gallery"])))
    if not len(table):
        raise PipelineError(f"{name} has no tracklets of split query or gallery: nothing to score.")
    numbers, names = _numbers(table, name)
    found = Features(
        split=table["split"].to_numpy().astype(object),
        ids=Ids(
            numbers["pid"],
            numbers["camid"],
            numbers.get("clothes"),
            table["tracklet"].to_numpy().astype(object),
        ),
        split_id=numbers.get("split_id", np.zeros(len(table), np.int64)),
        values={column: _matrix(table, column, name) for column in columns},
        names=names,
        views=_views(table, name),
        comparisons=_comparisons(parts, columns, name),
    )
    _check(found, name)
    return found


def _numbers(
    table: "pa.Table", where: str
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, int]]]:
    """Return all ids as numbers, and which names were given which number."""
    numbers, names = {}, {}
    for key in ("pid", "camid", "split_id", "clothes"):
        if key in ("pid", "camid") or _complete(table, key):
            numbers[key], known = ids(table, key, where)
            names |= {key: known} if known else {}
    return numbers, names


def _views(table: "pa.Table", where: str) -> dict[str, np.ndarray]:
    import pyarrow as pa

    found = {}
    for name in (name for name in VIEW if name in table.column_names):
        kind = INDEX.field(name).type
        try:
            column = table[name].cast(kind)
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise PipelineError(f"{where}: column {name} is no {kind} ({reason})") from None
        found[name] = column.to_pandas().to_numpy(dtype=object)
    return found


def _comparisons(
    parts: list["pa.Table"], columns: Sequence[str], where: str
) -> dict[str, Comparison]:
    """Return what tables say of their features, all the same."""
    found = [
        {column: told for column in columns if (told := told_of(table.schema.field(column)))}
        for table in parts
    ]
    if any(one != found[0] for one in found):
        raise PipelineError(f"{where}: the features are not compared in the same way.")
    return found[0]


def _read_table(path: Path) -> "pa.Table":
    table = tables.read(path, "Make it with: python -m evaluate.embed")
    if "trial" in table.column_names:
        raise PipelineError(
            f"{path} has a column trial, which is split_id now (CHANGELOG.md). Rename it"
        )
    return table.replace_schema_metadata()


def _with_texts(table: "pa.Table", where: str) -> "pa.Table":
    """Return a table whose names are plain text; pandas writes categories, others numbers."""
    import pyarrow as pa

    for name in ("tracklet", "split"):
        try:
            column = table[name].cast(pa.string())
        except pa.ArrowException:
            raise PipelineError(
                f"{where}: {name} is of type {table[name].type}, and should be text"
            ) from None
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _complete(table: "pa.Table", name: str) -> bool:
    return name in table.column_names and len(table) > 0 and not table[name].null_count


def _matrix(table: "pa.Table", name: str, where: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name]
    is_list = pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type)
    is_list = is_list or pa.types.is_large_list(column.type)
    kind = column.type.value_type if is_list else column.type
    is_number = any(is_it(kind) for is_it in (pa.types.is_floating, pa.types.is_integer))
    # Lists that are all empty have no type.
    if not is_list or not (is_number or pa.types.is_null(kind)):
        raise PipelineError(f"{where}: {name} is of type {column.type}. Give lists of numbers")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1 or None in lengths:
        raise PipelineError(f"{where}: the lists of {name} have several lengths.")
    if not lengths[0]:
        raise PipelineError(f"{where}: the lists of {name} are empty: nothing to compare.")
    flat = pc.list_flatten(column)
    if flat.null_count:
        raise PipelineError(f"{where}: a list of {name} has a gap.")
    with np.errstate(over="ignore"):
        values = flat.to_numpy().astype(np.float32)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).reshape(len(table), -1).any(axis=1).argmax())
        raise PipelineError(f"{where}: {name} of {table['tracklet'][bad]} is NaN or infinite.")
    return values.reshape(len(table), -1)


def _check(features: Features, where: str) -> None:
    for split in ("query", "gallery"):
        if split not in features.split:
            raise PipelineError(f"{where} has no tracklets of split {split}: nothing to score.")
    seen = set()
    for key in zip(features.split_id, features.split, features.tracklet, strict=True):
        if key in seen:
            raise PipelineError(f"{where}: {key[2]} stands twice among the {key[1]} tracklets.")
        seen.add(key)
