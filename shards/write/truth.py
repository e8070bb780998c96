"""What a dataset knows of its frames beside their pixels: true joints, silhouettes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from extract.pose3d.normalise import towards_root
from extract.tables import fixed_lists
from pipeline.errors import PipelineError
from pipeline.files import tables
from shards.columns import joints


class TrueJoints:
    """The 3D joints of a dataset's `truth.parquet`, by the path of their frame.

    They are turned as lifted ones are: seen along the ray to the pelvis.
    """

    def __init__(self, file: Path) -> None:
        """Read them.

        Raises:
            PipelineError: If the dataset has no ground truth.
        """
        if not file.is_file():
            raise PipelineError(
                f"shards.skeletons is truth, but there is no {file}: only rendered people have "
                "known joints. Set it to lifted"
            )
        kinds = {
            "path": pa.string(),
            "xyz": pa.list_(pa.float32(), 51),
            "root": pa.list_(pa.float32(), 3),
        }
        table = tables.read_as(file, kinds, "Run: dvc repro walkers")
        self._paths = table["path"].combine_chunks()
        self._xyz = towards_root(joints(table["xyz"], (17, 3)), joints(table["root"], (3,)))

    def __call__(self, paths: pa.ChunkedArray) -> pa.Array:
        """Return the `xyz` column of some frames; null where the truth is not known."""
        at = pc.index_in(paths, self._paths)
        rows = at.fill_null(0).to_numpy()
        is_unknown = at.is_null().to_numpy()
        return fixed_lists(self._xyz[rows].astype(np.float32), is_unknown)


class Silhouettes:
    """The silhouettes that a dataset brings, by the path of their frame.

    The columns are `path`, relative to the dataset's folder, and `silhouette`: a 1-bit PNG of the
    frame's size, white where the person is seen.
    """

    def __init__(self, file: Path) -> None:
        """Read them.

        Raises:
            PipelineError: If the file is no such table.
        """
        kinds = {"path": pa.string(), "silhouette": pa.binary()}
        table = tables.read_as(file, kinds, "Write it again or remove it")
        self._paths = table["path"].combine_chunks()
        self._pictures = table["silhouette"].combine_chunks()

    def __call__(self, paths: pa.ChunkedArray) -> pa.Array:
        """Return the silhouettes of some frames; null where there is none."""
        return self._pictures.take(pc.index_in(paths, self._paths).combine_chunks())
