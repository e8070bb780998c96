"""How far joints are from the truth: PCK and OKS in the picture, MPJPE and lean in space."""

import numpy as np

from pipeline.skeleton import H36M17

_ANKLES = [H36M17.joints.index(f"{side}_ankle") for side in ("left", "right")]
_THORAX = H36M17.joints.index("thorax")

# By how much people differ who mark a joint of COCO-17, as a share of the square root of the
# person's area: the published constants of OKS, twice a standard deviation.
_COCO_SPREAD = 2 * np.array(
    [.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087,
     .089, .089]
)  # fmt: skip


def pck(
    xy: np.ndarray, truth: np.ndarray, counts: np.ndarray, height: np.ndarray, within: float
) -> np.ndarray:
    """Return each joint's share of correct keypoints.

    Args:
        xy: Joints found, `(N, J, 2)`.
        truth: Where they are, `(N, J, 2)`.
        counts: Which of them count, `(N, J)` booleans.
        height: Height of each person in the same pixels, `(N,)`.
        within: Largest distance of a correct joint, as a share of the height.

    Returns:
        `(J,)`, NaN for a joint that never counts.
    """
    distance = np.linalg.norm(xy - truth, axis=-1)
    correct = (distance <= within * height[:, None]) & counts
    with np.errstate(invalid="ignore"):
        return correct.sum(0) / counts.sum(0)


def oks(xy: np.ndarray, truth: np.ndarray, counts: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return each person's object key point similarity, as COCO's evaluation defines it.

    Args:
        xy: COCO-17 joints found, `(N, 17, 2)`.
        truth: Where they are, `(N, 17, 2)`.
        counts: Which of them are marked, `(N, 17)` booleans.
        area: Of each person in square pixels, `(N,)`.

    Returns:
        `(N,)`: 1 where all joints are in place, NaN for a person without a marked joint.
    """
    squared = np.sum((xy - truth) ** 2, -1)
    near = np.exp(-squared / (2 * area[:, None] * _COCO_SPREAD**2)) * counts
    with np.errstate(invalid="ignore"):
        return near.sum(1) / counts.sum(1)


def mpjpe(xyz: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return each frame's mean distance between joints `(N, J, 3)`, in their unit, `(N,)`."""
    return np.linalg.norm(xyz - truth, axis=-1).mean(-1)


def true_scale(xyz: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Scale each pose `(N, J, 3)` by the one factor that brings it nearest to the truth.

    A crop does not show how tall a person is; what is left after this is the error of the pose.
    """
    scale = np.sum(xyz * truth, (-2, -1)) / np.maximum(np.sum(xyz**2, (-2, -1)), 1e-12)
    return xyz * scale[:, None, None]


def procrustes(xyz: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Move, turn and scale each pose `(N, J, 3)` as near to the truth as it goes.

    The rotation is the orthogonal Procrustes solution (Schoenemann, 1966) without reflection.
    """
    xyz_mean, truth_mean = xyz.mean(1, keepdims=True), truth.mean(1, keepdims=True)
    a, b = xyz - xyz_mean, truth - truth_mean
    u, singular, vt = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    mirror = np.sign(np.linalg.det(u @ vt))
    u[:, :, -1] *= mirror[:, None]
    singular[:, -1] *= mirror
    scale = singular.sum(-1) / np.maximum(np.sum(a**2, (-2, -1)), 1e-12)
    return scale[:, None, None] * a @ (u @ vt) + truth_mean


def lean(xyz: np.ndarray) -> float:
    """Return how far a tracklet `(T, 17, 3)` of H36M joints leans in camera axes, in degrees.

    The angle between the vertical and the line from the ankles to the thorax, the mean over the
    frames: 0 for a person upright before a level camera, negative where it looks down on them.
    """
    up = (xyz[:, _THORAX] - xyz[:, _ANKLES].mean(1)).mean(0)
    return float(np.degrees(np.arctan2(up[2], -up[1])))
