"""Small trees in the formats of BIWI, IAS-Lab, KGBD and KS20: people of different bone lengths."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.skeleton import KINECT20, KINECT25, Layout

# The names in KGBD's files, in their order, and where each stands in `KINECT20`.
KGBD_JOINTS = {
    "Head": "head", "Shoulder-Center": "shoulder_centre", "Shoulder-Right": "right_shoulder",
    "Shoulder-Left": "left_shoulder", "Elbow-Right": "right_elbow", "Elbow-Left": "left_elbow",
    "Wrist-Right": "right_wrist", "Wrist-Left": "left_wrist", "Hand-Right": "right_hand",
    "Hand-Left": "left_hand", "Spine": "spine", "Hip-centro": "hip_centre",
    "Hip-Right": "right_hip", "Hip-Left": "left_hip", "Knee-Right": "right_knee",
    "Knee-Left": "left_knee", "Ankle-Right": "right_ankle", "Ankle-Left": "left_ankle",
    "Foot-Right": "right_foot", "Foot-Left": "left_foot",
}  # fmt: skip


def walk(person: int, frames: int, occasion: int, joints: Layout = KINECT20) -> np.ndarray:
    """Return `(F, J, 3)` joints of a person who walks away from the sensor, in its axes."""
    size = len(joints.joints)
    pose = np.random.default_rng(0).normal(size=(size, 3))
    pose /= np.linalg.norm(pose, axis=1, keepdims=True)
    lengths = np.random.default_rng((1, person)).uniform(0.1, 0.5, size)
    rng = np.random.default_rng((2, person, occasion))
    phase = rng.uniform(0, 2 * np.pi) + np.arange(frames) / 3
    swing = 0.2 * np.sin(phase)[:, None, None] * np.random.default_rng(3).normal(size=(size, 3))
    bones = (pose + swing) * lengths[:, None]
    xyz = np.zeros((frames, size, 3))
    reached = [0]
    for joint in reached:
        for other in np.flatnonzero(joints.adjacency()[joint]).tolist():
            if other not in reached:
                xyz[:, other] = xyz[:, joint] + bones[:, other]
                reached.append(other)
    path = np.stack([0.3 * np.sin(phase), np.full(frames, 0.1), 2 + 0.05 * np.arange(frames)], 1)
    return xyz + path[:, None] + rng.normal(scale=0.005, size=xyz.shape)


def tracked(folder: Path, xyz: np.ndarray, untracked: Sequence[int] = ()) -> None:
    """Write a file per frame as BIWI and IAS-Lab do; some frames have an untracked joint."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(xyz):
        states = np.full(len(frame), 2)
        if i in untracked:
            states[7] = 0
        lines = [
            f"{joint},{x:.6f},{y:.6f},{z:.6f},{100 + joint},{200 + joint},{states[joint]},0,0\n"
            for joint, (x, y, z) in enumerate(frame)
        ]
        (folder / f"{i:06}-a_skel.txt").write_text("".join(lines))


def biwi(root: Path, people: Sequence[int] = (1, 2, 3), frames: int = 50) -> Path:
    """Write a tree in the format of BIWI."""
    for occasion, part in enumerate(("Training", "Testing/Still", "Testing/Walking")):
        for person in people:
            tracked(root / part / f"{person:03}", walk(person, frames, occasion))
    return root


def ias_lab(root: Path, people: Sequence[int] = (1, 2, 3), frames: int = 50) -> Path:
    """Write a tree in the format of IAS-Lab."""
    for occasion, part in enumerate(("Training", "TestingA", "TestingB")):
        for person in people:
            tracked(root / part / f"{person}", walk(person, frames, occasion))
    return root


def kgbd(root: Path, people: Sequence[int] = (1, 2, 3), frames: int = 50, walks: int = 5) -> Path:
    """Write a tree in the format of KGBD."""
    places = [KINECT20.joints.index(joint) for joint in KGBD_JOINTS.values()]
    for person in people:
        folder = root / "kinect gait raw dataset" / f"Person{person:03}"
        folder.mkdir(parents=True)
        for number in range(1, walks + 1):
            lines = [
                f"{name};{x:.6f};{y:.6f};{z:.6f}\n"
                for frame in walk(person, frames, number)
                for name, (x, y, z) in zip(KGBD_JOINTS, frame[places], strict=True)
            ]
            (folder / f"{number}.txt").write_text("".join(lines))
    return root


def ks20(root: Path, people: Sequence[int] = (1, 2, 7), frames: int = 20) -> Path:
    """Write a tree in the format of KS20; times are not padded."""
    views = ("frontal", "left_diagonal", "left_lateral", "right_diagonal", "right_lateral")
    for occasion, view in enumerate(views):
        (root / view).mkdir(parents=True)
        for person in people:
            for setting in (1, 2, 3):
                moved = walk(person, frames, 10 * occasion + setting, KINECT25)
                for time, frame in enumerate(moved, 1):
                    lines = [f"{j},{x:.6f},{y:.6f},{z:.6f}\n" for j, (x, y, z) in enumerate(frame)]
                    name = f"gc{setting}_body{person}_{time}.txt"
                    (root / view / name).write_text("".join(lines))
    return root


MAKERS: dict[str, Callable[..., Path]] = {
    "biwi": biwi, "ias_lab": ias_lab, "kgbd": kgbd, "ks20": ks20,
}  # fmt: skip
