"""The head of a walker: skull, face, hair or cap."""

import numpy as np

from extract.walkers.gait import SIDES, Motion
from extract.walkers.mesh import Builder
from extract.walkers.person import Face, Person

_STRIPS = 12


def add_head(make: Builder, person: Person, motion: Motion) -> None:
    """Add the skull with its face, and the hair or the cap on it."""
    size, skull, axes = person.body.bones["head"], motion.joints["skull"], motion.frames["head"]
    right, front, up = axes[:, 0], axes[:, 1], axes[:, 2]
    # 'level' runs from the chin (-1) to the crown (1).
    level = np.array([-1.0, -0.86, -0.55, -0.2, 0.1, 0.4, 0.65, 0.85, 0.98])
    around = np.sqrt(np.clip(1 - level**2, 0.03, 1)) ** 0.8
    jaw = np.where(level < -0.3, 0.86, 1.0)
    hair = 1.0 + 0.05 * (level > 0.5) * (person.face.style != "bald")
    centres = skull + (level * 0.5 * size)[:, None, None] * up
    centres = centres + (0.03 * size * (level < -0.3))[:, None, None] * front
    make.tube(
        centres,
        right,
        front,
        0.37 * size * around * jaw * hair,
        0.46 * size * around * hair,
        _head_colours(person.face, (level[1:] + level[:-1]) / 2),
    )
    _features(make, person.face, motion.joints, size, axes)
    if person.clothes.hat:
        _cap(make, person.clothes.accent, size, skull, axes)
    elif person.face.style in ("long", "bun"):
        _back_hair(make, person.face, size, skull, axes)


def _features(
    make: Builder, face: Face, joints: dict[str, np.ndarray], size: float, axes: np.ndarray
) -> None:
    """Add eyes, ears, nose and mouth: they tell where a person looks."""
    right, front, up = axes[:, 0], axes[:, 1], axes[:, 2]
    patch = make.patch
    for side, sign in SIDES.items():
        eye = joints[f"{side}_eye"] + 0.03 * size * front
        across = right - sign * 0.45 * front
        if face.glasses:
            patch(eye, across, up, (0.13 * size, 0.08 * size), np.array([25.0, 22, 20]))
        else:
            patch(eye, across, up, (0.085 * size, 0.045 * size), np.array([225.0, 228, 230]))
            patch(eye, across, up, (0.04 * size, 0.045 * size), np.array([35.0, 30, 28]), 0.04)
            brow = eye + 0.11 * size * up
            patch(brow, across, up, (0.10 * size, 0.02 * size), face.hair * 0.7, 0.035)
        patch(
            joints[f"{side}_ear"],
            -sign * front,
            up,
            (0.07 * size, 0.1 * size),
            face.skin * 0.85,
        )
    tip = joints["nose"] + 0.03 * size * front
    bridge = joints["nose"] + 0.17 * size * up - 0.05 * size * front
    for sign in SIDES.values():
        wing = joints["nose"] + sign * 0.09 * size * right - 0.06 * size * (up + front)
        corners = [bridge, wing, tip] if sign > 0 else [bridge, tip, wing]
        make.triangle(corners, face.skin * 0.92, 0.04)
    mouth = joints["skull"] + 0.42 * size * front - 0.31 * size * up
    patch(mouth, right, up, (0.12 * size, 0.03 * size), face.skin * np.array([0.6, 0.5, 0.8]))


def _cap(
    make: Builder, colour: np.ndarray, size: float, skull: np.ndarray, axes: np.ndarray
) -> None:
    right, front, up = axes[:, 0], axes[:, 1], axes[:, 2]
    level = np.array([0.42, 0.62, 0.85, 1.02])
    around = np.sqrt(np.clip(1 - (level * 0.92) ** 2, 0.02, 1)) ** 0.8 * 1.13 * size
    colours = np.tile(colour, (3, _STRIPS, 1))
    centres = skull + (level * 0.5 * size)[:, None, None] * up
    make.tube(centres, right, front, 0.37 * around, 0.46 * around, colours, 0.02)
    peak = skull + 0.21 * size * up + 0.62 * size * front
    make.patch(peak, right, -front, (0.30 * size, 0.2 * size), colour * 0.8)
    make.patch(peak, right, front, (0.30 * size, 0.2 * size), colour * 0.5)


def _back_hair(make: Builder, face: Face, size: float, skull: np.ndarray, axes: np.ndarray) -> None:
    right, front, up = axes[:, 0], axes[:, 1], axes[:, 2]
    if face.style == "bun":
        drop, half = np.array([0.62, 0.5, 0.3, 0.1, 0.0]), [0.05, 0.15, 0.19, 0.13, 0.04]
        back = np.array([0.38, 0.46, 0.5, 0.5, 0.46])
    else:
        drop, half = np.array([0.4, 0.1, -0.3, -0.7, -0.85]), [0.2, 0.37, 0.38, 0.32, 0.2]
        back = np.array([0.14, 0.20, 0.28, 0.32, 0.34])
    centres = skull + (drop * size)[:, None, None] * up - (back * size)[:, None, None] * front
    width = np.array(half) * size
    colours = np.tile(face.hair * 0.95, (len(drop) - 1, 8, 1))
    make.tube(centres, right, front, width, width * 0.7, colours)


def _head_colours(face: Face, level: np.ndarray) -> np.ndarray:
    """Return colours of the skull's cells, `(bands, strips, 3)`: hair, skin and beard."""
    angle = np.abs((np.arange(_STRIPS) / _STRIPS + 0.5) % 1 - 0.5) * 360
    colours = np.tile(face.skin, (len(level), _STRIPS, 1))
    if face.style != "bald":
        colours[level > 0.55] = face.hair
        colours[np.ix_(level > -0.4, angle > 80)] = face.hair
        if face.style == "long":
            colours[np.ix_(level > -0.7, angle > 60)] = face.hair
    if face.beard:
        colours[np.ix_(level < -0.35, angle < 100)] = face.hair
    return colours
