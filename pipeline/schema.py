"""The only truth about columns: the Arrow schemas of every table the pipeline writes.

Frame tables (`POSE2D`, `POSE3D`, `SHARD`) hold one row per frame, sorted by split, pid, tracklet
and frame. They lie in files `<split>-00000.parquet`; a tracklet never crosses a file.
"""

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

import pyarrow as pa

from pipeline.errors import PipelineError
from pipeline.files.tables import read_schema, texts
from pipeline.skeleton import H36M17, Layout, layout

# Of version 1 differ: `interpolated` was called `bridged`, and what `_LATER` names was not there.
VERSION = "2"
READABLE = ("1", "2")
ROW_GROUP_FRAMES = 256
SPLITS = ("train", "val", "query", "gallery")


class Status(IntEnum):
    """How a frame fared. Bad frames keep their row, so that nothing shifts."""

    OK = 0
    MISSING = 1
    UNREADABLE = 2
    LOW_SCORE = 3


def _floats(length: int) -> pa.DataType:
    return pa.list_(pa.float32(), length)


_KEY = [
    pa.field("tracklet", pa.string()),
    pa.field("pid", pa.int32()),
    pa.field("camid", pa.int16()),
    pa.field("split", pa.string()),
    pa.field("frame", pa.int32()),
    pa.field("frame_number", pa.int32()),
]
_FRAME = [
    pa.field("path", pa.string()),
    pa.field("width", pa.int16()),
    pa.field("height", pa.int16()),
]
_JOINTS_2D = [pa.field("xy_px", _floats(34)), pa.field("score", _floats(17))]
_JOINTS_3D = [pa.field("xyz", _floats(51)), pa.field("interpolated", pa.bool_())]
_STATUS = [pa.field("status", pa.int8())]
# How a tracklet was seen; null where the dataset does not say.
_VIEW = [
    pa.field("clothes", pa.int16()),
    pa.field("spectrum", pa.string()),
    pa.field("platform", pa.string()),
    pa.field("altitude_m", pa.float32()),
    pa.field("distance_m", pa.float32()),
    pa.field("angle_deg", pa.float32()),
]
_PICTURES = [pa.field("jpeg", pa.binary()), pa.field("silhouette", pa.binary())]
VIEW = tuple(field.name for field in _VIEW)
SPECTRA = ("visible", "infrared")
PLATFORMS = ("ground", "aerial")
_RENAMED = {"bridged": "interpolated"}
_LATER = {*VIEW, "silhouette"}

INDEX = pa.schema(
    [
        pa.field("tracklet", pa.string()),
        pa.field("pid", pa.int32()),
        pa.field("camid", pa.int16()),
        pa.field("split", pa.string()),
        pa.field("frames", pa.list_(pa.string())),
        pa.field("frame_numbers", pa.list_(pa.int32())),
        *_VIEW,
    ]
)
# Beside the index: a tracklet has any number of sentences, and they change without its frames.
CAPTIONS = pa.schema(
    [
        pa.field("tracklet", pa.string()),
        pa.field("source", pa.string()),
        pa.field("text", pa.string()),
        pa.field("embedding", pa.list_(pa.float32())),
    ]
)
POSE2D = pa.schema([*_KEY, *_FRAME, *_JOINTS_2D, *_STATUS])
POSE3D = pa.schema([*_KEY, *_JOINTS_3D, *_STATUS])
SHARD = pa.schema([*_KEY, *_VIEW, *_FRAME, *_JOINTS_2D, *_JOINTS_3D, *_PICTURES, *_STATUS])


def shard(joints: Layout) -> pa.Schema:
    """Return `SHARD` with 3D joints of another layout; the file's `layout3d` says which."""
    xyz = pa.field("xyz", _floats(3 * len(joints.joints)))
    return SHARD.set(SHARD.get_field_index("xyz"), xyz)


def features(channels: int) -> pa.Schema:
    """Return the schema of a feature table with `channels` floats per tracklet."""
    return pa.schema(
        [
            pa.field("tracklet", pa.string()),
            pa.field("pid", pa.int32()),
            pa.field("camid", pa.int16()),
            pa.field("split", pa.string()),
            *_VIEW,
            pa.field("split_id", pa.int8()),
            pa.field("feature", _floats(channels)),
        ]
    )


