"""The only truth about joints: names, edges, mirror images, and the way from COCO to Human3.6M."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.errors import PipelineError, did_you_mean


@dataclass(frozen=True)
class Layout:
    """A set of joints.

    Attributes:
        name: Name stored in file metadata.
        joints: Joint names; their order is the order on disk. Sides are `left_` and `right_`.
        edges: Bones as pairs of joint indices.
        root: Index of the joint that centres a 3D skeleton, or None for a 2D layout.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    root: int | None = None

    @cached_property
    def flip(self) -> tuple[int, ...]:
        """Index of each joint's mirror image, `(J,)`; mirroring also negates x."""
        swap = {"left": "right", "right": "left"}

        def mirrored(joint: str) -> str:
            side, _, rest = joint.partition("_")
            return f"{swap[side]}_{rest}" if side in swap else joint

        return tuple(self.joints.index(mirrored(joint)) for joint in self.joints)

    def adjacency(self) -> np.ndarray:
        """Return the symmetric `(J, J)` 0/1 matrix of bones, without self loops."""
        matrix = np.zeros((len(self.joints), len(self.joints)))
        for a, b in self.edges:
            matrix[a, b] = matrix[b, a] = 1.0
        return matrix


COCO17 = Layout(
    "coco17",
    (
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    (
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
)  # fmt: skip

H36M17 = Layout(
    "h36m17",
    (
        "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "thorax", "neck", "head", "left_shoulder", "left_elbow", "left_wrist",
        "right_shoulder", "right_elbow", "right_wrist",
    ),
    (
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
        (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    ),
    root=0,
)  # fmt: skip

_KINECT20_JOINTS = (
    "hip_centre", "spine", "shoulder_centre", "head", "left_shoulder", "left_elbow", "left_wrist",
    "left_hand", "right_shoulder", "right_elbow", "right_wrist", "right_hand", "left_hip",
    "left_knee", "left_ankle", "left_foot", "right_hip", "right_knee", "right_ankle", "right_foot",
)  # fmt: skip

# Kinect V1 (BIWI, IAS-Lab, KGBD).
KINECT20 = Layout(
    "kinect20",
    _KINECT20_JOINTS,
    (
        (3, 2), (2, 8), (8, 9), (9, 10), (10, 11), (2, 4), (4, 5), (5, 6), (6, 7), (2, 1), (1, 0),
        (0, 16), (0, 12), (16, 17), (17, 18), (18, 19), (12, 13), (13, 14), (14, 15),
    ),
    root=0,
)  # fmt: skip

# Kinect V2 (KS20): the same twenty, then the shoulder spine, hand tips and thumbs.
KINECT25 = Layout(
    "kinect25",
    (
        *_KINECT20_JOINTS,
        "spine_shoulder", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ),
    (
        (3, 2), (2, 20), (20, 8), (20, 4), (20, 1), (8, 9), (9, 10), (10, 11), (4, 5), (5, 6),
        (6, 7), (1, 0), (0, 16), (0, 12), (16, 17), (17, 18), (18, 19), (12, 13), (13, 14),
        (14, 15), (11, 23), (10, 24), (7, 21), (6, 22),
    ),
    root=0,
)  # fmt: skip

LAYOUTS = {layout.name: layout for layout in (COCO17, H36M17, KINECT20, KINECT25)}

# H36M joints that COCO has under the same meaning. The neck (9) is COCO's nose: it is what
# MMPose's lifters were trained with.
_H36M_FROM_COCO = {
    1: 12, 2: 14, 3: 16, 4: 11, 5: 13, 6: 15, 9: 0, 11: 5, 12: 7, 13: 9, 14: 6, 15: 8, 16: 10,
}  # fmt: skip


def layout(name: str) -> Layout:
    """Return the layout called `name`.

    Raises:
        PipelineError: If there is none of that name.
    """
    if name not in LAYOUTS:
        raise PipelineError(f"joint layout {name!r} is not known. {did_you_mean(name, LAYOUTS)}")
    return LAYOUTS[name]


def coco_to_h36m(xy: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert COCO-17 joints to H36M-17, with their scores.

    The pelvis is the middle of the hips, the thorax that of the shoulders, the spine lies between
    them and the head between the eyes; a joint made from two carries the lower of their scores.

    Args:
        xy: `(..., 17, D)` coordinates in any frame.
        score: `(..., 17)` confidences.

    Returns:
        `(..., 17, D)` coordinates and `(..., 17)` scores in H36M order.
    """
    out, out_score = np.empty_like(xy), np.empty_like(score)
    for h36m, coco in _H36M_FROM_COCO.items():
        out[..., h36m, :], out_score[..., h36m] = xy[..., coco, :], score[..., coco]
    for h36m, (a, b) in {0: (11, 12), 8: (5, 6), 10: (1, 2)}.items():
        out[..., h36m, :] = (xy[..., a, :] + xy[..., b, :]) / 2
        out_score[..., h36m] = np.minimum(score[..., a], score[..., b])
    out[..., 7, :] = (out[..., 0, :] + out[..., 8, :]) / 2
    out_score[..., 7] = np.minimum(out_score[..., 0], out_score[..., 8])
    return out, out_score


def flip_xyz(xyz: np.ndarray, joints: Layout = H36M17) -> np.ndarray:
    """Mirror root-centred 3D joints `(..., J, 3)`: left becomes right and x changes sign."""
    return xyz[..., list(joints.flip), :] * np.array([-1, 1, 1], dtype=xyz.dtype)
