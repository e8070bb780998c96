"""The model card: what a person should know who takes a model that somebody else trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from evaluate.score.scoring import named_searches
from train.run.strangers import in_words

if TYPE_CHECKING:
    from evaluate.publish.folder import Config

_MEASURES = {"mAP": "mAP", "rank1": "Rank-1", "rank5": "Rank-5", "mINP": "mINP"}
_BASELINES = {
    "colour": "colours of the clothes alone",
    "untrained": "the encoder before training",
    "random": "random features",
}
_APACHE = "Apache-2.0"


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        test: The dataset it was scored on.
        scores: What `scores.json` holds.
        starts: Weights of others that training started from, and their licence.
        licence: Of the model, if its maker said; else it follows from data and weights.
        size: Parameters and cost, if noted.
    """

    test: str
    scores: dict[str, Any]
    starts: dict[str, str]
    licence: str
    size: dict[str, Any]


def card(config: "Config", origin: Origin) -> str:
    """Return the card as Markdown, with the head that model hubs read."""
    parts = [
        f"# {config.name}: video person re-identification\n\n{_what(config, origin)}",
        f"## Use\n\n{_use(config)}",
        f"## Data and scores\n\n{_scores(config, origin)}",
        f"## The same person, or not\n\n{_threshold(config)}",
        f"## What it sees\n\n{_preprocessing(config)}",
        f"## Meant for, and not\n\n{_INTENDED}",
        f"## Licence\n\n{_licence(config, origin)}",
    ]
    head = yaml.safe_dump(_head(config, origin), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _head(config: "Config", origin: Origin) -> dict[str, Any]:
    said = _said_licence(config, origin)
    licence = {"license": said.lower()} if said == _APACHE else {"license": "other"}
    if said != _APACHE:
        licence["license_name"] = "see-below"
    values = [
        {"type": key, "name": f"{name} (%)", "value": round(100 * origin.scores[key], 2)}
        for key, name in _MEASURES.items()
    ]
    result = {
        "task": {"type": "person-re-identification", "name": "Video person re-identification"},
        "dataset": {"type": origin.test, "name": origin.test},
        "metrics": values,
    }
    return licence | {
        "library_name": "csip-reid-pipeline",
        "tags": ["person-re-identification", "video", config.system],
        "model-index": [{"name": config.name, "results": [result]}],
    }


def _what(config: "Config", origin: Origin) -> str:
    named = f", {origin.size['parameters'] / 1e6:.1f} million parameters" if origin.size else ""
    cost = f" and {origin.size['gmacs_per_frame']:.3g} GMACs a frame" if origin.size else ""
    start = f" It started from {' and '.join(origin.starts)}." if origin.starts else ""
    return (
        f"The system `{config.system}` with the encoder `{config.encoder}`{named}{cost}, trained "
        f"on `{config.dataset}` to epoch {config.epoch} with seed {config.seed}.{start} A "
        "tracklet, that is the frames of one person before one camera, becomes one vector; near "
        "vectors are alike."
    )


def _use(config: "Config") -> str:
    given = [name for name in ("xyz", "kps", "silhouettes") if name in config.needs]
    if config.describe.descriptor != "visual" and "xyz" not in given:
        given.insert(0, "xyz")
    frames = (
        "frames" if "frames" in config.needs and config.describe.descriptor != "skeleton" else ""
    )
    called = ", ".join([*filter(None, [frames]), *(f"{name}={name}" for name in given)])
    return (
        "```python\nfrom evaluate.describe import Describer\n\n"
        f'describer = Describer.load("{config.name}")\n'
        f"feature = describer.describe({called})  # of a tracklet\n"
        "describer.compare(feature, other)  # distance, strangers as near, the same or not\n```"
    )


def _scores(config: "Config", origin: Origin) -> str:
    scores = origin.scores
    where = "the same dataset's test people, none of whom it was trained on"
    if origin.test != config.dataset:
        where = f"another dataset, `{origin.test}`"
    said = (
        f"Scored on {where}: {scores['queries_scored']:,} queries of {scores['queries']:,} against "
        f"{scores['gallery']:,} gallery tracklets. Protocol: {scores['protocol']}.\n\n"
        "In percent; in brackets 95 % intervals over persons where they are known."
    )
    rows = [("this model", scores)]
    if again := scores.get("reranked"):
        rows.append(("this model, re-ranked", again))
    rows += list(named_searches(scores).items())
    known = scores.get("baselines", {})
    rows += [(name, known[key]) for key, name in _BASELINES.items() if key in known]
    table = [[name, *(_value(found, key) for key in _MEASURES)] for name, found in rows]
    return said + "\n\n" + _table(["", *_MEASURES.values()], table)


def _value(found: dict[str, Any], key: str) -> str:
    if key not in found:
        return ""
    said = f"{100 * found[key]:.1f}"
    if interval := found.get("interval95", {}).get(key):
        said += f" [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"
    return said


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _threshold(config: "Config") -> str:
    found = config.threshold
    if found is None or config.strangers is None:
        return (
            "Nobody was held out of training to ask, so this model has no threshold: a distance "
            "says who is nearer, not who is the same. `stage2.held_out=12` trains one that has."
        )
    rate = in_words(found.distance, config.strangers.model_dump())
    return (
        f"Within a distance of {found.distance:.4f} two tracklets are taken for one person. Of the "
        f"pairs of {found.people} people whom training never saw, {rate} lies as near. Other "
        "cameras, other crowds and other clothes need a threshold of their own."
    )


def _preprocessing(config: "Config") -> str:
    one = config.preprocessing
    which = {
        "rrs": "the first of each of as many equal parts of a tracklet",
        "dense": "all frames of a tracklet, in clips whose features are averaged",
    }[one.frames]
    return (
        f"Crops of one person, {one.colours}, resized to {one.height} x {one.width} pixels by the "
        f"mean over areas, divided by 255, less {list(one.mean)}, divided by {list(one.std)}. "
        f"Clips have {one.clip_frames} frames: {which}. `Describer` does all of it."
    )


_INTENDED = """\
Research on public benchmarks, and data whose subjects agreed to it. It is no surveillance product \
and no face recogniser. Re-identification follows people without asking them: check the law, the \
dataset's licence and your conscience before you point it at anybody. A vector of it is personal \
data where a person is. It was not tested for how its errors differ between groups of people."""


def _said_licence(config: "Config", origin: Origin) -> str:
    is_free = config.dataset == "walkers" and not origin.starts
    return origin.licence or (_APACHE if is_free else "other")


def _licence(config: "Config", origin: Origin) -> str:
    code = "The code that reads it is under Apache-2.0."
    if origin.licence:
        return f"{origin.licence}. {code}"
    if _said_licence(config, origin) == _APACHE:
        return f"{_APACHE}: it was trained on rendered people alone, from nothing. {code}"
    said = [f"- trained on `{config.dataset}`: the terms of that dataset hold"]
    said += [f"- started from `{name}`: {licence}" for name, licence in origin.starts.items()]
    return f"Nobody chose one; these bind it:\n\n{chr(10).join(said)}\n\n{code}"
