"""The frames of one clip: the street, who and what is in it, and how a camera exposes them."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from extract.walkers.camera import Boxes, Camera
from extract.walkers.gait import SIDES, Motion
from extract.walkers.mesh import Sketch
from extract.walkers.street import backdrop, fill
from extract.walkers.worlds import Effects, Fault, aerial, grey

CROP_WIDTH, CROP_HEIGHT = 128, 256
# Drawn twice as large and averaged: smooth edges cost a tenth of the time.
SCALE = 2


@dataclass(frozen=True)
class Scene:
    """A camera and the street it looks at."""

    camera: Camera
    backdrop: np.ndarray


@lru_cache(maxsize=64)
def scene(*key: int, altitude_m: tuple[float, float] | None = None, wide: bool = False) -> Scene:
    """Return the scene that belongs to a seed, seen from the air where altitudes are given.

    With `wide` its camera stands at any height and distance.
    """
    rng = np.random.default_rng(key)
    camera = Camera.sample(rng, wide)
    if altitude_m is not None:
        camera = aerial(camera, altitude_m, rng)
    return Scene(camera, backdrop(camera, rng))


@dataclass(frozen=True)
class Actor:
    """Something in the picture besides the street: its sketch and whether it hides the subject."""

    sketch: Sketch
    is_nearer: bool

    def at(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Return corners and colours in frame `t`; what stands still has one frame for all."""
        t = min(t, len(self.sketch.corners) - 1)
        return self.sketch.corners[t], self.sketch.colours[t]


@dataclass
class Picture:
    """All that is drawn into the frames of one clip."""

    where: Scene
    motion: Motion
    subject: Sketch
    actors: list[Actor]
    boxes: Boxes
    effects: Effects
    passer: Sketch | None

    def draw(self, t: int, fault: Fault) -> tuple[np.ndarray, np.ndarray | None]:
        """Return frame `t`, twice as large as the crop, and where something hides the person."""
        boxes, canvas = self.boxes, _street(self.where, self.boxes, t)
        if self.effects.is_infrared:
            canvas = grey(canvas, 0.55)
        _shadow(canvas, self.motion, self.where.camera, boxes, t)
        for actor in self.actors:
            if not actor.is_nearer:
                fill(canvas, _to_canvas(actor.at(t)[0], boxes, t), actor.at(t)[1])
        fill(canvas, _to_canvas(self.subject.corners[t], boxes, t), self.subject.colours[t])
        hidden = _cover(canvas, self.actors, boxes, t)
        if fault.cover:
            hidden = self._passer_by(canvas, hidden, t, fault)
        return (grey(canvas) if self.effects.is_infrared else canvas), hidden

    def _passer_by(
        self, canvas: np.ndarray, hidden: np.ndarray | None, t: int, fault: Fault
    ) -> np.ndarray:
        """Let somebody stand so near before the person that the given share of them is hidden."""
        passer = _to_canvas(self.passer.corners[t], self.boxes, t)
        person = _to_canvas(self.subject.corners[t], self.boxes, t).reshape(-1, 2)
        low, high = person.min(0), person.max(0)
        edge = passer.reshape(-1, 2)
        size = (high - low) * [1.0, 1.15] / np.maximum(np.ptp(edge, axis=0), 1e-6)
        passer = (passer - edge.mean(0)) * size.max() + (low + high) / 2
        # Somebody as wide, moved aside by the share of the person that stays in sight.
        passer[..., 0] += fault.side * (1 - fault.cover) * (high - low)[0]
        hidden = np.zeros(canvas.shape[:2], np.uint8) if hidden is None else hidden
        fill(canvas, passer, self.passer.colours[t])
        fill(hidden, passer, np.full((len(passer), 1), 255.0))
        return hidden

    def silhouette(self, t: int, hidden: np.ndarray | None, size: tuple[int, int]) -> bytes:
        """Return where the person is seen in frame `t`, a PNG of one bit, `size` wide and high."""
        corners = _to_canvas(self.subject.corners[t], self.boxes, t)
        mask = np.zeros((CROP_HEIGHT * SCALE, CROP_WIDTH * SCALE), np.uint8)
        fill(mask, corners, np.full((len(corners), 1), 255.0))
        if hidden is not None:
            mask[hidden > 0] = 0
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        mask = np.where(mask > 127, 255, 0).astype(np.uint8)
        return cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def _to_canvas(xy: np.ndarray, boxes: Boxes, t: int) -> np.ndarray:
    size = CROP_HEIGHT * SCALE
    scale = size / boxes.height[t]
    return (xy - boxes.centre[t]) * scale + np.array([size / 4, size / 2]) - 0.5


def _street(where: Scene, boxes: Boxes, t: int) -> np.ndarray:
    size = (CROP_WIDTH, CROP_HEIGHT)
    scale = boxes.height[t] / size[1]
    start = boxes.centre[t] - scale * np.array(size) / 2 + 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, start[0]], [0, scale, start[1]]])
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    crop = cv2.warpAffine(where.backdrop, matrix, size, flags=flags, borderMode=border)
    return cv2.resize(crop, None, fx=SCALE, fy=SCALE)


def _shadow(canvas: np.ndarray, motion: Motion, camera: Camera, boxes: Boxes, t: int) -> None:
    feet = [motion.joints[f"{side}_{end}"][t] for side in SIDES for end in ("heel", "toe")]
    low, high = np.min(feet, 0), np.max(feet, 0)
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    reach = (high - low)[:2] / 2 + 0.04
    ring = np.stack([np.cos(angle) * reach[0], np.sin(angle) * reach[1], 0 * angle], -1)
    ring += [*(low + high)[:2] / 2, 0.0]
    outline = _to_canvas(camera.to_pixels(camera.to_axes(ring)), boxes, t)
    left, top = np.clip(outline.min(0), 0, None).astype(int)
    right, bottom = np.clip(np.ceil(outline.max(0)).astype(int) + 1, 0, None)
    region = canvas[top:bottom, left:right]
    if region.size:
        dark = np.zeros(region.shape[:2], np.uint8)
        cv2.fillConvexPoly(dark, (outline - [left, top]).round().astype(np.int32), 1)
        cv2.copyTo(cv2.convertScaleAbs(region, alpha=0.68), dark, region)


def _cover(canvas: np.ndarray, actors: list[Actor], boxes: Boxes, t: int) -> np.ndarray | None:
    """Draw what stands before the subject; return where it does, or None when nothing does."""
    hidden = None
    for actor in actors:
        if actor.is_nearer:
            hidden = np.zeros(canvas.shape[:2], np.uint8) if hidden is None else hidden
            corners, colours = actor.at(t)
            corners = _to_canvas(corners, boxes, t)
            fill(canvas, corners, colours)
            fill(hidden, corners, np.full((len(corners), 1), 255.0))
    return hidden


def expose(
    canvas: np.ndarray,
    camera: Camera,
    rng: np.random.Generator,
    size: tuple[int, int],
    fault: Fault,
) -> bytes:
    """Return a JPEG of what was drawn, `size` wide and high, with the camera's blur and noise."""
    width, height = size
    image = fault.blurred(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA))
    if camera.blur_px > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur_px)
    noise = rng.standard_normal((height // 2, width // 2), dtype=np.float32)
    noise = cv2.resize(noise * camera.noise, size)
    noisy = cv2.add(image, cv2.merge([noise] * 3), dtype=cv2.CV_8U)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])[1].tobytes()
