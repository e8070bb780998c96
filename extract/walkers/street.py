"""Where walkers pass: a drawn street for each camera, and things that stand in the way."""

import cv2
import numpy as np

from extract.walkers.camera import IMAGE_SIZE, Camera
from extract.walkers.mesh import Builder, Mesh, Sketch, sketch

THINGS = ("bin", "pole", "bollard", "planter", "sign", "bench", "car")
_SHIFT = 3


def fill(canvas: np.ndarray, corners: np.ndarray, colours: np.ndarray) -> None:
    """Fill quads `(n, 4, 2)` in their order; pixel centres lie at whole numbers."""
    fixed = np.clip(corners * (1 << _SHIFT), -200_000, 200_000).round().astype(np.int32)
    for corner, colour in zip(fixed, colours.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, corner, colour, cv2.LINE_8, _SHIFT)


def thing(kind: str, at: np.ndarray, yaw: float, rng: np.random.Generator) -> Mesh:
    """Return a street object that stands at `at` `(3,)`, turned by `yaw` radians."""
    make = Builder()
    cos, sin = np.cos(yaw), np.sin(yaw)
    axes = np.array([[[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]]])
    base = at[None].astype(float)
    colour = rng.uniform(40, 170) + rng.normal(0, 22, 3)
    grey = np.full(3, rng.uniform(50, 130))
    if kind == "bin":
        _column(make, base, [(0, 0.24), (0.85, 0.28), (0.86, 0.30), (0.98, 0.26)], colour)
    elif kind == "pole":
        _column(make, base, [(0, 0.09), (0.6, 0.06), (4.5, 0.05)], grey)
    elif kind == "bollard":
        _column(make, base, [(0, 0.10), (0.9, 0.09), (0.98, 0.03)], colour)
    elif kind == "planter":
        make.box(base, axes, (1.3, 0.5, 0.55), grey + 40)
        for offset in (-0.35, 0.0, 0.35):
            leaf = np.array([50, 105, 60]) * rng.uniform(0.6, 1.1)
            spot = base + offset * axes[:, 0] + _up(0.5)
            _column(make, spot, [(0, 0.2), (0.2, 0.3), (0.45, 0.1)], leaf)
    elif kind == "sign":
        _column(make, base, [(0, 0.04), (2.6, 0.04)], grey)
        make.box(base + _up(1.3), axes, (0.6, 0.04, 0.8), colour)
    elif kind == "bench":
        make.box(base + _up(0.38), axes, (1.6, 0.45, 0.06), colour)
        make.box(base + 0.22 * axes[:, 1] + _up(0.44), axes, (1.6, 0.05, 0.42), colour)
        for sign in (-0.7, 0.7):
            make.box(base + sign * axes[:, 0], axes, (0.08, 0.4, 0.38), grey * 0.6)
    elif kind == "car":
        make.box(base + _up(0.28), axes, (4.2, 1.7, 0.55), colour)
        make.box(base + _up(0.83), axes, (2.3, 1.5, 0.5), np.array([70.0, 62, 55]))
        make.box(base + _up(1.3), axes, (2.1, 1.45, 0.06), colour)
        for x in (-1.3, 1.3):
            make.box(base + x * axes[:, 0], axes, (0.6, 1.74, 0.5), np.array([28.0, 28, 28]))
    return make.mesh()


def _up(metres: float) -> np.ndarray:
    return np.array([0.0, 0.0, metres])


def _column(make: Builder, base: np.ndarray, rings: list[tuple[float, float]], colour) -> None:
    height, radius = np.array(rings).T
    centres = base + height[:, None, None] * np.array([0, 0, 1.0])
    x, y = np.array([[1.0, 0, 0]]), np.array([[0, 1.0, 0]])
    make.tube(centres, x, y, radius, radius, np.tile(colour, (len(rings) - 1, 12, 1)))


