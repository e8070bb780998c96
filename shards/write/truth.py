"""What a dataset knows of its frames beside their pixels: true joints, silhouettes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from extract.pose3d.normalise import towards_root
from extract.tables import fixed_lists
from pipeline.errors import PipelineError
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
        table = pq.read_table(file, columns=["path", "xyz", "root"], use_threads=False)
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
        try:
            table = pq.read_table(file, columns=["path", "silhouette"], use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise PipelineError(
                f"{file} is no table with columns path and silhouette ({reason}). Write it again "
                "or remove it"
            ) from None
        self._paths = table["path"].combine_chunks()
        self._pictures = table["silhouette"].combine_chunks().cast(pa.binary())

    def __call__(self, paths: pa.ChunkedArray) -> pa.Array:
        """Return the silhouettes of some frames; null where there is none."""
        return self._pictures.take(pc.index_in(paths, self._paths).combine_chunks())
