"""The frames of a street scene: everybody in one picture, near ones before far ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from extract.scene.crowd import Walker, camera_of, pole, walkers_of
from extract.walkers.camera import IMAGE_SIZE, Camera
from extract.walkers.mesh import Sketch
from extract.walkers.street import backdrop, fill

# Drawn twice as large and averaged, for smooth edges; who hides whom is counted in a quarter.
_FINE, _COARSE = 2.0, 0.25
_STREET, _NOISE = 104, 105
# Somebody of whom less is in sight has no box: nobody could find them.
_SEEN = 0.05
_SHADE = 0.68


class TrueBox(NamedTuple):
    """Where somebody is in a frame.

    Attributes:
        track: Who.
        x, y, width, height: Around what is in the picture of them, hidden or not; pixels.
        visible: Share of them that is in the picture and that nobody hides.
    """

    track: int
    x: float
    y: float
    width: float
    height: float
    visible: float


@dataclass
class Scene:
    """A street, a camera and the people who walk through.

    Attributes:
        seed: Decides who walks; the same people in every camera.
        number: Of the camera: where it stands, and when who passes it.
        people: How many.
        frames: How long, at 15 per second.
    """

    seed: int
    number: int
    people: int
    frames: int
    camera: Camera = field(init=False)
    walkers: tuple[Walker, ...] = field(init=False)
    pole: Sketch = field(init=False)

    def __post_init__(self) -> None:
        self.camera = camera_of(self.seed, self.number)
        self.walkers = walkers_of(self.seed, self.number, self.camera, self.people, self.frames)
        self.pole = pole(self.seed, self.number, self.camera)

    def film(self) -> Iterator[tuple[np.ndarray, list[TrueBox]]]:
        """Yield the BGR picture `(720, 1280, 3)` and the true boxes of every frame."""
        street = backdrop(self.camera, np.random.default_rng([self.seed, _STREET, self.number]))
        street = cv2.resize(street, None, fx=_FINE, fy=_FINE)
        rng = np.random.default_rng([self.seed, _NOISE, self.number])
        for t in range(self.frames):
            far_first = self._far_first(t)
            canvas = street.copy()
            for walker in far_first:
                self._shadow(canvas, walker, t)
            for walker in far_first:
                _draw(canvas, walker.sketch, t)
            _draw(canvas, self.pole, 0)
            image = cv2.resize(canvas, IMAGE_SIZE, interpolation=cv2.INTER_AREA)
            yield self._exposed(image, rng), self.boxes(t)

    def _shadow(self, canvas: np.ndarray, walker: Walker, t: int) -> None:
        feet = walker.ground[t]
        low, high = feet.min(0), feet.max(0)
        if walker.depth_m[t] <= self.camera.NEAR_M:
            return
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        reach = (high - low)[:2] / 2 + 0.04
        ring = np.stack([np.cos(angle) * reach[0], np.sin(angle) * reach[1], 0 * angle], -1)
        ring += [*(low + high)[:2] / 2, 0.0]
        outline = _scaled(self.camera.to_pixels(self.camera.to_axes(ring)), _FINE)
        size = np.array(canvas.shape[1::-1])
        low_px = np.clip(np.floor(outline.min(0)), 0, size).astype(int)
        high_px = np.clip(np.ceil(outline.max(0)) + 1, 0, size).astype(int)
        (left, top), (right, bottom) = low_px, high_px
        region = canvas[top:bottom, left:right]
        if region.size:
            dark = np.zeros(region.shape[:2], np.uint8)
            cv2.fillConvexPoly(dark, (outline - low_px).round().astype(np.int32), 1)
            cv2.copyTo(cv2.convertScaleAbs(region, alpha=_SHADE), dark, region)

    def _exposed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.camera.blur_px > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), self.camera.blur_px)
        width, height = IMAGE_SIZE
        noise = rng.standard_normal((height // 2, width // 2), dtype=np.float32)
        noise = cv2.resize(noise * self.camera.noise, IMAGE_SIZE)
        return cv2.add(image, cv2.merge([noise] * 3), dtype=cv2.CV_8U)

    def _far_first(self, t: int) -> list[Walker]:
        return sorted(self.walkers, key=lambda walker: -walker.depth_m[t])

    def boxes(self, t: int) -> list[TrueBox]:
        """Return the true boxes of frame `t`; how much is seen is found by painting over."""
        far_first = self._far_first(t)
        width, height = (round(side * _COARSE) for side in IMAGE_SIZE)
        painted = np.zeros((height, width), np.uint8)
        whole = {}
        for walker in far_first:
            # On a canvas three times as wide: who is half outside is half seen.
            own = np.zeros((height, 3 * width), np.uint8)
            _draw(own, walker.sketch, t, _COARSE, grey=255.0, shift=width)
            whole[walker.track] = np.count_nonzero(own)
            painted[own[:, width : 2 * width] > 0] = walker.track
        _draw(painted, self.pole, 0, _COARSE, grey=0.0)
        found = []
        for walker in sorted(far_first, key=lambda one: one.track):
            box = _extent(walker.sketch.corners[t])
            seen = np.count_nonzero(painted == walker.track) / max(1, whole[walker.track])
            if box is not None and seen >= _SEEN:
                found.append(TrueBox(walker.track, *box, round(float(seen), 3)))
        return found


def _draw(
    canvas: np.ndarray,
    what: Sketch,
    t: int,
    scale: float = _FINE,
    grey: float | None = None,
    shift: float = 0.0,
) -> None:
    corners = _scaled(what.corners[t], scale) + np.array([shift, 0.0])
    colours = what.colours[t] if grey is None else np.full((len(corners), 1), grey)
    fill(canvas, corners, colours)


def _scaled(xy: np.ndarray, scale: float) -> np.ndarray:
    """Return image coordinates on a canvas of another scale; pixel centres are whole numbers."""
    return (xy + 0.5) * scale - 0.5


def _extent(corners: np.ndarray) -> tuple[float, float, float, float] | None:
    """Return x, y, width and height of what lies in the picture, None where nothing does."""
    if not len(corners):
        return None
    flat = corners.reshape(-1, 2) + 0.5
    low = np.clip(flat.min(0), 0, IMAGE_SIZE)
    size = np.clip(flat.max(0), 0, IMAGE_SIZE) - low
    if size.min() < 1:
        return None
    x, y, width, height = np.concatenate([low, size]).round(2).tolist()
    return x, y, width, height
