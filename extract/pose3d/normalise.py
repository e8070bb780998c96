"""How 2D joints of a person crop are brought to the form that a lifter was trained with.

A crop has no camera: where the person stood in the picture and how large the box was drawn are
lost. So each frame is centred on its pelvis and all frames of a tracklet are scaled by one number,
the median height of the pose. What the lifter gives back is seen along the ray to the pelvis,
as if the camera had been turned to look straight at it.
"""

import numpy as np

from pipeline.skeleton import COCO17, H36M17, coco_to_h36m

MIN_SCORE = 0.3

_FACE = [COCO17.joints.index(name) for name in ("nose", "left_eye", "right_eye")]
_ANKLES = [COCO17.joints.index(name) for name in ("left_ankle", "right_ankle")]


def pose_height(xy_px: np.ndarray, score: np.ndarray) -> float:
    """Return the median height of a tracklet's poses, face to ankle, in pixels.

    Frames in which no ankle or nothing of the face reaches a score of 0.3 do not count; where no
    frame is left, all of them count with all their joints.

    Args:
        xy_px: COCO-17 joints of a whole tracklet, `(T, 17, 2)`.
        score: Their scores in [0, 1], `(T, 17)`.
    """
    y = np.where(score >= MIN_SCORE, xy_px[..., 1], np.nan)
    whole = np.isfinite(y[:, _FACE]).any(1) & np.isfinite(y[:, _ANKLES]).any(1)
    y = y[whole] if whole.any() else xy_px[..., 1]
    return float(max(np.median(np.nanmax(y, 1) - np.nanmin(y, 1)), 1.0))


def normalise(
    xy_px: np.ndarray,
    score: np.ndarray,
    root_px: tuple[float, float] = (0.0, 0.0),
    height_px: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Place the poses of a tracklet where a lifter expects them.

    In every frame the pelvis lies at `root_px`, and the median height of the tracklet's poses is
    `height_px`. Box errors that move the crop leave no trace; those that change its size from one
    frame to the next do. The result depends on the whole tracklet: cut it afterwards.

    Args:
        xy_px: COCO-17 joints of a whole tracklet, all finite, `(T, 17, 2)`.
        score: Their scores in [0, 1], `(T, 17)`.
        root_px: Where the pelvis is to lie.
        height_px: How high the median pose is to be.

    Returns:
        H36M-17 joints `(T, 17, 2)` and scores `(T, 17)`, float32.
    """
    scale = height_px / pose_height(xy_px, score)
    xy, h36m_score = coco_to_h36m(xy_px.astype(np.float64), score.astype(np.float64))
    root = xy[:, H36M17.root : H36M17.root + 1]
    placed = (xy - root) * scale + np.asarray(root_px)
    return placed.astype(np.float32), h36m_score.astype(np.float32)


def towards_root(xyz: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Turn poses as if the camera looked straight at the pelvis.

    The turn is a yaw about the camera's y axis, then a pitch about its x axis, each frame by its
    own; a pose that is already in the middle of the picture stays as it is.

    Args:
        xyz: Joints in camera axes with the pelvis at the origin, `(T, J, 3)`.
        root: Position of the pelvis in camera axes, `(T, 3)`.

    Returns:
        `(T, J, 3)`: x right, y down, z away along the ray to the pelvis.
    """
    x, y, z = (root[:, i] for i in range(3))
    level = np.hypot(x, z)
    cos_yaw, sin_yaw = z / level, x / level
    away = np.hypot(level, y)
    cos_pitch, sin_pitch = level / away, y / away
    zero = np.zeros_like(x)
    right = np.stack([cos_yaw, zero, -sin_yaw], -1)
    down = np.stack([-sin_pitch * sin_yaw, cos_pitch, -sin_pitch * cos_yaw], -1)
    ahead = np.stack([cos_pitch * sin_yaw, sin_pitch, cos_pitch * cos_yaw], -1)
    axes = np.stack([right, down, ahead], 1)
    return np.einsum("tij,tkj->tki", axes, xyz).astype(xyz.dtype)
