"""How a walker moves: joints in metres, frame by frame, from a body and a gait."""

from dataclasses import dataclass, field

import numpy as np

from extract.walkers.person import Body, Gait

SIDES = {"left": -1.0, "right": 1.0}


@dataclass
class Motion:
    """A walk over `T` frames in world axes (z up, the ground at 0), metres.

    Attributes:
        joints: Position of each named joint, `(T, 3)`.
        frames: Orientation of `pelvis`, `chest`, `head` and of each foot as rows right, front, up:
            `(T, 3, 3)`.
    """

    joints: dict[str, np.ndarray] = field(default_factory=dict)
    frames: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Walk:
    """What differs between two walks of one person.

    Attributes:
        time_s: Time of each frame, `(T,)`.
        heading: Direction at time 0 in radians; 0 is along +y.
        turn: Change of heading per second.
        phase: Where in the gait cycle time 0 lies, in radians.
        pace: Speed relative to the person's usual one.
        look: Amplitude and rate of turning the head.
        busy: For each side, a fixed (shoulder, elbow, spread) while the hand holds something.
    """

    time_s: np.ndarray
    heading: float
    turn: float
    phase: float
    pace: float
    look: tuple[float, float]
    busy: dict[str, tuple[float, float, float]]

    @classmethod
    def sample(cls, rng: np.random.Generator, time_s: np.ndarray, heading: float) -> "Walk":
        """Draw a walk that covers the times given."""
        turn = rng.uniform(-0.25, 0.25) if rng.random() < 0.4 else 0.0
        look = (rng.uniform(-0.5, 0.5), rng.uniform(0.3, 1.5)) if rng.random() < 0.4 else (0.0, 1.0)
        busy = {}
        if rng.random() < 0.18:
            pose = (rng.uniform(-0.1, 0.9), rng.uniform(0.4, 2.2), rng.uniform(0.02, 0.4))
            busy[str(rng.choice(["left", "right"]))] = pose
        phase, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.92, 1.08)
        return cls(time_s, heading, turn, phase, pace, look, busy)


def walk(body: Body, gait: Gait, how: Walk) -> Motion:
    """Return the motion of a person who passes the origin halfway through the walk."""
    bones = body.bones
    phase = how.phase + 2 * np.pi * gait.cadence_hz * how.pace * how.time_s
    motion = Motion()
    _pelvis(motion, gait, phase)
    for side in SIDES:
        _leg(motion, bones, gait, phase, side, how.pace)
    _trunk(motion, bones, gait, phase)
    _head(motion, bones, gait, phase, how)
    for side in SIDES:
        _arm(motion, bones, gait, phase, side, how.busy.get(side))
    _stand_on_ground(motion)
    leg = bones["thigh"] + bones["shank"]
    speed = 3.8 * leg * np.sin(gait.stride * how.pace**0.5) * gait.cadence_hz * how.pace
    _move(motion, how, speed)
    return motion


def _sagittal(angle: np.ndarray, lateral: float | np.ndarray = 0.0) -> np.ndarray:
    """Return unit vectors that hang down and swing forward by `angle`, `(T, 3)`."""
    side = np.broadcast_to(np.sin(lateral), angle.shape)
    hang = np.sqrt(1 - side**2)
    return np.stack([side, np.sin(angle) * hang, -np.cos(angle) * hang], -1)


def _turned(
    yaw: np.ndarray, roll: np.ndarray | float = 0.0, lean: np.ndarray | float = 0.0
) -> np.ndarray:
    """Return rows right, front, up after leaning forward, rolling, then turning left by `yaw`."""
    yaw, roll, lean = np.broadcast_arrays(yaw, roll, lean)
    zero = np.zeros_like(yaw)
    right = np.stack([np.cos(roll), np.sin(roll) * np.sin(lean), np.sin(roll) * np.cos(lean)], -1)
    front = np.stack([zero, np.cos(lean), -np.sin(lean)], -1)
    rows = np.stack([right, front, np.cross(right, front)], -2)
    cos, sin = np.cos(yaw), np.sin(yaw)
    spin = np.stack([cos, sin, zero, -sin, cos, zero, zero, zero, zero + 1], -1)
    return rows @ spin.reshape(-1, 3, 3)


