"""One tracklet: a person walks past a camera, and the crops and joints that come of it."""

from dataclasses import dataclass, replace

import numpy as np

from extract.walkers.camera import Boxes, Camera
from extract.walkers.figure import figure
from extract.walkers.frame import CROP_HEIGHT, CROP_WIDTH, SCALE, Actor, Picture, Scene, expose
from extract.walkers.gait import Motion, Walk, walk
from extract.walkers.mesh import Sketch, sketch
from extract.walkers.person import Person, distractor
from extract.walkers.street import THINGS, thing
from extract.walkers.worlds import FINE, Effects, Fault, by_night, in_infrared, own_size
from pipeline.skeleton import COCO17, coco_to_h36m

FPS = 15.0

OUT_OF_SIGHT, BEHIND_BODY, SEEN = 0, 1, 2
PLAIN = Effects()

# How much nearer than a joint its own limb's skin can be, in metres.
_FLESH_M = np.array([0.06] * 5 + [0.17] * 12)


@dataclass(frozen=True)
class Clip:
    """Crops of one tracklet and the truth about them, for `T` frames.

    Attributes:
        jpegs: Encoded crops, 128 wide and 256 high unless they keep the size of their box.
        xy_px: COCO-17 joints in crop pixels, `(T, 17, 2)` float32.
        visibility: 2 seen, 1 behind the own body, 0 hidden by something else or outside the crop;
            `(T, 17)` int8.
        xyz: H36M-17 joints in metres, camera axes, pelvis at the origin, `(T, 17, 3)` float32.
        root: Position of the pelvis in camera axes, metres, `(T, 3)` float32.
        is_bad: Whether the frame was blurred or covered, `(T,)` bool.
        silhouettes: Where the person is seen, as PNGs of one bit, where they were asked for.
    """

    jpegs: list[bytes]
    xy_px: np.ndarray
    visibility: np.ndarray
    xyz: np.ndarray
    root: np.ndarray
    is_bad: np.ndarray
    silhouettes: list[bytes]


def film(
    person: Person,
    where: Scene,
    numbers: np.ndarray,
    rng: np.random.Generator,
    is_junk: bool = False,
    effects: Effects = PLAIN,
) -> Clip:
    """Render one tracklet.

    Args:
        person: Who walks.
        where: Camera and street.
        numbers: Frame numbers at 15 per second, `(T,)`; gaps are frames that were lost.
        rng: Decides path, box errors, occlusion and noise.
        is_junk: Whether the detector's boxes miss the person.
        effects: What the world does to it.
    """
    camera = where.camera
    motion = _pass_by(person, camera, numbers, rng)
    if effects.is_infrared:
        camera = by_night(camera, motion.joints["pelvis"].mean(0))
    subject = sketch(figure(person, motion), camera, camera.light)
    actors = _bystanders(motion, camera, numbers, rng, effects)
    coco = camera.to_axes(np.stack([motion.joints[name] for name in COCO17.joints], 1))
    boxes = Boxes.around(_extent(subject), rng, is_junk)
    xy_px = boxes.to_crop(camera.to_pixels(coco), CROP_HEIGHT)
    visibility = _own_body(subject, camera.to_pixels(coco), coco[..., 2])
    faults = effects.faults(len(numbers))
    covered = any(fault.cover for fault in faults)
    passer = _passer_by(camera, len(numbers), effects) if covered else None
    picture = Picture(
        replace(where, camera=camera), motion, subject, actors, boxes, effects, passer
    )
    jpegs, silhouettes = _shoot(picture, faults, xy_px, visibility, rng)
    is_bad = np.array([fault != FINE for fault in faults])
    joints = xy_px.astype(np.float32), visibility, *_around_pelvis(coco)
    return Clip(jpegs, *joints, is_bad, silhouettes)


