"""What `bench.results` trains: in three rendered worlds the method, without one part or another.

The other systems have worlds of their own (`bench.day_one`).

A cell is a world, a variant and a seed; it is made by what it changes in params.yaml.
"""

from bench import day_one

RUN = "walkers"
TARGET = f"score@{RUN}"
BASELINE, COLOUR = "visual baseline", "colour baseline"
# The stages behind a score; the lines they work on are all called walkers.
STAGES = (
    "walkers", "index", "captions", "pose2d", "silhouettes", "pose3d", "shards", "stage1", "stage2",
    "embed", "score",
)  # fmt: skip

ENCODER = "conv_stem_small"
# Tracklets of more than one step, so that gait can be seen; small frames, so that many runs fit.
# What DVC sets must be there already; a plus sign adds a key.
SETTING = [
    "walkers.frames=[20,28]",
    f"pretraining.walkers.encoder={ENCODER}",
    f"pretraining.walkers.start=conf/encoder/{ENCODER}.yaml",
    "stage1.epochs=12",
    "stage2.epochs=14",
    "stage2.milestones=[9,12]",
    "score.rerank.enabled=false",
]
WORLDS = {
    "an outfit each": [],
    "uniformed": ["walkers.wardrobe=4"],
    "uniformed, shared bodies": ["walkers.wardrobe=4", "walkers.bodies=4"],
}


def _without(*parts: str) -> list[str]:
    return [f"+stage2.settings.without=[{','.join(parts)}]"]


def _from_nothing(encoder: str) -> list[str]:
    return [f"+runs.walkers.encoder={encoder}", f"runs.walkers.start=conf/encoder/{encoder}.yaml"]


# People held out say how much skeletons count at test; what frames alone do without these people
# is the number to compare with.
_HELD_OUT = ["stage2.held_out=12"]
_BOTH = [*_HELD_OUT, "embed.descriptor=both"]
# Skeletons are cheap: clips twice as long, and epochs enough to learn from so few tracklets.
_ALONE = [
    "runs.walkers.model=skeleton",
    *_from_nothing("none"),
    "stage2.clip_frames=8",
    "stage2.epochs=48",
    "stage2.milestones=[32,42]",
]
_TRUTH = ["shards.skeletons=truth"]
VARIANTS = {
    BASELINE: [*_without("prototypes", "temporal", "skeleton"), *_from_nothing(ENCODER)],
    "+ stage 1": _without("prototypes", "temporal", "skeleton"),
    "+ PFU": _without("temporal"),
    "+ SGTM, no distillation": ["+stage2.settings.weights.distill=0"],
    "full": [],
    "full, 12 people held out": _HELD_OUT,
    "full, 12 people held out, skeletons at test too": _BOTH,
    "skeleton only": _ALONE,
    "skeleton only, frames shuffled": [*_ALONE, "stage2.shuffle_frames=true"],
    "full, true skeletons": _TRUTH,
    "full, true skeletons at test too, 12 people held out": [*_BOTH, *_TRUTH],
    "skeleton only, true skeletons": [*_ALONE, *_TRUTH],
    "skeleton only, true skeletons, frames shuffled": [
        *_ALONE,
        *_TRUTH,
        "stage2.shuffle_frames=true",
    ],
}

# What else was tried, with one seed: in which world, from which variant, and what it changes there.
ONCE = {
    "skeleton encoder not taught before stage 1": (
        "uniformed",
        "full, 12 people held out, skeletons at test too",
        "stage1.skeleton_epochs=0",
    ),
    "not turned to the front": ("uniformed", "skeleton only", "stage1.skeleton.face_front=false"),
    "distilled ten times as hard": (
        "uniformed",
        "full, true skeletons",
        "+stage2.settings.weights.distill=10",
    ),
    "joints alone": (
        "uniformed, shared bodies",
        "skeleton only, true skeletons",
        "stage1.skeleton.inputs=[xyz]",
    ),
    "inputs not normalised": (
        "uniformed, shared bodies",
        "skeleton only, true skeletons",
        "stage1.skeleton.input_norm=false",
    ),
    "no attention along time": (
        "uniformed, shared bodies",
        "skeleton only, true skeletons",
        "stage1.skeleton.temporal_layers=0",
    ),
}

Cell = tuple[str, str, int]


def key(cell: Cell) -> str:
    """Return the name of a cell in the file."""
    return " / ".join(map(str, cell))


def overrides(cell: Cell) -> list[str]:
    """Return what the experiment of a cell changes in params.yaml."""
    world, variant, seed = cell
    seeds = [f"stage1.seed={seed}", f"stage2.seed={seed}"]
    if world in day_one.WORLDS:
        return [*day_one.setting(world), *day_one.VARIANTS[variant], *seeds]
    _, base, *changes = ONCE.get(variant, (world, variant))
    return [*SETTING, *WORLDS[world], *VARIANTS[base], *changes, *seeds]


def groups(seeds: int) -> list[list[Cell]]:
    """Return all cells in the order to train them.

    Those of a group have stage 1 in common, and run one after the other. `ONCE` has one seed.
    """
    found = {
        (seed, is_true, world): [
            (world, name, seed) for name in VARIANTS if ("true" in name) == is_true
        ]
        for seed in range(seeds)
        for is_true in (False, True)
        for world in WORLDS
    }
    for name, (world, base, _) in ONCE.items():
        found[0, "true" in base, world].append((world, name, 0))
    others = [
        [(world, name, seed) for name in day_one.variants(world)]
        for seed in range(seeds)
        for world in day_one.WORLDS
    ]
    return [*found.values(), *others]
