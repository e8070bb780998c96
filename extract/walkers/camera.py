"""Street cameras: where they stand, what they do to colours, and the boxes of a detector."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

IMAGE_SIZE = (1280, 720)


@dataclass(frozen=True)
class Light:
    """The light at one camera.

    Attributes:
        direction: Unit vector towards the sun, world axes.
        direct: Strength of the sun.
        ambient: Strength of the sky.
        tint: Colour cast, BGR factors.
    """

    direction: np.ndarray
    direct: float
    ambient: float
    tint: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Light":
        """Draw a light; the sun stands on the camera's side more often than behind the scene."""
        azimuth, elevation = rng.uniform(-2.4, 2.4), rng.uniform(0.5, 1.1)
        direction = np.array(
            [
                np.sin(azimuth) * np.cos(elevation),
                -np.cos(azimuth) * np.cos(elevation),
                np.sin(elevation),
            ]
        )
        exposure = rng.uniform(0.75, 1.15)
        direct = rng.uniform(0.25, 0.75)
        tint = exposure * (1 + rng.normal(0, 0.05, 3))
        return cls(direction, direct, 1.05 - 0.7 * direct, tint)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; world z points up, the street lies at 0 and people pass near the origin.

    Attributes:
        rotation: Rows are the camera's axes x right, y down, z away, `(3, 3)`.
        position: In metres, `(3,)`.
        focal_px: Focal length.
        street: Direction most people walk in (either way), in radians from +y.
        light: Light and colour cast.
        blur_px: Standard deviation of the blur in a finished crop.
        noise: Standard deviation of the noise, in grey levels.
        quality: JPEG quality.
    """

    NEAR_M: ClassVar[float] = 0.4

    rotation: np.ndarray
    position: np.ndarray
    focal_px: float
    street: float
    light: Light
    blur_px: float
    noise: float
    quality: int

    @classmethod
    def sample(cls, rng: np.random.Generator, wide: bool = False) -> "Camera":
        """Draw a camera that looks at the origin from 4 to 11 m.

        Args:
            rng: Its source.
            wide: From 3 to 25 m instead, as often near as far, and from .8 to 6 m above the ground:
                from level to steeply down.
        """
        if wide:
            distance, height = float(np.exp(rng.uniform(*np.log([3.0, 25.0])))), rng.uniform(0.8, 6)
        else:
            distance, height = rng.uniform(4.0, 11.0), rng.uniform(1.5, 4.8)
        position = np.array([0.0, -distance, height])
        target = np.array([rng.uniform(-0.5, 0.5), 0.0, 0.9])
        away = target - position
        away /= np.linalg.norm(away)
        right = np.cross(away, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        roll = rng.uniform(-0.03, 0.03)
        down = np.cross(away, right)
        x = np.cos(roll) * right + np.sin(roll) * down
        rotation = np.stack([x, np.cross(away, x), away])
        return cls(
            rotation=rotation,
            position=position,
            focal_px=distance * rng.uniform(105, 190),
            street=rng.uniform(0, np.pi),
            light=Light.sample(rng),
            blur_px=rng.uniform(0.0, 0.9),
            noise=rng.uniform(1.0, 6.0),
            quality=int(rng.integers(55, 96)),
        )

    def to_axes(self, world: np.ndarray) -> np.ndarray:
        """Return `(..., 3)` world points in the camera's axes, metres."""
        return (world - self.position) @ self.rotation.T

    def to_pixels(self, axes: np.ndarray) -> np.ndarray:
        """Return image coordinates `(..., 2)` of points given in the camera's axes."""
        depth = np.maximum(axes[..., 2:], self.NEAR_M)
        return axes[..., :2] / depth * self.focal_px + np.array(IMAGE_SIZE) / 2


@dataclass(frozen=True)
class Boxes:
    """Boxes of a person detector, one per frame, all twice as high as wide.

    Attributes:
        centre: `(T, 2)` in image pixels.
        height: `(T,)` in image pixels.
    """

    centre: np.ndarray
    height: np.ndarray

    @classmethod
    def around(cls, extent: np.ndarray, rng: np.random.Generator, junk: bool) -> "Boxes":
        """Draw boxes the way a detector finds them: too loose, too tight, a little off.

        Args:
            extent: Left, top, right, bottom of the person in each frame, `(T, 4)`.
            rng: Source of the errors.
            junk: Whether to be so far off that the crop shows no whole person.
        """
        low, high = extent[:, :2], extent[:, 2:]
        size = high - low
        height = np.maximum(size[:, 1], 1.7 * size[:, 0])
        # A detector follows the person, not the tips of feet and hands.
        height = 0.35 * height + 0.65 * np.median(height)
        loose = rng.uniform(0.45, 0.7) if junk else rng.uniform(1.0, 1.3)
        off = rng.uniform(-0.04, 0.04, 2)
        if junk:
            off = rng.choice([-1, 1], 2) * rng.uniform(0.15, 0.35, 2)
        height = height * loose * (1 + rng.normal(0, 0.015, len(height)))
        jitter = off + rng.normal(0, 0.012, (len(height), 2))
        centre = (low + high) / 2 + jitter * height[:, None] * np.array([0.5, 1.0])
        return cls(centre, height)

    def to_crop(self, xy: np.ndarray, crop_height: int) -> np.ndarray:
        """Return image coordinates `(T, ..., 2)` as pixels of crops `crop_height` high.

        Pixel centres lie at whole numbers, as in OpenCV and COCO.
        """
        extra = (1,) * (xy.ndim - 2)
        scale = (crop_height / self.height).reshape(-1, *extra, 1)
        centre = self.centre.reshape(len(self.centre), *extra, 2)
        middle = np.array([crop_height / 4, crop_height / 2])
        return (xy - centre) * scale + middle - 0.5
