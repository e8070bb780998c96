"""Who walks: bodies, ways of walking and outfits, each drawn from a random generator of its own.

Lengths are shares of the body height, after the anthropometric table of Drillis and Contini
(1966), so that a tall and a small person have the same proportions on average.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Self

import numpy as np

HEIGHT_M = (1.50, 1.95)

# Mean share of the height and relative spread between people.
_BONES = {
    "thigh": (0.245, 0.04),
    "shank": (0.243, 0.04),
    "ankle": (0.042, 0.03),
    "foot": (0.150, 0.04),
    "hip": (0.052, 0.07),
    "spine": (0.288, 0.04),
    "shoulder": (0.112, 0.06),
    "upper_arm": (0.178, 0.045),
    "forearm": (0.148, 0.045),
    "neck": (0.052, 0.08),
    "head": (0.130, 0.03),
}

_GAIT = {
    "cadence_hz": (0.80, 1.06),
    "stride": (0.32, 0.50),
    "hip_offset": (0.02, 0.14),
    "knee_lift": (0.85, 1.18),
    "knee_bend": (0.03, 0.14),
    "knee_load": (0.08, 0.32),
    "arm_swing": (0.10, 0.58),
    "arm_offset": (-0.12, 0.10),
    "arm_asymmetry": (-0.35, 0.35),
    "elbow_bend": (0.10, 0.55),
    "elbow_swing": (0.05, 0.55),
    "arm_spread": (0.05, 0.22),
    "arm_lag": (-0.40, 0.40),
    "trunk_lean": (-0.03, 0.14),
    "stoop": (-0.04, 0.24),
    "hip_sway": (0.0, 0.03),
    "hip_twist": (0.02, 0.16),
    "hip_roll": (0.0, 0.09),
    "shoulder_twist": (0.02, 0.20),
    "toe_out": (-0.04, 0.32),
    "step_width": (0.0, 0.05),
    "leg_asymmetry": (-0.12, 0.12),
    "nod": (-0.08, 0.20),
}

# Everyday colours of clothes (BGR); each garment varies around one of them.
_CLOTH = np.array(
    [
        (28, 27, 27), (62, 60, 58), (120, 118, 116), (176, 176, 178), (228, 230, 230),
        (88, 46, 28), (140, 72, 34), (190, 140, 84), (210, 180, 140), (36, 36, 160),
        (40, 30, 96), (44, 84, 44), (58, 92, 92), (110, 150, 60), (40, 70, 110),
        (120, 160, 196), (44, 190, 222), (32, 112, 224), (150, 110, 214), (120, 58, 110),
    ],
    dtype=float,
)  # fmt: skip
_TROUSERS = (0, 0, 1, 2, 5, 5, 6, 7, 12, 14, 15, 4)
_HAIR = np.array([(22, 22, 26), (30, 44, 70), (44, 92, 140), (140, 146, 150), (34, 50, 100)], float)


@dataclass(frozen=True)
class Body:
    """Size and proportions of one body.

    Attributes:
        height: Standing height in metres.
        bones: Length of each bone in metres; `hip` and `shoulder` are half widths.
        girth: Thickness relative to the average.
        belly: Depth of the waist relative to the average.
    """

    height: float
    bones: dict[str, float]
    girth: float
    belly: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw a body."""
        height = float(np.clip(rng.normal(1.71, 0.095), *HEIGHT_M))
        bones = {
            name: float(height * mean * (1 + _bounded(rng, spread)))
            for name, (mean, spread) in _BONES.items()
        }
        girth, belly = 1 + _bounded(rng, 0.12), 1 + _bounded(rng, 0.15)
        return cls(height, bones, float(girth), float(belly))


