"""Close short gaps in a tracklet's 2D joints, and smooth its 3D joints along time."""

import numpy as np

SAVGOL_FRAMES, SAVGOL_ORDER = 9, 2
# Per frame, not per second: crops carry no frame rate.
ONE_EURO_CUTOFF, ONE_EURO_SPEED, ONE_EURO_SPEED_CUTOFF = 0.1, 4.0, 0.05


def bridge(
    xy: np.ndarray, score: np.ndarray, valid: np.ndarray, max_gap: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolate across gaps of at most `max_gap` frames that have good frames on both sides.

    Args:
        xy: Joints, `(T, J, 2)`; those of frames that are not valid are ignored.
        score: Their scores, `(T, J)`.
        valid: Which frames are good, `(T,)`.
        max_gap: Longest gap to close, in frames.

    Returns:
        Joints and scores with gaps filled, and which frames were filled, `(T,)`. Other frames
        that are not valid hold the nearest good one.
    """
    good = np.flatnonzero(valid)
    times = np.arange(len(valid))
    if not len(good):
        return xy, score, np.zeros(len(valid), bool)
    after = np.minimum(np.searchsorted(good, times), len(good) - 1)
    before = np.maximum(np.searchsorted(good, times, side="right") - 1, 0)
    left, right = good[before], good[after]
    inside = (left < times) & (times < right)
    share = np.where(inside, (times - left) / np.maximum(right - left, 1), 0.0)

    def blend(values: np.ndarray) -> np.ndarray:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return (values[left] * (1 - weight) + values[right] * weight).astype(values.dtype)

    return blend(xy), blend(score), inside & (right - left - 1 <= max_gap)


def runs(used: np.ndarray) -> list[tuple[int, int]]:
    """Return first and one-past-last index of each run of true values.

    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], used.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def smooth(xyz: np.ndarray, how: str) -> np.ndarray:
    """Filter the 3D joints of a run of frames `(T, J, 3)` along time.

    Args:
        xyz: Joints.
        how: `none`; `savgol`, which fits a parabola to nine frames; or `one_euro`, which follows
            fast motion and calms slow motion (Casiez et al., CHI 2012).
    """
    if how == "savgol":
        from scipy.signal import savgol_filter

        frames = min(SAVGOL_FRAMES, len(xyz) - 1 + len(xyz) % 2)
        if frames <= SAVGOL_ORDER:
            return xyz
        return savgol_filter(xyz, frames, SAVGOL_ORDER, axis=0).astype(xyz.dtype)
    return _one_euro(xyz) if how == "one_euro" else xyz


def _one_euro(xyz: np.ndarray) -> np.ndarray:
    def weight(cutoff: np.ndarray | float) -> np.ndarray | float:
        rate = 2 * np.pi * cutoff
        return rate / (rate + 1)

    out = xyz.copy()
    speed = np.zeros_like(xyz[0])
    for t in range(1, len(xyz)):
        speed += weight(ONE_EURO_SPEED_CUTOFF) * (xyz[t] - xyz[t - 1] - speed)
        follow = weight(ONE_EURO_CUTOFF + ONE_EURO_SPEED * np.abs(speed))
        out[t] = out[t - 1] + follow * (xyz[t] - out[t - 1])
    return out
