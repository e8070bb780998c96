"""Who walks through a street scene, along which lanes and when."""

from dataclasses import dataclass, replace

import numpy as np

from extract.walkers.camera import Camera
from extract.walkers.figure import figure
from extract.walkers.gait import Walk, walk
from extract.walkers.mesh import Mesh, Sketch, sketch
from extract.walkers.person import distractor
from extract.walkers.street import thing

FPS = 15.0
# What a generator is for; the first number after the seed. Those of extract/walkers are others.
_CAMERA, _PERSON, _PATH, _THING = range(100, 104)
# Where people walk, in metres beside the middle of the pavement; furniture stands behind them.
_LANES_M = (-1.7, 1.5)
# A camera looks across the street, from so far that people walk past each other in the picture.
_ACROSS, _FAR_M = 0.85, 7.0
# Shares of the time at which the first and the last one pass the middle of the picture.
_PASS = (0.2, 0.8)


@dataclass(frozen=True)
class Walker:
    """Somebody in the scene.

    Attributes:
        track: Who it is, from 1; the same in every camera.
        sketch: What the camera sees of them, for `T` frames.
        depth_m: How far from the camera they are, `(T,)`.
        ground: Places of heels and toes in world axes, metres, `(T, 4, 3)`.
    """

    track: int
    sketch: Sketch
    depth_m: np.ndarray
    ground: np.ndarray


def camera_of(seed: int, number: int) -> Camera:
    """Return a camera that looks across the street: of the same seed, numbers are other cameras."""
    rng = np.random.default_rng([seed, _CAMERA, number])
    while True:
        camera = Camera.sample(rng)
        if abs(np.sin(camera.street)) > _ACROSS and -camera.position[1] > _FAR_M:
            return camera


def walkers_of(
    seed: int, number: int, camera: Camera, people: int, frames: int
) -> tuple[Walker, ...]:
    """Return the people of a scene: whoever has a number is the same person in every camera.

    Args:
        seed: Of the scene.
        number: Of the camera: paths and times are its own.
        camera: What sees them.
        people: How many walk through.
        frames: How long, at 15 per second.
    """
    return tuple(_walker(seed, number, camera, i, people, frames) for i in range(people))


def pole(seed: int, number: int, camera: Camera) -> Sketch:
    """Return what stands before everybody and hides them one after the other."""
    rng = np.random.default_rng([seed, _THING, number])
    along, across = _axes(camera)
    spot = rng.uniform(-1.5, 1.5) * along - 2.3 * across
    return sketch(thing("pole", spot, 0.0, rng), camera, camera.light)


def _walker(seed: int, number: int, camera: Camera, index: int, people: int, frames: int) -> Walker:
    person = distractor(np.random.default_rng([seed, _PERSON, index]))
    rng = np.random.default_rng([seed, _PATH, number, index])
    along, across = _axes(camera)
    heading = camera.street + rng.choice([0, np.pi]) + rng.normal(0, 0.03)
    how = replace(Walk.sample(rng, np.arange(frames) / FPS, heading), turn=0.0)
    motion = walk(person.body, person.gait, how)
    share = np.interp(index, [0, max(1, people - 1)], _PASS)
    moment = int(share * (frames - 1))
    place = rng.uniform(*_LANES_M) * across + rng.uniform(-1, 1) * along
    shift = place - motion.joints["pelvis"][moment] * [1, 1, 0]
    for name, joint in motion.joints.items():
        motion.joints[name] = joint + shift
    mesh: Mesh = figure(person, motion)
    feet = [f"{side}_{end}" for side in ("left", "right") for end in ("heel", "toe")]
    return Walker(
        index + 1,
        sketch(mesh, camera, camera.light),
        camera.to_axes(motion.joints["pelvis"])[:, 2],
        np.stack([motion.joints[name] for name in feet], 1),
    )


def _axes(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions along the street and across it, away from the camera."""
    along = np.array([-np.sin(camera.street), np.cos(camera.street), 0.0])
    across = np.array([along[1], -along[0], 0.0])
    return along, across if across[1] >= 0 else -across