@dataclass(frozen=True)
class Gait:
    """A way of walking; angles in radians, lengths in metres."""

    cadence_hz: float
    stride: float
    hip_offset: float
    knee_lift: float
    knee_bend: float
    knee_load: float
    arm_swing: float
    arm_offset: float
    arm_asymmetry: float
    elbow_bend: float
    elbow_swing: float
    arm_spread: float
    arm_lag: float
    trunk_lean: float
    stoop: float
    hip_sway: float
    hip_twist: float
    hip_roll: float
    shoulder_twist: float
    toe_out: float
    step_width: float
    leg_asymmetry: float
    nod: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw a gait."""
        return cls(**{field.name: float(rng.uniform(*_GAIT[field.name])) for field in fields(cls)})

    def as_dict(self) -> dict[str, float]:
        """Return the parameters by name."""
        return asdict(self)


@dataclass(frozen=True)
class Clothes:
    """What a person wears; colours are BGR.

    Attributes:
        top, inner, bottom, shoe, accent, bag_colour: Colours.
        front: What tells the chest from the back: `open` jacket, `buttons`, `zip` or `logo`.
        pattern: `plain`, `stripes`, `block` or `sleeves` (in another colour).
        sleeve: Covered share of the arm: 0.5 ends at the elbow.
        leg: Covered share of the leg: 0.5 ends at the knee.
        hem: How far the top reaches down the thigh; above 0.3 it is a coat.
        skirt: Whether the bottom is a skirt.
        loose: Width of the cloth relative to the limb.
        bag: `none`, `backpack`, `shoulder` or `hand`.
        hat: Whether a cap with a peak is worn.
    """

    top: np.ndarray
    inner: np.ndarray
    bottom: np.ndarray
    shoe: np.ndarray
    accent: np.ndarray
    bag_colour: np.ndarray
    front: str
    pattern: str
    sleeve: float
    leg: float
    hem: float
    skirt: bool
    loose: float
    bag: str
    hat: bool

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw an outfit."""
        top = _cloth(rng)
        return cls(
            top=top,
            inner=_unlike(rng, top),
            bottom=_cloth(rng, _TROUSERS),
            shoe=_cloth(rng),
            accent=_unlike(rng, top),
            bag_colour=_cloth(rng),
            front=str(rng.choice(["open", "open", "buttons", "zip", "logo"])),
            pattern=str(rng.choice(["plain", "plain", "plain", "stripes", "block", "sleeves"])),
            sleeve=float(rng.choice([0.45, 0.5, 1.0, 1.0, 1.0])),
            leg=float(rng.choice([0.5, 1.0, 1.0, 1.0, 1.0])),
            hem=float(rng.choice([0.05, 0.08, 0.12, 0.16, 0.5])),
            skirt=bool(rng.random() < 0.12),
            loose=float(rng.uniform(1.0, 1.28)),
            bag=str(rng.choice(["none", "none", "none", "backpack", "shoulder", "hand"])),
            hat=bool(rng.random() < 0.14),
        )

    def in_kit(self, kit: Self) -> Self:
        """Return the outfit with top and bottom of a team's, but shoes, bag and hat of its own."""
        shared = ("top", "inner", "bottom", "accent", "front", "pattern", "sleeve", "leg", "hem")
        return replace(self, **{name: getattr(kit, name) for name in (*shared, "skirt")})


@dataclass(frozen=True)
class Face:
    """Skin, hair and beard; colours are BGR.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of the hair.
        style: `bald`, `short`, `long` or `bun`.
        beard: Whether the chin is covered.
        glasses: Whether dark glasses are worn.
    """

    skin: np.ndarray
    hair: np.ndarray
    style: str
    beard: bool
    glasses: bool

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw a head."""
        tone = rng.uniform(0, 1)
        skin = np.array([60 + 110 * tone, 85 + 110 * tone, 125 + 105 * tone]) * rng.uniform(0.94, 1)
        style = str(rng.choice(["bald", "short", "short", "short", "long", "long", "bun"]))
        beard = bool(style in ("bald", "short") and rng.random() < 0.3)
        hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.8, 1.25)
        return cls(skin, hair, style, beard, bool(rng.random() < 0.15))


@dataclass(frozen=True)
class Person:
    """Everything about one walker that a camera does not change."""

    body: Body
    gait: Gait
    clothes: Clothes
    face: Face


def distractor(rng: np.random.Generator) -> Person:
    """Draw a whole person who is none of the dataset's, from one generator."""
    return Person(Body.sample(rng), Gait.sample(rng), Clothes.sample(rng), Face.sample(rng))


def _bounded(rng: np.random.Generator, spread: float) -> float:
    return float(np.clip(rng.normal(0, spread), -2.2 * spread, 2.2 * spread))


def _cloth(rng: np.random.Generator, among: tuple[int, ...] = tuple(range(len(_CLOTH)))):
    base = _CLOTH[rng.choice(among)]
    return np.clip(base * rng.uniform(0.8, 1.2) + rng.normal(0, 9, 3), 12, 245)


def _unlike(rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    # A jacket in the colour of its shirt would hide which side is the front.
    colours = [_cloth(rng) for _ in range(4)]
    return max(colours, key=lambda colour: float(np.abs(colour - other).sum()))
