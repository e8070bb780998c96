"""One tracklet: a person walks past a camera, and the crops and joints that come of it."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from extract.walkers.camera import Boxes, Camera
from extract.walkers.figure import figure
from extract.walkers.gait import SIDES, Motion, Walk, walk
from extract.walkers.mesh import Sketch, sketch
from extract.walkers.person import Person, stranger
from extract.walkers.street import THINGS, backdrop, fill, thing
from pipeline.skeleton import COCO17, coco_to_h36m

FPS = 15.0
CROP_WIDTH, CROP_HEIGHT = 128, 256
# Drawn twice as large and averaged: smooth edges cost a tenth of the time.
_SCALE = 2

OUT_OF_SIGHT, BEHIND_BODY, SEEN = 0, 1, 2

# How much nearer than a joint its own limb's skin can be, in metres.
_FLESH_M = np.array([0.06] * 5 + [0.17] * 12)


@dataclass(frozen=True)
class Scene:
    """A camera and the street it looks at."""

    camera: Camera
    backdrop: np.ndarray


@lru_cache(maxsize=64)
def scene(*key: int) -> Scene:
    """Return the scene that belongs to a seed."""
    rng = np.random.default_rng(key)
    camera = Camera.sample(rng)
    return Scene(camera, backdrop(camera, rng))


@dataclass(frozen=True)
class Clip:
    """Crops of one tracklet and the truth about them, for `T` frames.

    Attributes:
        jpegs: Encoded crops, 128 wide and 256 high.
        xy_px: COCO-17 joints in crop pixels, `(T, 17, 2)` float32.
        visibility: 2 seen, 1 behind the own body, 0 hidden by something else or outside the crop;
            `(T, 17)` int8.
        xyz: H36M-17 joints in metres, camera axes, pelvis at the origin, `(T, 17, 3)` float32.
        root: Position of the pelvis in camera axes, metres, `(T, 3)` float32.
    """

    jpegs: list[bytes]
    xy_px: np.ndarray
    visibility: np.ndarray
    xyz: np.ndarray
    root: np.ndarray


@dataclass(frozen=True)
class _Actor:
    """Something in the picture besides the street: its sketch and whether it hides the subject."""

    sketch: Sketch
    is_nearer: bool

    def at(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        t = min(t, len(self.sketch.corners) - 1)
        return self.sketch.corners[t], self.sketch.colours[t]


def film(
    person: Person,
    where: Scene,
    numbers: np.ndarray,
    rng: np.random.Generator,
    is_junk: bool = False,
) -> Clip:
    """Render one tracklet.

    Args:
        person: Who walks.
        where: Camera and street.
        numbers: Frame numbers at 15 per second, `(T,)`; gaps are frames that were lost.
        rng: Decides path, box errors, occlusion and noise.
        is_junk: Whether the detector's boxes miss the person.
    """
    camera = where.camera
    motion = _pass_by(person, camera, numbers, rng)
    subject = sketch(figure(person, motion), camera, camera.light)
    actors = _bystanders(motion, camera, numbers, rng)
    coco = camera.to_axes(np.stack([motion.joints[name] for name in COCO17.joints], 1))
    boxes = Boxes.around(_extent(subject), rng, is_junk)
    xy_px = boxes.to_crop(camera.to_pixels(coco), CROP_HEIGHT)
    visibility = _own_body(subject, camera.to_pixels(coco), coco[..., 2])
    jpegs = []
    for t in range(len(numbers)):
        canvas = _street(where, boxes, t)
        _shadow(canvas, motion, camera, boxes, t)
        for actor in actors:
            if not actor.is_nearer:
                fill(canvas, _to_canvas(actor.at(t)[0], boxes, t), actor.at(t)[1])
        fill(canvas, _to_canvas(subject.corners[t], boxes, t), subject.colours[t])
        hidden = _cover(canvas, actors, boxes, t)
        visibility[t][_is_out_of_sight(xy_px[t], hidden)] = OUT_OF_SIGHT
        jpegs.append(_expose(canvas, camera, rng))
    h36m = coco_to_h36m(coco, np.ones(coco.shape[:2]))[0]
    root = h36m[:, :1]
    stored = [part.astype(np.float32) for part in (xy_px, h36m - root, root[:, 0])]
    return Clip(jpegs, stored[0], visibility, stored[1], stored[2])


def _pass_by(person: Person, camera: Camera, numbers: np.ndarray, rng) -> Motion:
    heading = camera.street + rng.choice([0, np.pi]) + rng.normal(0, 0.3)
    if rng.random() < 0.2:
        heading = rng.uniform(0, 2 * np.pi)
    how = Walk.sample(rng, (numbers - numbers[0]) / FPS, heading)
    motion = walk(person.body, person.gait, how)
    shift = np.array([rng.uniform(-1.5, 1.5), rng.uniform(-1.0, 1.5), 0.0])
    for name, joint in motion.joints.items():
        motion.joints[name] = joint + shift
    return motion


def _bystanders(motion: Motion, camera: Camera, numbers: np.ndarray, rng) -> list[_Actor]:
    """Draw what else is in the picture: things, and other people, before or behind the subject."""
    middle = motion.joints["pelvis"].mean(0) * [1, 1, 0]
    toward = camera.position * [1, 1, 0] - middle
    distance = np.linalg.norm(toward)
    toward, side = toward / distance, np.array([-toward[1], toward[0], 0]) / distance
    actors = []
    if rng.random() < 0.22:
        kind = str(rng.choice(THINGS))
        near = 1.9 if kind == "car" else rng.uniform(0.6, 1.5)
        yaw = np.arctan2(side[1], side[0]) + rng.normal(0, 0.3)
        spot = middle + min(near, 0.6 * distance) * toward + rng.uniform(-1.2, 1.2) * side
        actors.append(_Actor(sketch(thing(kind, spot, yaw, rng), camera, camera.light), True))
    if rng.random() < 0.22:
        apart = rng.choice([-1, 1]) * rng.uniform(0.7, 1.4)
        who = stranger(rng)
        other = _pass_by(who, camera, numbers, rng)
        place = middle + apart * toward + rng.uniform(-0.7, 0.7) * side
        place = place - other.joints["pelvis"].mean(0) * [1, 1, 0]
        for name, joint in other.joints.items():
            other.joints[name] = joint + place
        seen = sketch(figure(who, other), camera, camera.light)
        actors.append(_Actor(seen, bool(apart > 0)))
    return actors


def _extent(subject: Sketch) -> np.ndarray:
    flat = [corners.reshape(-1, 2) for corners in subject.corners]
    return np.stack([np.concatenate([xy.min(0), xy.max(0)]) for xy in flat])


def _own_body(subject: Sketch, xy: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return which joints `(T, 17)` are seen and which lie behind the person's own body."""
    visibility = np.full(depth.shape, SEEN, np.int8)
    for t, (corners, nearness) in enumerate(zip(subject.corners, subject.depth, strict=True)):
        x, y = xy[t, :, 0, None], xy[t, :, 1, None]
        # A point is inside a convex face when it lies on the same side of all four edges.
        turns = []
        for i in range(4):
            (x0, y0), (x1, y1) = corners[:, i].T, corners[:, (i + 1) % 4].T
            turns.append((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0))
        least = np.minimum(np.minimum(turns[0], turns[1]), np.minimum(turns[2], turns[3]))
        most = np.maximum(np.maximum(turns[0], turns[1]), np.maximum(turns[2], turns[3]))
        covered = ((least >= 0) | (most <= 0)) & (nearness < (depth[t] - _FLESH_M)[:, None])
        visibility[t][covered.any(1)] = BEHIND_BODY
    return visibility


