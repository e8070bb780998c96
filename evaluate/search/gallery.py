"""Galleries to search: the test tracklets of a dataset, or a file that grows."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluate.ranked import Album
from pipeline import images, paths, schema
from pipeline.distances import Comparison, distances_of, smallest, told_of
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files import checked, tables
from pipeline.names import camera_name

if TYPE_CHECKING:
    from pipeline.stage import Stage


@dataclass(frozen=True)
class Entry:
    """One tracklet: what it is called, who it is, how it is described, what it looks like.

    `pid` is 0 where nobody knows; `frame` is an RGB picture; `own` is its name in the gallery that
    it came from and that is searched, if there is one; `camera` is what its dataset
    calls the camera.
    """

    name: str
    pid: int = 0
    camid: int = 0
    feature: np.ndarray | None = None
    frame: np.ndarray | None = None
    own: str = ""
    camera: str = ""


@dataclass(frozen=True)
class Gallery:
    """Tracklets with features `(M, C)`.

    Attributes:
        table: `tracklet, pid, camid, feature`, and `jpeg` in a file of one's own.
        model: What made the features of a file of one's own: SHA-256 of the weights, and
            what `Trained.identity` says.
        album: Pictures of a dataset's tracklets.
        file: Where it was read.
        comparison: What the distance of two features is; None for cosine.
    """

    table: pa.Table
    model: str
    album: Album
    file: Path | None = None
    comparison: Comparison | None = None

    @classmethod
    def of_run(cls, stage: "Stage") -> "Gallery":
        """Return all test tracklets of a run.

        Raises:
            PipelineError: If their features are not there yet, or describe in another way.
        """
        file = stage.read(paths.features_file(stage.key))
        from train.trained import Trained

        fix = f"Run: {stage.rebuild('embed')}"
        table = tables.read(file, fix, ["tracklet", "pid", "camid", "feature"])
        check_entries(table, file, fix)
        made = schema.metadata(table.schema)
        for name, value in Trained.of(stage).identity.items():
            if made.get(name) != str(value):
                raise PipelineError(
                    f"{file} was made with embed.{name}={made.get(name)}, but now it is {value}: "
                    f"the features cannot be compared. {fix}"
                )
        comparison = told_of(table.schema.field("feature"))
        plain = table.replace_schema_metadata()
        return cls(plain, "", Album.of_stage(stage), file, comparison)

    @classmethod
    def read(
        cls,
        file: Path,
        model: str,
        album: Album,
        comparison: Comparison | None = None,
    ) -> "Gallery":
        """Return the tracklets of a gallery file; none if it does not exist yet.

        Args:
            file: A file that `write` wrote.
            model: What makes features now.
            album: Pictures of tracklets that have none in the file.
            comparison: What the distance of two features is; None for cosine.

        Raises:
            PipelineError: If it is broken, or of another version, or of another model.
        """
        if not paths.regular(file).exists():
            none = pa.table({"tracklet": pa.array([], pa.string())})
            return cls(none, model, album, file, comparison)
        fix = "Fill a new file"
        found = tables.read_schema(file, fix)
        missing = {"tracklet", "pid", "camid", "feature", "jpeg"} - set(found.names)
        if missing:
            raise PipelineError(f"{file} is no gallery: it lacks {', '.join(sorted(missing))}")
        table = tables.read(file, fix)
        check_entries(table, file, fix)
        about = schema.metadata(table.schema)
        version = about.get("schema_version", "none")
        if version not in schema.READABLE:
            raise PipelineError(
                f"{file} has schema version {version}, this program reads "
                f"{' and '.join(schema.READABLE)}. "
                "Fill a new file"
            )
        if about.get("model") != model:
            raise PipelineError(
                f"{file} was filled by another model than is trained now, or with another "
                "embed.descriptor, neck or skeleton_weight: its features cannot be compared. "
                "Fill a new file"
            )
        return cls(table.replace_schema_metadata(), model, album, file, comparison)

    def __len__(self) -> int:
        """Return the number of tracklets."""
        return len(self.table)

    @cached_property
    def _names(self) -> list[str]:
        return self.table["tracklet"].to_pylist()

    @cached_property
    def _features(self) -> np.ndarray:
        column = self.table["feature"].combine_chunks()
        return column.flatten().to_numpy().reshape(len(self.table), -1)

    def find(self, name: str) -> Entry:
        """Return one of the tracklets.

        Raises:
            PipelineError: If there is none of that name.
        """
        if name not in self._names:
            hint = did_you_mean(name, self._names[:10000]) if len(self) else "The gallery is empty."
            raise PipelineError(f"{name!r} is neither a file nor a test tracklet. {hint[:200]}")
        return self.entry(self._names.index(name))

    def entry(self, row: int) -> Entry:
        """Return the tracklet of a row, with its picture."""
        name = self._names[row]
        pid, camid = (self.table[key][row].as_py() for key in ("pid", "camid"))
        stored = self.table["jpeg"][row].as_py() if "jpeg" in self.table.column_names else None
        if not stored:
            camera = camera_name(self.album.cameras, camid)
            frame = self.album.portrait(name)[0]
            return Entry(name, pid, camid, self._features[row], frame, name, camera)
        try:
            frame = images.decode(stored)
        except PipelineError as error:
            raise PipelineError(f"{self.file}: {name}: {error}. Fill a new file") from None
        return Entry(name, pid, camid, self._features[row], frame, own=name)

    def nearest(self, query: Entry, count: int) -> list[tuple[int, float]]:
        """Return rows and distances of the nearest tracklets, without the query itself.

        Of those that are equally near, the first by name comes first.

        Raises:
            PipelineError: If the features have another length.
        """
        if not len(self):
            return []
        feature = query.feature
        self._check_length(feature.size)
        dist = distances_of(self.comparison, feature[None], self._features)[:1][0]
        names = np.array(self._names)
        is_other = names != (query.own or query.name)
        dist[~is_other] = np.inf
        order = smallest(dist, min(count, int(is_other.sum())), names)
        return [(int(row), float(dist[row])) for row in order]

    def _check_length(self, length: int) -> None:
        if len(self) and length != self._features.shape[1]:
            raise PipelineError(
                f"the query has {length} numbers and the gallery {self._features.shape[1]}: "
                "they were made by different models"
            )

    def add(self, entry: Entry) -> "Gallery":
        """Return the gallery with one tracklet more.

        Raises:
            PipelineError: If one of that name is in it, or its feature has another length.
        """
        if entry.name in self._names:
            raise PipelineError(f"{entry.name} is in the gallery already. Choose another --name")
        feature = np.asarray(entry.feature, np.float32)
        self._check_length(len(feature))
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(entry.frame, cv2.COLOR_RGB2BGR))[1].tobytes()
        row = pa.table(
            {
                "tracklet": [entry.name],
                "pid": pa.array([entry.pid], pa.int32()),
                "camid": pa.array([entry.camid], pa.int16()),
                "split": ["gallery"],
                "feature": pa.FixedSizeListArray.from_arrays(pa.array(feature), len(feature)),
                "jpeg": pa.array([jpeg], pa.binary()),
            }
        )
        return replace(self, table=pa.concat_tables([self.table, row]) if len(self) else row)

    def write(self, file: Path) -> None:
        """Write the gallery to a file."""
        described = schema.with_metadata(self.table.schema, model=self.model)
        with paths.write_atomic(file) as temporary:
            pq.write_table(self.table.cast(described), temporary)


def check_entries(table: pa.Table, file: Path, fix: str) -> None:
    """Check that every tracklet has a name, numbers and a feature, all of one length.

    Raises:
        PipelineError: If not.
    """
    kinds = {"tracklet": pa.string(), "pid": pa.int32(), "camid": pa.int16()}
    if "jpeg" in table.column_names:
        kinds["jpeg"] = pa.binary()
    for name, kind in kinds.items():
        if table[name].type != kind:
            raise PipelineError(f"{file}: {name} is of type {table[name].type}, not {kind}. {fix}")
    feature = table["feature"]
    if not (
        pa.types.is_fixed_size_list(feature.type)
        and pa.types.is_floating(feature.type.value_type)
        and feature.type.list_size
        and not feature.null_count
    ):
        raise PipelineError(f"{file}: a feature is no list of numbers. {fix}")
    checked.check_rows(table, file, fix)
