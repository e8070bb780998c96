"""What `bench.results` trains of the other systems: each in the rendered world that shows its use.

All start from the towers of one stage 1, which a world's runs with one seed have in common. `SHOWN`
says what is compared with what, and by how much it should differ; a row more is a line more, and
what it names is trained. `vslat` has none: it needs a pretrained transformer, and is held by golden
numbers and properties instead.
"""

import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

ENCODER = "conv_stem_fine_small"
SETTING = [
    "walkers.frames=[12,16]",
    "stage1.epochs=12",
    "stage2.epochs=14",
    "stage2.milestones=[9,12]",
    "score.rerank.enabled=false",
]
WORLDS = {
    "plain": [],
    "bad frames": ["walkers.bad_frames=0.4"],
    "kits": ["walkers.kits=4", "walkers.captions=true"],
    "from the air": ["walkers.aerial=2"],
    "other clothes": ["walkers.change_clothes=true"],
    "day and night": ["walkers.spectrum=2", "walkers.silhouettes=true"],
}
# A pyramid of bands needs 16 rows of cells.
ENCODERS = {"day and night": "conv_stem_fine"}


def setting(world: str) -> list[str]:
    """Return what all cells of a world set, whatever is trained there."""
    encoder = ENCODERS.get(world, ENCODER)
    start = f"pretraining.walkers.start=conf/encoder/{encoder}.yaml"
    return [*SETTING, f"pretraining.walkers.encoder={encoder}", start, *WORLDS[world]]


def _system(name: str, *without: str) -> list[str]:
    left_out = [f"+stage2.settings.without=[{','.join(without)}]"] if without else []
    return [f"runs.walkers.model={name}", *left_out]


# Stage 1 knows who is who: it starts from nothing, takes longer, and looks for partners each epoch.
UNLABELLED = [
    f"+runs.walkers.encoder={ENCODER}",
    f"runs.walkers.start=conf/encoder/{ENCODER}.yaml",
    "stage2.epochs=40",
    "stage2.milestones=[28,36]",
    "stage2.refresh_epochs=1",
    "stage2.identities=16",
    "stage2.clips=2",
]
VARIANTS = {
    "visual": _system("visual"),
    "tf_clip": _system("tf_clip"),
    "climb": _system("climb"),
    "keyre_id": _system("keyre_id"),
    "keyre_id, frames count alike": _system("keyre_id", "pool"),
    "cg_clip": _system("cg_clip"),
    "cg_clip, without captions": _system("cg_clip", "captions"),
    "s3_clip": _system("s3_clip"),
    "s3_clip, without the resolver": _system("s3_clip", "resolver"),
    # As wide as the encoder here.
    "hamobe": [*_system("hamobe"), "+stage2.settings.experts.dim=128"],
    "dinogrl": _system("dinogrl"),
    "dinogrl, frames alone": _system("dinogrl", "gait"),
    "dinogrl, silhouettes alone": _system("dinogrl", "appearance"),
    "lsmrl": _system("lsmrl"),
    "lsmrl, base losses": [
        *_system("lsmrl"),
        *(f"+stage2.settings.weights.{term}=0" for term in ("names", "tie", "centre", "mmd")),
    ],
    "hitpro": _system("hitpro") + UNLABELLED,
    "hitpro, first level alone": _system("hitpro", "views", "spectra") + UNLABELLED,
}


class Shown(NamedTuple):
    """What a system should be worth, and where.

    Attributes:
        world: One of `WORLDS`.
        variant: One of `VARIANTS`.
        against: Another of them in the same world, or a measure of the same run; `chance` is 50.
        bar: By how many points it should be better, None where nothing is promised.
        measure: What is compared: `mAP`, or one of `also`, of which more is better.
    """

    world: str
    variant: str
    against: str
    bar: float | None
    measure: str = "mAP"