PER_QUERY = pa.schema(
    [
        pa.field("split_id", pa.int8()),
        pa.field("tracklet", pa.string()),
        pa.field("pid", pa.int32()),
        pa.field("camid", pa.int16()),
        pa.field("ap", pa.float64()),
        pa.field("ap_trapezoid", pa.float64()),
        pa.field("inp", pa.float64()),
        pa.field("first_rank", pa.int32()),
        # The first gallery tracklets by distance; junk is shown but not ranked.
        pa.field("gallery", pa.list_(pa.string())),
        pa.field("gallery_pid", pa.list_(pa.int32())),
        pa.field("gallery_camid", pa.list_(pa.int16())),
        pa.field("distance", pa.list_(pa.float32())),
        pa.field("is_match", pa.list_(pa.bool_())),
        pa.field("is_junk", pa.list_(pa.bool_())),
    ]
)


def with_metadata(schema: pa.Schema, **metadata: object) -> pa.Schema:
    """Return `schema` carrying its version and `metadata` as text."""
    texts = {"schema_version": VERSION} | {key: str(value) for key, value in metadata.items()}
    return schema.with_metadata(texts)


def metadata(schema: pa.Schema) -> dict[str, str]:
    """Return the text metadata of a schema read from a file."""
    return texts(schema)


def check(path: Path, expected: pa.Schema, rebuild: str) -> pa.Schema:
    """Read the schema of a Parquet file and compare it with the one this version writes.

    Args:
        path: A Parquet file.
        expected: The schema it should have.
        rebuild: The command that makes the file anew.

    Returns:
        The schema in the file, with its metadata.

    Raises:
        PipelineError: If the file is missing, no Parquet file, or of another schema or a version
            that is not read.
    """
    found = _read(path, rebuild)
    _compare(path, found, expected, rebuild)
    return found


def current(table: pa.Table, expected: pa.Schema) -> pa.Table:
    """Return columns of a table of any version that is read as this version has them.

    Args:
        table: Any columns, under the names of their own version.
        expected: The columns wanted, in their order; one that came later is null.
    """
    # Renaming loses what the table says about itself.
    about = table.schema.metadata
    table = table.rename_columns([_RENAMED.get(name, name) for name in table.column_names])
    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in expected
    ]
    return pa.table(columns, expected.with_metadata(about))


def stored(names: Iterable[str], found: pa.Schema) -> list[str]:
    """Return which columns to read of a file so that `current` can give those of some names."""
    old = {now: was for was, now in _RENAMED.items()}
    return [one for name in names for one in (name, old.get(name, name)) if one in found.names]


def check_shard(path: Path, rebuild: str) -> pa.Schema:
    """Do as `check` does, with the columns that belong to the shard's joint layout."""
    found = _read(path, rebuild)
    name = metadata(found).get("layout3d", H36M17.name)
    try:
        joints = layout(name)
    except PipelineError as error:
        raise PipelineError(f"{path}: {error}. Run: {rebuild}") from None
    _compare(path, found, shard(joints), rebuild)
    return found


def _read(path: Path, rebuild: str) -> pa.Schema:
    found = read_schema(path, f"Run: {rebuild}")
    version = metadata(found).get("schema_version", "none")
    if version not in READABLE:
        raise PipelineError(
            f"{path} has schema version {version}, this program reads "
            f"{' and '.join(READABLE)}. Run: {rebuild}"
        )
    return found


def _compare(path: Path, found: pa.Schema, expected: pa.Schema, rebuild: str) -> None:
    if metadata(found).get("schema_version") != VERSION:
        found = _renewed(found, expected)
    if not found.remove_metadata().equals(expected):
        # Not by their texts: Parquet files name the elements of a list in another way.
        ours, theirs = list(expected), list(found)
        wrong = [str(field) for field in ours if field not in theirs]
        wrong += [str(field) for field in theirs if field not in ours]
        raise PipelineError(
            f"{path} differs from schema {VERSION} in {'; '.join(wrong) or 'column order'}. "
            f"Run: {rebuild}"
        )


def _renewed(found: pa.Schema, expected: pa.Schema) -> pa.Schema:
    """Return an older version's schema with the names of this one, and what came later."""
    fields = [field.with_name(_RENAMED.get(field.name, field.name)) for field in found]
    known = {field.name: field for field in fields}
    later = [field for field in expected if field.name in _LATER and field.name not in known]
    known |= {field.name: field for field in later}
    ours = [known.pop(name) for name in expected.names if name in known]
    return pa.schema([*ours, *known.values()])
