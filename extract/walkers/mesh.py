"""Moving surfaces made of quads: tubes, boxes and flat patches, seen by a camera."""

from dataclasses import dataclass

import numpy as np

from extract.walkers.camera import Camera, Light


@dataclass(frozen=True)
class Mesh:
    """A surface over `T` frames in world axes.

    Attributes:
        quads: Corners of each face, `(T, F, 4, 3)`; seen from outside they have one winding.
        colours: BGR colour of each face, `(F, 3)`.
        nearer: Metres by which a face is taken to be nearer than it is, so that a patch lies on
            its tube, `(F,)`.
    """

    quads: np.ndarray
    colours: np.ndarray
    nearer: np.ndarray


class Builder:
    """Collects the faces of one mesh."""

    def __init__(self) -> None:
        """Start empty."""
        self._quads: list[np.ndarray] = []
        self._colours: list[np.ndarray] = []
        self._nearer: list[np.ndarray] = []

    def mesh(self) -> Mesh:
        """Return what was collected."""
        quads, colours = np.concatenate(self._quads, 1), np.concatenate(self._colours)
        return Mesh(quads.astype(np.float32), colours, np.concatenate(self._nearer))

    def _add(self, quads: np.ndarray, colours: np.ndarray, nearer: float) -> None:
        self._quads.append(quads)
        self._colours.append(np.broadcast_to(colours, (quads.shape[1], 3)))
        self._nearer.append(np.full(quads.shape[1], nearer))

    def tube(
        self,
        centres: np.ndarray,
        right: np.ndarray,
        front: np.ndarray,
        half_width: np.ndarray,
        half_depth: np.ndarray,
        colours: np.ndarray,
        nearer: float = 0.0,
    ) -> None:
        """Add a tube of elliptic rings.

        Args:
            centres: Centre of each ring, `(R, T, 3)`.
            right: Direction of the width, `(T, 3)` or `(R, T, 3)`.
            front: Direction of the depth, likewise.
            half_width: `(R,)` or `(R, T)`.
            half_depth: `(R,)` or `(R, T)`.
            colours: `(R - 1, S, 3)` colour of each band and strip; strip 0 is centred on `front`,
                and they go round by the right.
            nearer: See `Mesh`.
        """
        strips = colours.shape[1]
        angle = (np.arange(strips + 1) - 0.5) * 2 * np.pi / strips
        right, front = (np.broadcast_to(axis, centres.shape) for axis in (right, front))
        shape = (*centres.shape[:2], 1)
        width, depth = (
            np.broadcast_to(np.reshape(half, (len(centres), -1, 1)), shape)
            for half in (half_width, half_depth)
        )
        # (R, T, S + 1, 3): one seam vertex twice is cheaper than wrapping indices.
        ring = (
            centres[:, :, None]
            + np.sin(angle)[:, None] * (width * right)[:, :, None]
            + np.cos(angle)[:, None] * (depth * front)[:, :, None]
        )
        corners = [ring[:-1, :, :-1], ring[:-1, :, 1:], ring[1:, :, 1:], ring[1:, :, :-1]]
        along = (centres[-1] - centres[0])[0]
        if np.cross(right[0, 0], front[0, 0]) @ along > 0:
            corners = corners[::-1]
        quads = np.stack(corners, 3).transpose(1, 0, 2, 3, 4)
        self._add(quads.reshape(quads.shape[0], -1, 4, 3), colours.reshape(-1, 3), nearer)

    def limb(
        self,
        start: np.ndarray,
        end: np.ndarray,
        front: np.ndarray,
        profile: list[tuple[float, float, float]],
        colours: np.ndarray,
    ) -> None:
        """Add a tube along a bone.

        Args:
            start: `(T, 3)`.
            end: `(T, 3)`.
            front: Direction that is to be the front as far as the bone allows, `(T, 3)`.
            profile: For each ring its place along the bone (0 to 1), half width and half depth.
            colours: `(R - 1, S, 3)`.
        """
        place, width, depth = np.array(profile).T
        axis = unit(end - start)
        front = unit(front - np.sum(front * axis, -1, keepdims=True) * axis)
        centres = start + place[:, None, None] * (end - start)
        self.tube(centres, np.cross(front, axis), front, width, depth, colours)

    def patch(
        self,
        centre: np.ndarray,
        right: np.ndarray,
        up: np.ndarray,
        half: tuple[float, float],
        colour: np.ndarray,
        nearer: float = 0.03,
    ) -> None:
        """Add a flat rectangle that is seen from where `right` points to the viewer's left.

        Args:
            centre: `(T, 3)`.
            right: Direction of the width as its wearer has it, `(T, 3)`.
            up: Direction of the height, `(T, 3)`.
            half: Half width and half height in metres.
            colour: `(3,)`.
            nearer: See `Mesh`.
        """
        across, along = half[0] * right, half[1] * up
        corners = (centre - across - along, centre - across + along)
        corners += (centre + across + along, centre + across - along)
        self._add(np.stack(corners, 1)[:, None], colour, nearer)

    def triangle(self, corners: list[np.ndarray], colour: np.ndarray, nearer: float) -> None:
        """Add a triangle of three `(T, 3)` corners."""
        self._add(np.stack([*corners, corners[-1]], 1)[:, None], colour, nearer)

    def box(
        self,
        base: np.ndarray,
        axes: np.ndarray,
        size: tuple[float, float, float],
        colour: np.ndarray,
    ) -> None:
        """Add a box that stands on `base`.

        Args:
            base: Centre of its lower face, `(T, 3)`.
            axes: Rows right, front, up, `(T, 3, 3)`.
            size: Width, depth and height in metres.
            colour: `(3,)`.
        """
        width, depth, height = (part * axes[:, i] for i, part in enumerate(size))
        for sign in (-1, 1):
            middle = base + height / 2
            self._face(middle + sign * width / 2, sign * depth, height, colour)
            self._face(middle - sign * depth / 2, sign * width, height, colour)
        self._face(base + height, width, depth, colour)

    def _face(self, centre: np.ndarray, across: np.ndarray, along: np.ndarray, colour) -> None:
        a, b = across / 2, along / 2
        corners = (centre - a - b, centre + a - b, centre + a + b, centre - a + b)
        self._add(np.stack(corners, 1)[:, None], colour, 0.0)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Sketch:
    """What one camera sees of a mesh, ready to be filled in, for each of `T` frames.

    Attributes:
        corners: Image corners of the faces in sight, far ones first: `(n, 4, 2)` float32 each.
        colours: Their shaded colours: `(n, 3)` each.
        depth: Distance of each of them in metres: `(n,)` each.
    """

    corners: list[np.ndarray]
    colours: list[np.ndarray]
    depth: list[np.ndarray]


