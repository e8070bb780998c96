"""Draw skeletons: on frames with confidence as colour, and as stick figures from two views.

Everything takes and returns `(H, W, 3)` RGB uint8. The left side is orange and the right side blue,
everywhere; joints run from red (score 0) over yellow to green (score 1).
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from pipeline.skeleton import COCO17, H36M17, Layout

Colour = tuple[int, int, int]
View = Literal["front", "side"]

LEFT: Colour = (255, 140, 40)
RIGHT: Colour = (70, 160, 255)
MIDDLE: Colour = (225, 225, 225)
TRUTH: Colour = (255, 255, 255)
BACKGROUND: Colour = (30, 32, 38)
TEXT: Colour = (200, 204, 212)
# From (x right, y down, z away) to what goes right, down and away from the eye: the camera's own
# axes, or those of somebody at its left who looks across its path.
_VIEWS: dict[View, np.ndarray] = {
    "front": np.eye(3),
    "side": np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]]),
}


def bone_colours(layout: Layout) -> list[Colour]:
    """Return a colour per edge: left, right, or middle where a bone joins both or neither."""
    colours = []
    for edge in layout.edges:
        sides = {layout.joints[joint].split("_")[0] for joint in edge} & {"left", "right"}
        colours.append({"left": LEFT, "right": RIGHT}[sides.pop()] if len(sides) == 1 else MIDDLE)
    return colours


def confidence_colour(score: float) -> Colour:
    """Return red for 0, yellow for 0.5, green for 1."""
    score = float(np.clip(score, 0, 1))
    return (round(255 * min(1.0, 2 - 2 * score)), round(230 * min(1.0, 2 * score)), 40)


def on_frame(
    frame: np.ndarray,
    xy_px: np.ndarray,
    score: np.ndarray | None = None,
    zoom: int = 2,
    layout: Layout = COCO17,
) -> np.ndarray:
    """Enlarge a frame and draw 2D joints on it.

    Args:
        frame: `(H, W, 3)`.
        xy_px: `(J, 2)` in pixels of the frame; joints that are NaN are left out.
        score: `(J,)` confidences that colour the joints and fade the bones; without them the
            skeleton is drawn thin and white, the way ground truth is.
        zoom: Factor of enlargement.
        layout: Whose joints these are.
    """
    out = cv2.resize(frame, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    # A pixel's centre lies half a pixel from its corner, before and after.
    points = (xy_px + 0.5) * zoom - 0.5
    for (a, b), colour in zip(layout.edges, bone_colours(layout), strict=True):
        if not np.isfinite(points[[a, b]]).all():
            continue
        if score is None:
            _line(out, points[a], points[b], TRUTH, 1)
        else:
            layer = out.copy()
            _line(layer, points[a], points[b], colour, zoom)
            weight = 0.25 + 0.75 * float(np.clip(min(score[a], score[b]), 0, 1))
            out = cv2.addWeighted(layer, weight, out, 1 - weight, 0)
    for joint, point in enumerate(points):
        if score is not None and np.isfinite(point).all():
            _disc(out, point, confidence_colour(score[joint]), zoom + 1)
    return out


def figure(
    xyz: np.ndarray,
    view: View = "front",
    size: tuple[int, int] = (256, 128),
    span: float = 2.1,
    truth: np.ndarray | None = None,
    layout: Layout = H36M17,
) -> np.ndarray:
    """Draw a 3D skeleton seen from the camera or from its side, near bones over far ones.

    Args:
        xyz: `(J, 3)` around the pelvis, camera axes (x right, y down, z away).
        view: `front` is the camera's, `side` that of somebody at its left.
        size: `(H, W)` of the picture in pixels.
        span: How many units of `xyz` its height shows.
        truth: A second skeleton, drawn thin and white.
        layout: Whose joints these are.
    """
    height, width = size
    out = np.full((height, width, 3), BACKGROUND, np.uint8)
    if not np.isfinite(xyz).all():
        return labelled(out, "no joints")

    def pixels(joints: np.ndarray) -> np.ndarray:
        middle = np.array([width / 2, height * 0.47])
        return (joints @ _VIEWS[view].T)[:, :2] * (height / span) + middle

    points, depth = pixels(xyz), (xyz @ _VIEWS[view].T)[:, 2]
    bones = list(zip(layout.edges, bone_colours(layout), strict=True))
    for (a, b), colour in sorted(bones, key=lambda bone: -depth[list(bone[0])].mean()):
        _line(out, points[a], points[b], BACKGROUND, 7)
        _line(out, points[a], points[b], colour, 3)
    if truth is not None and np.isfinite(truth).all():
        for a, b in layout.edges:
            _line(out, pixels(truth)[a], pixels(truth)[b], TRUTH, 1)
    return out


def blank(size: tuple[int, int], text: str = "") -> np.ndarray:
    """Return a dark picture of `(H, W)` pixels with a word in its middle."""
    out = np.full((*size, 3), BACKGROUND, np.uint8)
    return labelled(out, text) if text else out


def labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """Write a word into the middle of a copy of a picture."""
    out = picture.copy()
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    at = ((out.shape[1] - width) // 2, (out.shape[0] + height) // 2)
    cv2.putText(out, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, TEXT, 1, cv2.LINE_AA)
    return out


def captioned(picture: np.ndarray, text: str, height: int = 20) -> np.ndarray:
    """Put a line of text below a picture."""
    return np.concatenate([picture, labelled(blank((height, picture.shape[1])), text)])


def framed(picture: np.ndarray, colour: Colour, width: int = 4) -> np.ndarray:
    """Draw a border outside a picture."""
    return cv2.copyMakeBorder(
        picture, width, width, width, width, cv2.BORDER_CONSTANT, value=colour
    )


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale a picture to fit into `(H, W)` and centre it there."""
    height, width = picture.shape[:2]
    zoom = min(size[0] / height, size[1] / width)
    scaled = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    picture = cv2.resize(picture, scaled, interpolation=cv2.INTER_AREA if zoom < 1 else 1)
    out = blank(size)
    top, left = (size[0] - scaled[1]) // 2, (size[1] - scaled[0]) // 2
    out[top : top + scaled[1], left : left + scaled[0]] = picture
    return out