def _to_canvas(xy: np.ndarray, boxes: Boxes, t: int) -> np.ndarray:
    size = CROP_HEIGHT * _SCALE
    scale = size / boxes.height[t]
    return (xy - boxes.centre[t]) * scale + np.array([size / 4, size / 2]) - 0.5


def _street(where: Scene, boxes: Boxes, t: int) -> np.ndarray:
    size = (CROP_WIDTH, CROP_HEIGHT)
    scale = boxes.height[t] / size[1]
    start = boxes.centre[t] - scale * np.array(size) / 2 + 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, start[0]], [0, scale, start[1]]])
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    crop = cv2.warpAffine(where.backdrop, matrix, size, flags=flags, borderMode=border)
    return cv2.resize(crop, None, fx=_SCALE, fy=_SCALE)


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


def _cover(canvas: np.ndarray, actors: list[_Actor], boxes: Boxes, t: int) -> np.ndarray | None:
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


def _is_out_of_sight(xy_px: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    size = np.array([CROP_WIDTH, CROP_HEIGHT])
    out = ((xy_px < -0.5) | (xy_px > size - 0.5)).any(1)
    if hidden is not None:
        column, row = (np.clip(xy_px.round(), 0, size - 1).astype(int) * _SCALE).T
        out |= hidden[row, column] > 0
    return out


def _expose(canvas: np.ndarray, camera: Camera, rng: np.random.Generator) -> bytes:
    image = cv2.resize(canvas, (CROP_WIDTH, CROP_HEIGHT), interpolation=cv2.INTER_AREA)
    if camera.blur_px > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur_px)
    noise = rng.standard_normal((CROP_HEIGHT // 2, CROP_WIDTH // 2), dtype=np.float32)
    noise = cv2.resize(noise * camera.noise, (CROP_WIDTH, CROP_HEIGHT))
    noisy = cv2.add(image, cv2.merge([noise] * 3), dtype=cv2.CV_8U)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])[1].tobytes()