def sketch(mesh: Mesh, camera: Camera, light: Light) -> Sketch:
    """Project, shade and sort the faces that look towards the camera."""
    corners = [mesh.quads[:, :, i] for i in range(4)]
    normal = np.cross(corners[2] - corners[0], corners[3] - corners[1])
    normal /= np.sqrt(np.einsum("tfk,tfk->tf", normal, normal))[..., None] + np.float32(1e-9)
    centre = (corners[0] + corners[1] + corners[2] + corners[3]) / 4
    towards = np.einsum("tfk,tfk->tf", normal, camera.position - centre) > 0
    shade = light.ambient + light.direct * np.clip(normal @ light.direction, 0, None)
    shade += 0.12 * normal[..., 2]
    colours = np.clip(mesh.colours * light.tint * shade[..., None], 0, 255)
    seen = camera.to_axes(mesh.quads)
    xy = camera.to_pixels(seen)
    depth = seen[..., 2]
    is_before = np.logical_and.reduce([depth[:, :, i] > camera.NEAR_M for i in range(4)])
    depth = camera.to_axes(centre)[..., 2]
    order_by, shown = depth - mesh.nearer, towards & is_before
    picks = []
    for row, distance in zip(shown, order_by, strict=True):
        picks.append(np.flatnonzero(row)[np.argsort(-distance[row], kind="stable")])
    return Sketch(
        [xy[t, pick] for t, pick in enumerate(picks)],
        [colours[t, pick] for t, pick in enumerate(picks)],
        [depth[t, pick] for t, pick in enumerate(picks)],
    )