def backdrop(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Draw the street that a camera looks at, without people: `(720, 1280, 3)` uint8."""
    street = _Street(camera, rng)
    street.ground_and_sky()
    street.wall()
    street.furniture()
    return street.finished()


class _Street:
    """Draws one street; `along` runs the way most people walk, `across` away from the camera."""

    def __init__(self, camera: Camera, rng: np.random.Generator) -> None:
        self.camera, self.rng = camera, rng
        self.image = np.zeros((IMAGE_SIZE[1], IMAGE_SIZE[0], 3), np.uint8)
        self.along = np.array([-np.sin(camera.street), np.cos(camera.street), 0.0])
        across = np.array([self.along[1], -self.along[0], 0.0])
        self.across = across if across[1] >= 0 else -across
        self.has_road = bool(rng.random() < 0.5)
        self.wall_at = rng.uniform(9.5, 13.0) if self.has_road else rng.uniform(2.6, 5.0)
        self.tint = camera.light.tint

    def point(self, along: float, across: float, up: float = 0.0) -> np.ndarray:
        return along * self.along + across * self.across + _up(up)

    def plane(self, corners: list[np.ndarray], colour: np.ndarray) -> None:
        """Fill a flat polygon, cut off where it comes too near to the camera."""
        seen = self.camera.to_axes(np.stack(corners))
        kept: list[np.ndarray] = []
        for a, b in zip(seen, np.roll(seen, -1, 0), strict=True):
            if a[2] > 0.5:
                kept.append(a)
            if (a[2] > 0.5) != (b[2] > 0.5):
                kept.append(a + (0.5 - a[2]) / (b[2] - a[2]) * (b - a))
        if len(kept) < 3:
            return
        xy = np.clip(self.camera.to_pixels(np.stack(kept)), -20_000, 20_000)
        shaded = np.clip(colour * self.tint, 0, 255).tolist()
        fixed = (xy * (1 << _SHIFT)).round().astype(np.int32)
        cv2.fillConvexPoly(self.image, fixed, shaded, cv2.LINE_AA, _SHIFT)

    def strip(self, across: tuple[float, float], colour, along=(-60.0, 60.0), up=0.0) -> None:
        ends = [(along[0], across[0]), (along[1], across[0]), (along[1], across[1])]
        ends.append((along[0], across[1]))
        self.plane([self.point(a, b, up) for a, b in ends], colour)

    def ground_and_sky(self) -> None:
        rng = self.rng
        sky = np.array([225, 205, 185]) * rng.uniform(0.75, 1.1)
        self.image[:] = np.clip(sky * self.tint, 0, 255)
        pavement = np.full(3, rng.uniform(105, 185)) + rng.normal(0, 9, 3)
        self.plane([np.array([x, y, 0.0]) for x, y in ((-90, -30), (90, -30), (90, 90), (-90, 90))],
                   pavement * 0.96)  # fmt: skip
        self.strip((-3.0, 2.8), pavement)
        size = rng.uniform(0.5, 1.4)
        joint = pavement * rng.uniform(0.82, 0.93)
        for at in np.arange(-3.0, 2.8, size):
            self.strip((at, at + 0.02), joint, (-30, 30))
        for at in np.arange(-20, 20, size * rng.uniform(1, 2)):
            self.strip((-3.0, 2.8), joint, (at, at + 0.02))
        if self.has_road:
            asphalt = np.full(3, rng.uniform(60, 105))
            self.strip((2.8, 3.0), pavement * 1.12)
            self.strip((3.0, self.wall_at - 1.5), asphalt)
            for at in np.arange(-40, 40, 4.0):
                self.strip((5.4, 5.55), np.full(3, 205.0), (at, at + 2))

    def wall(self) -> None:
        rng = self.rng
        tone = np.array([1.0, 1.06, 1.14]) if rng.random() < 0.5 else np.ones(3)
        base = np.full(3, rng.uniform(90, 190)) * tone
        front = base * (0.8 + 0.2 * abs(self.across @ self.camera.light.direction))
        height = rng.uniform(6, 12)
        self._panel(-60, 60, 0, height, front)
        self._panel(-60, 60, 0, rng.uniform(0.3, 0.9), front * 0.8)
        pitch, width = rng.uniform(2.2, 4.0), rng.uniform(0.9, 1.8)
        glass = np.array([120, 105, 90]) * rng.uniform(0.5, 1.2)
        for left in np.arange(-28, 28, pitch):
            is_door = rng.random() < 0.2
            for low in (0.05 if is_door else 1.0, 4.0, 7.0):
                if low + 1.8 > height:
                    continue
                high = 2.3 if low < 1.5 else low + 1.7
                self._panel(left - 0.08, left + width + 0.08, low - 0.08, high + 0.08, front * 1.18)
                pane = base * 0.45 if is_door and low < 1 else glass * rng.uniform(0.75, 1.2)
                self._panel(left, left + width, low, high, pane)
        if rng.random() < 0.4:
            awning = np.clip(rng.normal(110, 45, 3), 30, 220)
            start = rng.uniform(-6, 2)
            self._panel(start, start + rng.uniform(3, 6), 2.5, 3.1, awning)

    def _panel(self, left: float, right: float, low: float, high: float, colour) -> None:
        places = ((left, low), (right, low), (right, high), (left, high))
        self.plane([self.point(a, self.wall_at, up) for a, up in places], colour)

    def furniture(self) -> None:
        rng = self.rng
        yaw = np.arctan2(self.along[1], self.along[0])
        placed: list[Mesh] = []
        for _ in range(int(rng.integers(2, 6))):
            kind = str(rng.choice(THINGS[:-1]))
            spot = self.point(rng.uniform(-9, 9), rng.uniform(1.9, 2.6))
            placed.append(thing(kind, spot, yaw, rng))
        if self.has_road:
            for along in np.arange(-14, 14, 5.5):
                if rng.random() < 0.55:
                    spot = self.point(along + rng.uniform(-0.5, 0.5), 4.1)
                    placed.append(thing("car", spot, yaw, rng))
        placed.sort(
            key=lambda mesh: -np.linalg.norm(mesh.quads.mean((0, 1, 2)) - self.camera.position)
        )
        for mesh in placed:
            seen: Sketch = sketch(mesh, self.camera, self.camera.light)
            fill(self.image, seen.corners[0], seen.colours[0])

    def _distance(self, mesh: Mesh) -> float:
        return float(np.linalg.norm(mesh.quads.mean((0, 1, 2)) - self.camera.position))

    def finished(self) -> np.ndarray:
        """Return the picture with the unevenness of real surfaces."""
        height, width = self.image.shape[:2]
        grain = np.zeros((height, width), np.float32)
        for cell, strength in ((2, 3.0), (9, 4.0), (70, 7.0)):
            coarse = self.rng.normal(0, strength, (height // cell + 2, width // cell + 2))
            grain += cv2.resize(coarse.astype(np.float32), (width, height))
        image = cv2.GaussianBlur(self.image, (0, 0), self.rng.uniform(0.6, 1.6))
        return np.clip(image + grain[..., None], 0, 255).astype(np.uint8)
