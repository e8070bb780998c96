"""Worlds beside the street by day: infrared, from the air, with frames that went wrong.

Each has generators of its own, so that a world leaves the bytes of the plain one alone.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np

from extract.walkers.camera import IMAGE_SIZE, Camera, Light
from extract.walkers.person import Clothes, Face, Person

# Flights of one camera: each has an altitude, an angle and a street of its own.
SESSIONS = 4
FOCAL_AERIAL_PX = 1100.0
# Height of a crop to which a blurred frame is shrunk, and how much of it a passer-by hides.
_BLUR_PX, _COVER = (8, 16), (0.6, 0.9)
_SKIN, _HAIR = 0.75, 0.35


class View(NamedTuple):
    """How a tracklet was seen, by the columns of an index.

    Attributes:
        spectrum: `visible` or `infrared`.
        platform: `ground` or `aerial`.
        altitude_m: Of the camera.
        distance_m: From the camera to where people walk.
        angle_deg: By which the camera looks down.
    """

    spectrum: str
    platform: str
    altitude_m: float
    distance_m: float
    angle_deg: float


def view(camera: Camera, is_infrared: bool, is_aerial: bool) -> View:
    """Return how a camera sees people who walk near the origin."""
    altitude, distance = float(camera.position[2]), float(np.linalg.norm(camera.position))
    return View(
        "infrared" if is_infrared else "visible",
        "aerial" if is_aerial else "ground",
        altitude,
        distance,
        float(np.degrees(np.arcsin(altitude / distance))),
    )


@dataclass(frozen=True)
class Effects:
    """What a world does to one clip; as it is, nothing.

    Attributes:
        rng: Decides how frames go wrong.
        bad_frames: `(T,)`, True where a frame is blurred or covered.
        is_infrared: Whether people are lit by the camera, and colours are not seen.
        at_own_size: Whether crops are as large as the box was, not 256 high.
        with_silhouettes: Whether to draw them.
    """

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    bad_frames: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    is_infrared: bool = False
    at_own_size: bool = False
    with_silhouettes: bool = False

    def faults(self, frames: int) -> list["Fault"]:
        """Return what goes wrong in each frame."""
        is_bad = self.bad_frames if len(self.bad_frames) else np.zeros(frames, bool)
        return [Fault.sample(self.rng) if bad else FINE for bad in is_bad]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a frame.

    Attributes:
        blur_px: Height to which the crop is shrunk and drawn up again, 0 for none.
        cover: Share of the person's width a passer-by hides, 0 for none.
        side: From which side the passer-by comes, -1 or 1.
    """

    blur_px: int = 0
    cover: float = 0.0
    side: int = 1

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Fault":
        """Draw a fault: as often a blur as a passer-by."""
        if rng.random() < 0.5:
            return cls(blur_px=int(rng.integers(*_BLUR_PX, endpoint=True)))
        return cls(cover=float(rng.uniform(*_COVER)), side=int(rng.choice([-1, 1])))

    def blurred(self, image: np.ndarray) -> np.ndarray:
        """Return a crop `(H, W, 3)` as it is seen through the fault."""
        if not self.blur_px:
            return image
        height, width = image.shape[:2]
        small = (max(2, self.blur_px * width // height), self.blur_px)
        shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC)


FINE = Fault()


def in_infrared(person: Person, rng: np.random.Generator) -> Person:
    """Return the person as an infrared camera sees them.

    What cloth reflects there has nothing to do with its colour: each garment's share is drawn
    apart from it. Skin is bright and hair dark on everybody.
    """

    def grey(low: float = 0.25, high: float = 0.95) -> np.ndarray:
        return np.full(3, 255 * rng.uniform(low, high))

    garments = ("top", "inner", "bottom", "shoe", "accent", "bag_colour")
    clothes: Clothes = replace(person.clothes, **{name: grey() for name in garments})
    face: Face = replace(person.face, skin=np.full(3, 255 * _SKIN), hair=np.full(3, 255 * _HAIR))
    return replace(person, clothes=clothes, face=face)


def by_night(camera: Camera, middle: np.ndarray) -> Camera:
    """Return the camera with a lamp of its own in place of the sun, and the noise of night.

    Args:
        camera: As by day.
        middle: Where the person walks, `(3,)`; the lamp is weaker the farther away.
    """
    towards = camera.position - middle
    distance = float(np.linalg.norm(towards))
    strength = float(np.clip((7.0 / distance) ** 1.2, 0.4, 1.25))
    lamp = Light(towards / distance, 0.8, 0.2, np.full(3, strength))
    return replace(camera, light=lamp, noise=1.8 * camera.noise)


def grey(image: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Return a BGR image without its colours, darker by `strength`."""
    plain = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.merge([cv2.convertScaleAbs(plain, alpha=strength)] * 3)


def aerial(ground: Camera, altitude_m: tuple[float, float], rng: np.random.Generator) -> Camera:
    """Return a camera that flies over the street of another and looks down on it."""
    altitude, angle = rng.uniform(*altitude_m), np.radians(rng.uniform(30, 80))
    position = np.array([0.0, -altitude / np.tan(angle), altitude])
    away = np.array([rng.uniform(-0.5, 0.5), 0.0, 0.9]) - position
    away /= np.linalg.norm(away)
    right = np.cross(away, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(away, right), away])
    return replace(
        ground, rotation=rotation, position=position, focal_px=FOCAL_AERIAL_PX, blur_px=0.3
    )


def own_size(box_height: float) -> tuple[int, int]:
    """Return width and height of a crop that keeps the pixels of its box."""
    height = int(np.clip(round(box_height), 12, IMAGE_SIZE[1]))
    return max(6, height // 2), height