def tiled(rows: Sequence[Sequence[np.ndarray]], gap: int = 4) -> np.ndarray:
    """Lay pictures out in rows; those of one row must have one height."""
    strips = []
    for row in rows:
        spaced = [cv2.copyMakeBorder(p, 0, gap, 0, gap, 0, value=BACKGROUND) for p in row]
        strips.append(np.concatenate(spaced, axis=1))
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate(
        [
            cv2.copyMakeBorder(strip, 0, 0, 0, width - strip.shape[1], 0, value=BACKGROUND)
            for strip in strips
        ]
    )


def png(picture: np.ndarray) -> bytes:
    """Encode a picture as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def jpeg(picture: np.ndarray) -> bytes:
    """Encode a picture as JPEG, some six times smaller than as PNG."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _line(out: np.ndarray, a: np.ndarray, b: np.ndarray, colour: Colour, width: int) -> None:
    # Four binary digits of a pixel, so that thin lines do not jump from frame to frame.
    ends = [tuple(int(v) for v in np.clip(end * 16, -(2**20), 2**20).round()) for end in (a, b)]
    cv2.line(out, *ends, colour, width, cv2.LINE_AA, shift=4)


def _disc(out: np.ndarray, at: np.ndarray, colour: Colour, radius: int) -> None:
    centre = tuple(int(v) for v in np.clip(at * 16, -(2**20), 2**20).round())
    cv2.circle(out, centre, radius * 16, (20, 20, 20), -1, cv2.LINE_AA, shift=4)
    cv2.circle(out, centre, radius * 16 - 12, colour, -1, cv2.LINE_AA, shift=4)