def _shoot(
    picture: Picture,
    faults: list[Fault],
    xy_px: np.ndarray,
    visibility: np.ndarray,
    rng: np.random.Generator,
) -> tuple[list[bytes], list[bytes]]:
    """Expose all frames; joints that are out of sight, or whose crop has a size of its own, change.

    Returns:
        The crops, and the silhouettes where they are asked for.
    """
    jpegs, silhouettes, effects = [], [], picture.effects
    for t, fault in enumerate(faults):
        canvas, hidden = picture.draw(t, fault)
        visibility[t][_is_out_of_sight(xy_px[t], hidden)] = OUT_OF_SIGHT
        size = (CROP_WIDTH, CROP_HEIGHT)
        if effects.at_own_size:
            size = own_size(picture.boxes.height[t])
            xy_px[t] = (xy_px[t] + 0.5) * size[1] / CROP_HEIGHT - 0.5
        if effects.with_silhouettes:
            silhouettes.append(picture.silhouette(t, hidden, size))
        jpegs.append(expose(canvas, picture.where.camera, rng, size, fault))
    return jpegs, silhouettes


def pose_only(
    person: Person, camera: Camera, numbers: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `film` would know of the joints of a tracklet, without drawing it.

    The boxes are those of a detector that sees the joints alone.

    Args:
        person: Who walks.
        camera: What looks on.
        numbers: Frame numbers at 15 per second, `(T,)`.
        rng: Decides path and box errors.

    Returns:
        `xy_px` `(T, 17, 2)`, `xyz` `(T, 17, 3)` and `root` `(T, 3)`, as in `Clip`.
    """
    motion = _pass_by(person, camera, numbers, rng)
    coco = camera.to_axes(np.stack([motion.joints[name] for name in COCO17.joints], 1))
    pixels = camera.to_pixels(coco)
    boxes = Boxes.around(np.concatenate([pixels.min(1), pixels.max(1)], -1), rng, junk=False)
    xyz, root = _around_pelvis(coco)
    return boxes.to_crop(pixels, CROP_HEIGHT).astype(np.float32), xyz, root


def _around_pelvis(coco: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return H36M-17 joints `(T, 17, 3)` around the pelvis, and the pelvis `(T, 3)`."""
    h36m = coco_to_h36m(coco, np.ones(coco.shape[:2]))[0]
    root = h36m[:, :1]
    return (h36m - root).astype(np.float32), root[:, 0].astype(np.float32)


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


def _bystanders(
    motion: Motion, camera: Camera, numbers: np.ndarray, rng, effects: Effects
) -> list[Actor]:
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
        actors.append(Actor(sketch(thing(kind, spot, yaw, rng), camera, camera.light), True))
    if rng.random() < 0.22:
        apart = rng.choice([-1, 1]) * rng.uniform(0.7, 1.4)
        who = _seen(distractor(rng), effects)
        other = _pass_by(who, camera, numbers, rng)
        place = middle + apart * toward + rng.uniform(-0.7, 0.7) * side
        place = place - other.joints["pelvis"].mean(0) * [1, 1, 0]
        for name, joint in other.joints.items():
            other.joints[name] = joint + place
        seen = sketch(figure(who, other), camera, camera.light)
        actors.append(Actor(seen, bool(apart > 0)))
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


def _is_out_of_sight(xy_px: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    size = np.array([CROP_WIDTH, CROP_HEIGHT])
    out = ((xy_px < -0.5) | (xy_px > size - 0.5)).any(1)
    if hidden is not None:
        column, row = (np.clip(xy_px.round(), 0, size - 1).astype(int) * SCALE).T
        out |= hidden[row, column] > 0
    return out


def _passer_by(camera: Camera, frames: int, effects: Effects) -> Sketch:
    who = _seen(distractor(effects.rng), effects)
    motion = _pass_by(who, camera, np.arange(frames), effects.rng)
    return sketch(figure(who, motion), camera, camera.light)


def _seen(person: Person, effects: Effects) -> Person:
    return in_infrared(person, effects.rng) if effects.is_infrared else person
