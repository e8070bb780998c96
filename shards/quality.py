"""How good the skeletons of shards are, with and without ground truth."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from extract.pose_metrics import mpjpe, pck, procrustes, true_scale
from pipeline import paths
from pipeline.files.tables import read_as
from pipeline.names import DISTRACTOR
from pipeline.schema import Status
from shards.columns import joints
from shards.read import Shards

if TYPE_CHECKING:
    import pandas as pd

# Of the three grades in `truth.parquet`: neither behind the own body nor hidden otherwise.
_SEEN = 2


def counts(shards: Shards) -> "pd.DataFrame":
    """Count persons, tracklets and frames of every split, and its frames by status."""
    import pandas as pd

    tracklets = shards.tracklets
    by_split = tracklets.groupby("split", sort=True)
    table = pd.DataFrame(
        {
            "persons": by_split["pid"].unique().map(lambda pids: (pids > DISTRACTOR).sum()),
            "tracklets": by_split.size(),
            "frames": by_split["length"].sum(),
        }
    )
    split = per_frame(shards, "split")
    for status in Status:
        frames = pd.Series(split[shards.status == status]).value_counts()
        table[status.name.lower()] = frames.reindex(table.index, fill_value=0)
    return table


def per_frame(shards: Shards, column: str) -> np.ndarray:
    """Return a column of the tracklets, repeated for each of their frames."""
    return np.repeat(shards.tracklets[column].to_numpy(), shards.tracklets["length"])


def bad_by_camera(shards: Shards) -> dict[int, float]:
    """Return the share of frames with a status other than OK of every camera."""
    camid = per_frame(shards, "camid")
    is_bad = np.asarray(shards.status) != Status.OK
    return {int(camera): float(is_bad[camid == camera].mean()) for camera in np.unique(camid)}


def bone_stability(shards: Shards) -> dict[str, float]:
    """Return how much the length of each bone varies within a person.

    A bone does not change its length, so whatever its 3D length varies is error. The number is the
    standard deviation over the mean of one person's frames, and the median of that over persons:
    it needs no ground truth. Strangers (pid 0) and junk (pid -1) are left out.
    """
    pid = per_frame(shards, "pid")
    is_used = (pid > 0) & np.isfinite(shards.xyz[:, 0, 0])
    persons, which, frames = np.unique(pid[is_used], return_inverse=True, return_counts=True)
    out = {}
    names = shards.layout.joints
    for a, b in shards.layout.edges:
        # Two joints at a time: all of them in float64 would be gigabytes for a large dataset.
        ends = (shards.xyz[is_used, joint].astype(np.float64) for joint in (a, b))
        length = np.linalg.norm(np.subtract(*ends), axis=1)
        mean = np.bincount(which, length, len(persons)) / frames
        square = np.bincount(which, length**2, len(persons)) / frames
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        seen = frames > 1
        variation = deviation[seen] / np.maximum(mean[seen], 1e-9)
        median = float(np.median(variation)) if seen.any() else float("nan")
        out[f"{names[a]} - {names[b]}"] = median
    return out


def worst(shards: Shards, number: int) -> list[int]:
    """Return positions of the tracklets with most bad frames, then with the lowest scores."""
    mean = np.nanmean(np.where(np.isnan(shards.score), 0, shards.score), axis=1)
    is_bad = np.asarray(shards.status) != Status.OK
    first = shards.tracklets["first"].to_numpy()
    length = shards.tracklets["length"].to_numpy()
    share_bad = np.add.reduceat(is_bad.astype(float), first) / length
    score = np.add.reduceat(mean, first) / length
    return np.lexsort((score, -share_bad))[:number].tolist()


class Truth:
    """Ground truth of every frame of shards, where the dataset has one; NaN where it has not.

    Attributes:
        xy_px: `(F, 17, 2)`, COCO-17.
        is_seen: `(F, 17)`, whether a joint is hidden by nothing.
        xyz: `(F, 17, 3)`, H36M-17 around the pelvis, metres.
    """

    def __init__(self, shards: Shards, file: Path) -> None:
        """Find the frames of the shards in `truth.parquet` by their paths."""
        truth = read_as(
            file,
            {
                "path": pa.string(),
                "xy_px": pa.list_(pa.float32(), 34),
                "visibility": pa.list_(pa.float32(), 17),
                "xyz": pa.list_(pa.float32(), 51),
            },
            "Run: dvc repro walkers",
        )
        at = pc.index_in(shards.paths(), truth["path"].combine_chunks())
        is_found = at.is_valid().to_numpy(zero_copy_only=False)
        rows = at.fill_null(0).to_numpy()

        def of_frames(name: str, shape: tuple[int, ...]) -> np.ndarray:
            return np.where(
                is_found.reshape(-1, *[1] * len(shape)), joints(truth[name], shape)[rows], np.nan
            )

        self.xy_px = of_frames("xy_px", (17, 2))
        self.is_seen = of_frames("visibility", (17,)) == _SEEN
        self.xyz = of_frames("xyz", (17, 3))


def truth_file(shards: Shards) -> Path | None:
    """Return the dataset's ground truth, if it has one."""
    file = paths.dataset_root(shards.metadata.get("dataset", "")) / "truth.parquet"
    return file if file.is_file() else None


def against_truth(shards: Shards, truth: Truth) -> dict[str, float]:
    """Compare skeletons with ground truth, over frames that have both; junk is left out.

    Returns:
        `pck@0.05` and `pck@0.1`: share of visible 2D joints within that part of the person's
        height, which is the vertical extent of the true joints. `mpjpe_mm`: mean 3D distance of
        joints around the pelvis; `scaled_mpjpe_mm` and `pa_mpjpe_mm`: the same after the best
        scale, and after the best scale, turn and shift (Procrustes).
    """
    is_person = per_frame(shards, "pid") >= 0
    both = is_person & ~(np.isnan(truth.xy_px) | np.isnan(shards.xy_px)).any((1, 2))
    both3d = is_person & ~(np.isnan(truth.xyz) | np.isnan(shards.xyz)).any((1, 2))
    xyz, right = (x[both3d] - x[both3d, :1] for x in (shards.xyz, truth.xyz))
    out = {"frames": int(both.sum())}
    for within in (0.05, 0.1):
        share = pck_by_joint(shards, truth, both, within)
        seen = truth.is_seen[both].sum(0)
        out[f"pck@{within}"] = float(np.nansum(share * seen) / seen.sum())
    out["mpjpe_mm"] = float(1000 * mpjpe(xyz, right).mean())
    out["scaled_mpjpe_mm"] = float(1000 * mpjpe(true_scale(xyz, right), right).mean())
    out["pa_mpjpe_mm"] = float(1000 * mpjpe(procrustes(xyz, right), right).mean())
    return out


def pck_by_joint(shards: Shards, truth: Truth, rows: np.ndarray, within: float) -> np.ndarray:
    """Return each joint's share of correct keypoints among some frames, `(17,)`."""
    true = truth.xy_px[rows]
    return pck(shards.xy_px[rows], true, truth.is_seen[rows], np.ptp(true[..., 1], axis=1), within)
