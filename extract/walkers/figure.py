"""The surface of a walker: limbs, trunk with a telling front, bags."""

import numpy as np

from extract.walkers.gait import SIDES, Motion
from extract.walkers.head import add_head
from extract.walkers.mesh import Builder, Mesh
from extract.walkers.person import Person

_TRUNK_STRIPS, _LIMB_STRIPS = 18, 8

# Rings of the trunk: place between pelvis (0) and shoulder line (1), half width, half depth as
# shares of the height.
_TRUNK = np.array(
    [
        (-0.16, 0.082, 0.060), (0.00, 0.096, 0.068), (0.10, 0.095, 0.066), (0.24, 0.086, 0.062),
        (0.38, 0.083, 0.060), (0.52, 0.090, 0.064), (0.66, 0.098, 0.068), (0.80, 0.104, 0.066),
        (0.92, 0.108, 0.058), (1.01, 0.100, 0.046), (1.07, 0.062, 0.040), (1.16, 0.036, 0.036),
    ]
)  # fmt: skip
# Rings of limbs: place along the bone and radius. The first and last ones close the tube, so
# that a bent knee shows no hole.
_THIGH = (
    (-0.12, 0.010), (-0.06, 0.036), (0.0, 0.048), (0.25, 0.050), (0.5, 0.045), (0.75, 0.039),
    (1.0, 0.034), (1.05, 0.024), (1.07, 0.004),
)  # fmt: skip
_SHANK = (
    (-0.09, 0.004), (-0.06, 0.026), (0.0, 0.033), (0.3, 0.036), (0.5, 0.032), (0.8, 0.024),
    (1.02, 0.022),
)  # fmt: skip
_UPPER_ARM = (
    (-0.13, 0.004), (-0.10, 0.016), (0.0, 0.029), (0.2, 0.031), (0.5, 0.029), (0.9, 0.025),
    (1.04, 0.020), (1.07, 0.004),
)  # fmt: skip
_FOREARM = ((-0.10, 0.004), (-0.06, 0.018), (0.0, 0.024), (0.3, 0.026), (0.65, 0.021), (1.0, 0.017))


