"""True skeletons of rendered people, in place of those found: what better extraction would give."""

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
