r"""Writes rendered tracklets in the layout of MARS, with the truth beside them.

The layout and its peculiarities are those of MARS (Zheng et al., ECCV 2016): 1-based inclusive
rows, name lists with `\r\n`, a uint16 query index, junk as `00-1`, distractors as `0000`.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extract.walkers.clip import Clip
from extract.walkers.person import Person
from extract.walkers.plan import PlannedTracklet
from extract.walkers.worlds import View

if TYPE_CHECKING:
    import pyarrow as pa

_MAT_HEADER_BYTES = 116


def crop_path(tracklet: PlannedTracklet, crop: str) -> str:
    """Return where a crop lies in the dataset."""
    return f"bbox_{tracklet.split}/{tracklet.folder}/{crop}"


def write_crops(root: Path, tracklet: PlannedTracklet, clip: Clip) -> None:
    """Write the crops of one tracklet."""
    for crop, jpeg in zip(tracklet.crops, clip.jpegs, strict=True):
        path = root / crop_path(tracklet, crop)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)


def write_info(root: Path, planned: list[PlannedTracklet], queries: list[int]) -> None:
    """Write name lists, track tables and the query index.

    Args:
        root: The dataset's folder.
        planned: All tracklets in order, train before test.
        queries: 0-based positions among the test tracklets.
    """
    info = root / "info"
    info.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        part = [tracklet for tracklet in planned if tracklet.split == split]
        names = [crop for tracklet in part for crop in tracklet.crops]
        text = "".join(f"{name}\r\n" for name in names)
        (info / f"{split}_name.txt").write_bytes(text.encode())
        ends = np.cumsum([len(tracklet.frame_numbers) for tracklet in part])
        rows = [
            (end - len(tracklet.frame_numbers) + 1, end, tracklet.pid, tracklet.camid + 1)
            for tracklet, end in zip(part, ends.tolist(), strict=True)
        ]
        table = np.array(rows, np.int32).reshape(-1, 4)
        _write_mat(info / f"tracks_{split}_info.mat", f"track_{split}_info", table)
    index = np.array([queries], np.uint16) + np.uint16(1)
    _write_mat(info / "query_IDX.mat", "query_IDX", index)


def truth_table(
    tracklet: PlannedTracklet, person: Person, clip: Clip, view: View | None = None
) -> "pa.Table":
    """Return what is true of each frame of a tracklet, as an Arrow table.

    The person's columns (`height_m`, `bones_m`, `gait`) repeat in every row; Parquet stores a
    repeated value once. Columns of a world stand there only where it is not the plain one;
    silhouettes go into a file of their own.

    Args:
        tracklet: What was rendered.
        person: Who walked.
        clip: The crops.
        view: How it was seen, in a world where that differs.
    """
    import pyarrow as pa

    frames = len(tracklet.frame_numbers)

    def floats(values: np.ndarray) -> pa.Array:
        flat = values.reshape(frames, -1)
        return pa.FixedSizeListArray.from_arrays(flat.ravel(), flat.shape[1])

    def same(value: object, kind: pa.DataType | None = None) -> pa.Array:
        return pa.array([value] * frames, kind)

    columns = {
        "path": [crop_path(tracklet, crop) for crop in tracklet.crops],
        "tracklet": same(tracklet.name),
        "split": same(tracklet.split),
        "pid": same(tracklet.pid, pa.int32()),
        "camid": same(tracklet.camid, pa.int16()),
        "frame": pa.array(range(frames), pa.int32()),
        "frame_number": pa.array(tracklet.frame_numbers, pa.int32()),
        "xy_px": floats(clip.xy_px),
        "visibility": floats(clip.visibility),
        "xyz": floats(clip.xyz),
        "root": floats(clip.root),
        "body": same(tracklet.body, pa.int32()),
        "outfit": same(tracklet.outfit, pa.int32()),
        "height_m": same(person.body.height, pa.float32()),
        "bones_m": same(person.body.bones),
        "gait": same(person.gait.as_dict()),
    }
    if view is not None:
        columns |= {name: same(value) for name, value in view._asdict().items()}
    if clip.is_bad.any():
        columns["is_bad"] = pa.array(clip.is_bad)
    if clip.silhouettes:
        columns["silhouette"] = pa.array(clip.silhouettes, pa.binary())
    return pa.table(columns)


def _write_mat(path: Path, key: str, array: np.ndarray) -> None:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {key: array})
    # SciPy writes the time of day into the header; the same seed has to give the same bytes.
    header = b"MATLAB 5.0 MAT-file, rendered walkers".ljust(_MAT_HEADER_BYTES)
    path.write_bytes(header + buffer.getvalue()[_MAT_HEADER_BYTES:])