class _Figure:
    """Builds one person's mesh, part by part."""

    def __init__(self, person: Person, motion: Motion) -> None:
        self.make = Builder()
        self.body, self.clothes, self.face = person.body, person.clothes, person.face
        self.height = person.body.height
        self.joints, self.frames = motion.joints, motion.frames

    def leg(self, side: str) -> None:
        clothes, joints = self.clothes, self.joints
        hip, knee, ankle = (joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        front = self.frames["pelvis"][:, 1]
        covered = 0.35 if clothes.skirt else clothes.leg
        stripe = clothes.accent if clothes.pattern == "sleeves" else None
        self._sleeve(hip, knee, front, _THIGH, 0.0, covered, clothes.bottom, stripe)
        self._sleeve(knee, ankle, front, _SHANK, 1.0, covered, clothes.bottom, stripe)
        self._foot(side)

    def _foot(self, side: str) -> None:
        heel, toe = self.joints[f"{side}_heel"], self.joints[f"{side}_toe"]
        up = self.frames[f"{side}_foot"][:, 2]
        right = self.frames[f"{side}_foot"][:, 0]
        place = np.array([-0.02, 0.08, 0.30, 0.60, 0.88, 1.0])
        width = self.height * np.array([0.010, 0.021, 0.023, 0.025, 0.022, 0.010])
        tall = self.height * np.array([0.014, 0.024, 0.027, 0.018, 0.012, 0.007])
        centres = heel + place[:, None, None] * (toe - heel) + tall[:, None, None] * up
        colours = np.tile(self.clothes.shoe, (len(place) - 1, 8, 1))
        # Strip 0 faces up: the sole is the opposite one.
        colours[:, 4] = self.clothes.shoe * 0.4
        self.make.tube(centres, right, up, width, tall, colours)

    def arm(self, side: str) -> None:
        clothes, joints = self.clothes, self.joints
        shoulder, elbow, wrist = (joints[f"{side}_{n}"] for n in ("shoulder", "elbow", "wrist"))
        front = self.frames["chest"][:, 1]
        cloth = clothes.accent if clothes.pattern == "sleeves" else clothes.top
        self._sleeve(shoulder, elbow, front, _UPPER_ARM, 0.0, clothes.sleeve, cloth, None)
        self._sleeve(elbow, wrist, front, _FOREARM, 1.0, clothes.sleeve, cloth, None)
        reach = (wrist - elbow) / np.linalg.norm(wrist - elbow, axis=-1, keepdims=True)
        palm = self.height * np.array(
            [(0.012, 0.012), (0.020, 0.013), (0.018, 0.012), (0.006,) * 2]
        )
        profile = [(i / 3, *half) for i, half in enumerate(palm)]
        skin = np.tile(self.face.skin, (3, 6, 1))
        self.make.limb(wrist, wrist + 0.095 * self.height * reach, front, profile, skin)

    def _sleeve(self, start, end, front, rings, offset, covered, cloth, stripe) -> None:
        """Add half a limb: bare below the place where its sleeve or trouser leg ends."""
        rings = np.array(rings)
        girth = self.body.girth * self.height
        share = (np.clip(rings[:, 0], 0, 1) + offset) / 2
        inside = share <= covered + 1e-6
        half = rings[:, 1] * girth * np.where(inside, self.clothes.loose, 1.0)
        if offset:
            # Trousers fall straight from the knee, they do not follow the calf.
            straight = rings[2, 1] * girth * 0.9 * self.clothes.loose
            half = np.where(inside & (rings[:, 0] >= 0), np.maximum(half, straight), half)
        colours = np.tile(self.face.skin, (len(rings) - 1, _LIMB_STRIPS, 1))
        colours[inside[1:]] = cloth
        if stripe is not None:
            for strip in (_LIMB_STRIPS // 4, _LIMB_STRIPS - _LIMB_STRIPS // 4):
                colours[inside[1:], strip] = stripe
        profile = [(place, width, width) for place, width in zip(rings[:, 0], half, strict=True)]
        self.make.limb(start, end, front, profile, colours)

    def trunk(self) -> None:
        level, width, depth = _TRUNK.T
        girth = self.body.girth * self.height * (1 + 0.35 * (self.clothes.loose - 1))
        width, depth = width * girth, depth * girth
        depth = np.where((level > 0.1) & (level < 0.6), depth * self.body.belly, depth)
        centres, right, front = self._spine(level)
        self.make.tube(centres, right, front, width, depth, self._trunk_colours(level))
        self._front(dict(zip(level.round(2).tolist(), depth, strict=True)))

    def _spine(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        level = np.atleast_1d(level)[:, None, None]
        pelvis, thorax = self.joints["pelvis"], self.joints["thorax"]
        mix = np.clip(level, 0, 1)
        axes = (1 - mix[..., None]) * self.frames["pelvis"] + mix[..., None] * self.frames["chest"]
        axes = axes / np.linalg.norm(axes, axis=-1, keepdims=True)
        return pelvis + level * (thorax - pelvis), axes[:, :, 0], axes[:, :, 1]

    def _trunk_colours(self, level: np.ndarray) -> np.ndarray:
        clothes = self.clothes
        colours = np.tile(clothes.top, (len(level) - 1, _TRUNK_STRIPS, 1))
        colours[level[1:] <= 0.0] = clothes.bottom
        if clothes.hem < 0.1:
            colours[level[1:] <= 0.1] = clothes.bottom
        over = level[1:] > 0.1
        if clothes.pattern == "stripes":
            colours[(np.arange(len(over)) % 2 == 0) & over] = clothes.accent
        if clothes.pattern == "block":
            colours[level[1:] > 0.7] = clothes.accent
        strip = np.minimum(np.arange(_TRUNK_STRIPS), _TRUNK_STRIPS - np.arange(_TRUNK_STRIPS))
        if clothes.front == "open":
            colours[np.ix_(level[1:] > 0.0, strip <= 1)] = clothes.inner
            colours[np.ix_(level[1:] > 0.0, strip == 2)] = clothes.top * 0.72
        # The neck is bare in front; a collar stands behind it.
        throat = clothes.inner if clothes.front == "open" else self.face.skin
        colours[np.ix_(level[1:] > 1.05, strip <= 1)] = throat
        colours[np.ix_(level[1:] > 1.10, strip <= 4)] = self.face.skin
        colours[np.ix_(level[1:] > 1.10, strip > 4)] = clothes.top * 0.8
        return colours

    def _front(self, depth: dict[float, float]) -> None:
        """Add what only the chest has: buttons, a zip or a print."""
        clothes, up = self.clothes, self.frames["chest"][:, 2]
        tall = self.height
        spots = {
            "open": [],
            "buttons": [(at, 0.008, 0.007) for at in (0.24, 0.38, 0.52, 0.66, 0.80)],
            "zip": [(at, 0.006, 0.022) for at in (0.10, 0.24, 0.38, 0.52, 0.66, 0.80)],
            "logo": [(0.66, 0.045, 0.035)],
        }
        for at, half_width, half_height in spots[clothes.front]:
            centre, right, front = (part[0] for part in self._spine(np.array([at])))
            centre = centre + 1.02 * depth[at] * front
            half = (half_width * tall, half_height * tall)
            self.make.patch(centre, right, up, half, clothes.inner)

    def hem(self) -> None:
        """Add a coat's tail or a skirt: one tube around both thighs."""
        clothes = self.clothes
        long = 0.85 if clothes.skirt else clothes.hem
        if not clothes.skirt and long < 0.12:
            return
        colour = clothes.bottom if clothes.skirt else clothes.top
        front, right = self.frames["pelvis"][:, 1], self.frames["pelvis"][:, 0]
        pelvis = self.joints["pelvis"]
        places, centres, widths, depths = np.linspace(-0.1, 1, 5), [], [], []
        for place in places * long:
            thighs = [
                self.joints[f"{side}_hip"]
                + max(place, 0) * (self.joints[f"{side}_knee"] - self.joints[f"{side}_hip"])
                for side in SIDES
            ]
            apart = thighs[1] - thighs[0]
            middle = (thighs[0] + thighs[1]) / 2 - min(place, 0) * (self.joints["thorax"] - pelvis)
            centres.append(middle)
            girth = self.body.girth * self.height * (1.04 + 0.12 * place)
            widths.append(np.full(len(middle), 0.100 * girth))
            depths.append(np.abs(np.sum(apart * front, -1)) / 2 + 0.070 * girth)
        colours = np.tile(colour, (len(places) - 1, _TRUNK_STRIPS, 1))
        if clothes.front == "open" and not clothes.skirt:
            colours[:, [0, 1, -1]] = clothes.bottom
        self.make.tube(
            np.stack(centres), right, front, np.stack(widths), np.stack(depths), colours, 0.09
        )

    def bag(self) -> None:
        kind, colour, tall = self.clothes.bag, self.clothes.bag_colour, self.height
        chest = self.frames["chest"]
        if kind == "backpack":
            centre, right, front = (part[0] for part in self._spine(np.array([0.3])))
            axes = np.stack([right, front, chest[:, 2]], 1)
            base = centre - 0.105 * self.body.girth * tall * front
            self.make.box(base, axes, (0.15 * tall, 0.075 * tall, 0.2 * tall), colour)
            for sign in SIDES.values():
                for level in (0.66, 0.80, 0.92):
                    at, right, front = (part[0] for part in self._spine(np.array([level])))
                    spot = at + tall * self.body.girth * (0.055 * sign * right + 0.062 * front)
                    self.make.patch(spot, right, chest[:, 2], (0.011 * tall, 0.022 * tall), colour)
        elif kind == "shoulder":
            at, right, front = (part[0] for part in self._spine(np.array([-0.05])))
            axes = np.stack([front, right, chest[:, 2]], 1)
            base = at + 0.125 * self.body.girth * tall * right - 0.05 * tall * chest[:, 2]
            self.make.box(
                base, _right_handed(axes), (0.16 * tall, 0.05 * tall, 0.11 * tall), colour
            )
        elif kind == "hand":
            wrist = self.joints["right_wrist"] - np.array([0, 0, 0.24 * tall])
            axes = self.frames["pelvis"][:, [1, 0, 2]]
            size = (0.15 * tall, 0.05 * tall, 0.15 * tall)
            self.make.box(wrist, _right_handed(axes), size, colour)


def figure(person: Person, motion: Motion) -> Mesh:
    """Return the surface of a walking person."""
    parts = _Figure(person, motion)
    for side in SIDES:
        parts.leg(side)
        parts.arm(side)
    parts.trunk()
    parts.hem()
    add_head(parts.make, person, motion)
    parts.bag()
    return parts.make.mesh()


def _right_handed(axes: np.ndarray) -> np.ndarray:
    return axes * np.array([1.0, -1.0, 1.0])[:, None]