def _outward(vectors: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Turn `(T, 3)` vectors given as (right, front, up) into the axes that `frame` lives in."""
    return np.einsum("tj,tjk->tk", vectors, frame)


def _pelvis(motion: Motion, gait: Gait, phase: np.ndarray) -> None:
    sway = gait.hip_sway * np.sin(phase)
    motion.joints["pelvis"] = np.stack([sway, 0 * sway, 0 * sway], -1)
    motion.frames["pelvis"] = _turned(
        gait.hip_twist * np.sin(phase), gait.hip_roll * np.cos(phase), gait.trunk_lean * 0.5
    )


def _bump(cycle: np.ndarray, centre: float, width: float) -> np.ndarray:
    distance = (cycle - centre + 0.5) % 1 - 0.5
    return np.exp(-((distance / width) ** 2))


def _leg(motion: Motion, bones: dict, gait: Gait, phase: np.ndarray, side: str, pace: float):
    sign = SIDES[side]
    # Side 'right' is half a cycle behind; a limp makes it a little more or less than half.
    phase = phase + (np.pi + gait.leg_asymmetry if side == "right" else 0)
    cycle = phase / (2 * np.pi) % 1
    stride = gait.stride * pace**0.5
    hip = gait.hip_offset + stride * np.cos(phase) + 0.06 * np.cos(2 * phase)
    # Two flexions per cycle: a small one when the leg takes the load, a large one in the swing.
    knee = (
        gait.knee_bend
        + gait.knee_load * _bump(cycle, 0.13, 0.09)
        + gait.knee_lift * _bump(cycle, 0.72, 0.125)
    )
    shank = hip - knee
    joints, pelvis = motion.joints, motion.frames["pelvis"]
    joints[f"{side}_hip"] = joints["pelvis"] + sign * bones["hip"] * pelvis[:, 0]
    lateral = sign * gait.step_width - joints["pelvis"][:, 0] * 0.8
    joints[f"{side}_knee"] = joints[f"{side}_hip"] + bones["thigh"] * _sagittal(hip, lateral * 0.5)
    joints[f"{side}_ankle"] = joints[f"{side}_knee"] + bones["shank"] * _sagittal(
        shank, lateral * 0.3
    )
    pitch = np.where(shank < 0, 0.85 * shank, 0.5 * shank)
    foot = _turned(np.full_like(pitch, -sign * gait.toe_out), 0.0, -pitch)
    motion.frames[f"{side}_foot"] = foot
    sole = joints[f"{side}_ankle"] - bones["ankle"] * foot[:, 2]
    joints[f"{side}_heel"] = sole - 0.27 * bones["foot"] * foot[:, 1]
    joints[f"{side}_toe"] = sole + 0.73 * bones["foot"] * foot[:, 1]


def _trunk(motion: Motion, bones: dict, gait: Gait, phase: np.ndarray) -> None:
    zero = np.zeros_like(phase)
    bend = gait.trunk_lean + gait.stoop * 0.35
    roll = 0.3 * gait.hip_roll * np.cos(phase)
    up = np.stack([roll, np.sin(bend) + zero, np.cos(bend) + zero], -1)
    motion.joints["thorax"] = motion.joints["pelvis"] + bones["spine"] * up
    motion.frames["chest"] = _turned(
        -gait.shoulder_twist * np.sin(phase), zero, gait.trunk_lean + gait.stoop * 0.6
    )


def _head(motion: Motion, bones: dict, gait: Gait, phase: np.ndarray, how: Walk) -> None:
    joints, zero = motion.joints, np.zeros_like(phase)
    amplitude, rate = how.look
    yaw = amplitude * np.sin(rate * how.time_s + how.phase)
    frame = _turned(yaw, 0.0, gait.nod + 0.03 * np.sin(2 * phase))
    motion.frames["head"] = frame
    right, front, up = frame[:, 0], frame[:, 1], frame[:, 2]
    bend = gait.trunk_lean + gait.stoop
    neck = np.stack([zero, np.sin(bend) + zero, np.cos(bend) + zero], -1)
    size = bones["head"]
    joints["chin"] = joints["thorax"] + bones["neck"] * neck
    joints["skull"] = joints["chin"] + 0.5 * size * up + 0.06 * size * front
    joints["nose"] = joints["skull"] + 0.51 * size * front - 0.10 * size * up
    for side, sign in SIDES.items():
        joints[f"{side}_eye"] = (
            joints["skull"] + 0.40 * size * front + sign * 0.15 * size * right + 0.06 * size * up
        )
        joints[f"{side}_ear"] = joints["skull"] + sign * 0.36 * size * right - 0.02 * size * front


def _arm(motion: Motion, bones: dict, gait: Gait, phase: np.ndarray, side: str, busy) -> None:
    sign, joints = SIDES[side], motion.joints
    # An arm swings with the opposite leg.
    swing_phase = phase + (0 if side == "right" else np.pi) + gait.arm_lag
    swing = gait.arm_swing * (1 + sign * gait.arm_asymmetry) * np.cos(swing_phase)
    shoulder = gait.arm_offset + swing
    elbow = gait.elbow_bend + gait.elbow_swing * np.clip(np.cos(swing_phase), 0, None)
    spread = gait.arm_spread
    if busy:
        shoulder, elbow, spread = busy[0] + 0.1 * swing, busy[1] + 0 * swing, busy[2]
    chest = motion.frames["chest"]
    joints[f"{side}_shoulder"] = joints["thorax"] + sign * bones["shoulder"] * chest[:, 0]
    # Arms hang from the shoulder line but do not lean with the chest.
    level = _turned(np.arctan2(chest[:, 0, 1], chest[:, 0, 0]))
    upper = _sagittal(shoulder, sign * spread)
    fore = _sagittal(shoulder + elbow, sign * (0.4 * spread - 0.15 * elbow))
    joints[f"{side}_elbow"] = joints[f"{side}_shoulder"] + bones["upper_arm"] * _outward(
        upper, level
    )
    joints[f"{side}_wrist"] = joints[f"{side}_elbow"] + bones["forearm"] * _outward(fore, level)


def _stand_on_ground(motion: Motion) -> None:
    soles = [motion.joints[f"{side}_{end}"][:, 2] for side in SIDES for end in ("heel", "toe")]
    lowest = np.min(soles, axis=0)
    for joint in motion.joints.values():
        joint[:, 2] -= lowest


def _move(motion: Motion, how: Walk, speed: float) -> None:
    heading = how.heading + how.turn * how.time_s
    spin = _turned(heading)
    step = speed * np.diff(how.time_s, prepend=how.time_s[0])[:, None] * spin[:, 1]
    path = np.cumsum(step, 0)
    path -= path[len(path) // 2]
    for name, joint in motion.joints.items():
        motion.joints[name] = _outward(joint, spin) + path
    for name, frame in motion.frames.items():
        motion.frames[name] = frame @ spin