SHOWN = (
    Shown("plain", "tf_clip", "visual", -2.0),
    Shown("plain", "climb", "visual", 0.0),
    # Four times the untrained encoder's, which was 7.3 where the bar was set.
    Shown("plain", "hitpro", "untrained", 22.0),
    Shown("plain", "hitpro", "hitpro, first level alone", 3.0),
    Shown("bad frames", "tf_clip", "visual", 3.0),
    Shown("bad frames", "keyre_id", "visual", 4.0),
    Shown("bad frames", "keyre_id", "keyre_id, frames count alike", 4.0),
    Shown("kits", "cg_clip", "cg_clip, without captions", None),
    Shown("from the air", "s3_clip", "s3_clip, without the resolver", 4.0, "ground to aerial"),
    Shown("other clothes", "hamobe", "equal weights", 4.0),
    Shown("other clothes", "hamobe", "chance", 20.0, "appearance knows clothes"),
    Shown("day and night", "dinogrl", "dinogrl, frames alone", 10.0, "infrared to visible"),
    Shown("day and night", "dinogrl", "dinogrl, frames alone", None, "visible to infrared"),
    Shown("day and night", "dinogrl", "dinogrl, silhouettes alone", None, "infrared to visible"),
    Shown("day and night", "dinogrl", "dinogrl, frames alone", None, "spectrum not told"),
    Shown("day and night", "lsmrl", "lsmrl, base losses", 3.0, "across spectra"),
    Shown("day and night", "lsmrl", "chance", -20.0, "spectrum not told"),
    Shown("day and night", "lsmrl", "lsmrl, base losses", None, "spectrum not told"),
)
Scores = dict[str, Any]


def variants(world: str) -> list[str]:
    """Return what is trained in a world."""
    named = [one for row in SHOWN if row.world == world for one in (row.against, row.variant)]
    return [name for name in dict.fromkeys(named) if name in VARIANTS]


def also(
    scores: Mapping[str, Any], views: list[dict[str, Any]], told: float | None = None
) -> dict[str, float]:
    """Return what else than mAP is compared, as far as a run has it.

    Args:
        scores: What scores.json holds.
        views: What by_view.json holds.
        told: How well a line tells the spectra apart (`bench.probe`), where there are two.
    """
    found = {
        f"{row['query']} to {row['gallery']}": row["mAP"]
        for row in views
        if row["column"] in ("platform", "spectrum")
    }
    if untrained := scores.get("baselines", {}).get("untrained"):
        found["untrained"] = untrained["mAP"]
    if alike := scores.get("baselines", {}).get("equal_weights"):
        found["equal weights"] = alike["mAP"]
    if looks := scores.get("gate", {}).get("appearance"):
        found["appearance knows clothes"] = looks.get("same_clothes_auc", 0.5)
    if across := scores.get("spectrum", {}).get("mean"):
        found["across spectra"] = across["mAP"]
    if told is not None:
        found["spectrum not told"] = 1 - told
    return found


def table(found: Mapping[str, Scores], seeds: int) -> str:
    """Return the Markdown table: both sides, their difference seed by seed, and the bar.

    Args:
        found: Scores by `world / variant / seed`.
        seeds: How many there may be.
    """
    lines = [
        "| world | system | against | by | system | other | difference | should be | reached |",
        "|---|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in SHOWN:
        pairs = [pair for seed in range(seeds) if (pair := _pair(found, row, seed))]
        should = "not promised" if row.bar is None else f"{row.bar:+.0f} or more"
        cells = ["not run"] * 3 + [should, ""]
        if pairs:
            ours, theirs = zip(*pairs, strict=True)
            gained = [a - b for a, b in pairs]
            reached = "" if row.bar is None else _words(statistics.mean(gained) >= row.bar)
            cells = [_said(ours), _said(theirs), _said(gained, "+"), should, reached]
        who = [row.world, row.variant, row.against, row.measure]
        lines.append(f"| {' | '.join([*who, *cells])} |")
    return "\n".join(lines)


def _pair(found: Mapping[str, Scores], row: Shown, seed: int) -> tuple[float, float] | None:
    """Return both sides of a comparison with one seed, in percent, if both were run."""
    ours = found.get(f"{row.world} / {row.variant} / {seed}")
    is_own = row.against not in VARIANTS
    theirs = ours if is_own else found.get(f"{row.world} / {row.against} / {seed}")
    if ours is None or theirs is None:
        return None
    measured = (
        _measure(ours, row.measure),
        _measure(theirs, row.against if is_own else row.measure),
    )
    return None if None in measured else (100 * measured[0], 100 * measured[1])


def _measure(scores: Scores, name: str) -> Any:
    if name == "chance":
        return 0.5
    return scores["mAP"] if name == "mAP" else scores.get("also", {}).get(name)


def _said(values: list[float] | tuple[float, ...], sign: str = "") -> str:
    mean = format(statistics.mean(values), f"{sign}.1f")
    if len(values) == 1:
        return f"{mean}, one run"
    return f"{mean} ± {statistics.stdev(values):.1f}"


def _words(is_reached: bool) -> str:
    return "yes" if is_reached else "no"
