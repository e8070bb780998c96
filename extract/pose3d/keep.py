"""What was seen in the picture, kept in the 3D pose.

A lifter answers with the likeliest body. Across the line of sight the picture knows better: there
the joints lie where they were seen, joint by joint as far as the estimator is sure of them. How far
away a joint is (z) no picture shows; that stays the lifter's.
"""

import numpy as np

from pipeline.skeleton import H36M17

_ROOT = H36M17.joints.index("pelvis")


def keep_seen(xyz: np.ndarray, xy: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Move lifted joints across the line of sight to where they were seen.

    The camera is taken to be far away (weak perspective): one scale per run of frames, by least
    squares, turns the picture's units into metres.

    Args:
        xyz: What the lifter says, pelvis at the origin, metres, `(T, 17, 3)`.
        xy: The same joints in the picture, of one size over the frames, `(T, 17, 2)`.
        score: How sure they are, `(T, 17)`: at 1 x and y are the picture's, at 0 the lifter's. All
            are seen around the pelvis, so none is surer than it.

    Returns:
        `(T, 17, 3)` as `xyz`; z and the pelvis as they were.
    """
    seen = (xy - xy[:, _ROOT : _ROOT + 1]).astype(np.float64)
    weight = np.clip(np.minimum(score, score[:, _ROOT : _ROOT + 1]), 0, 1)[..., None]
    across = xyz[..., :2].astype(np.float64)
    size = np.sum(weight * seen**2)
    scale = np.sum(weight * seen * across) / size if size > 0 else 0.0
    kept = xyz.copy()
    if scale > 0:
        kept[..., :2] = across + weight * (scale * seen - across)
    return kept
