"""The sections of a report that show scores: averages, verification, curves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.report import charts
from evaluate.report.page import chart, grid, paragraph, table, value
from evaluate.score.scoring import named_searches
from pipeline.files import texts
from pipeline.files.reading import reading

_MEASURES = {
    "mAP": "mAP", "rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10", "rank20": "Rank-20",
    "mINP": "mINP", "mAP_trapezoid": "mAP, trapezoid",
}  # fmt: skip
_BASELINES = {
    "random": "random features",
    "untrained": "untrained model",
    "colour": "colours of the clothes",
    "equal_weights": "experts that count alike",
}


def headline(metrics: dict[str, Any]) -> str:
    """Return the headline: scores with intervals, re-ranked, beside the baselines."""
    columns = {"model": metrics, "model, re-ranked": metrics.get("reranked")}
    columns |= named_searches(metrics)
    columns |= {
        _BASELINES.get(name, name): found for name, found in metrics.get("baselines", {}).items()
    }
    columns = {name: found for name, found in columns.items() if found}
    deviations = metrics.get("std", {})
    rows = []
    for key, name in _MEASURES.items():
        row: list[object] = [name]
        for column, found in columns.items():
            below = _beside(key, metrics, deviations) if column == "model" else ""
            row.append(value(found[key], below) if key in found else "")
        rows.append(row)
    small = (
        "Small numbers: where 95 % of the averages fall when persons are drawn again (bootstrap)."
        if "interval95" in metrics
        else "Small numbers: standard deviation over the random splits."
    )
    return (
        paragraph(f"Protocol: {metrics.get('protocol', 'not stated')}.")
        + table(("%", *columns), rows)
        + paragraph(small, "soft")
    )


def verification(metrics: dict[str, Any]) -> str:
    """Return how well a distance alone tells the same person from another."""
    found = metrics.get("verification", {})
    deviations = metrics.get("std", {}).get("verification", {})
    names = {"EER": "EER", "TPR_at_FPR_1e-1": "TPR at FPR 10 %", "TPR_at_FPR_1e-2": "at FPR 1 %"}
    names |= {"TPR_at_FPR_1e-3": "at FPR 0.1 %"}
    kept = {key: name for key, name in names.items() if key in found}
    if not kept:
        return ""
    cells = [value(found[key], _beside(key, found, deviations)) for key in kept]
    said = (
        f"Of {found['genuine_pairs']:,.0f} pairs of one person and {found['impostor_pairs']:,.0f} "
        "of two, those that the ranking is made of, each is accepted if its distance is below a "
        "threshold. FPR is the share of accepted pairs of two persons, TPR that of one; at the EER "
        "as many of one are refused as of two are accepted."
    )
    return paragraph(said) + table(("%", *kept.values()), [("model", *cells)])


def _beside(key: str, found: dict[str, Any], deviations: dict[str, float]) -> str:
    """Return the interval of a number, or its deviation over splits."""
    if key in found.get("interval95", {}):
        return "{:.1f} to {:.1f}".format(*(100 * x for x in found["interval95"][key].values()))
    return f"\N{PLUS-MINUS SIGN} {100 * deviations[key]:.1f}" if key in deviations else ""


def curves(folder: Path, fix: str) -> str:
    """Return the CMC curve, and the ROC curve beside it.

    Args:
        folder: Where the scores lie.
        fix: What to do when they are damaged.
    """
    return grid(
        drawn(folder / "cmc.json", _cmc, fix),
        drawn(folder / "roc.json", _roc, fix),
    )


def drawn(file: Path, draw: Callable[[Any], str], fix: str) -> str:
    """Return a section of what a file of scores holds, and nothing where there is none."""
    if not file.exists():
        return ""
    found = texts.read_json(file, fix)
    # Scores are plain numbers; where they cannot be drawn, they are not what `score` wrote.
    with reading(file, "file of scores", fix):
        return draw(found)


def _cmc(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    names = {"cmc": "model", "reranked": "model, re-ranked"}
    series = {
        names.get(name, name): [(row["rank"], row[name]) for row in rows]
        for name in rows[0]
        if name != "rank"
    }
    caption = "CMC: share of queries with a match among the first so many"
    return chart(charts.lines(series, "rank", "share of queries", _upper(series)), caption)


def _roc(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    series = {"model": [(float(np.log10(row["fpr"])), row["tpr"]) for row in rows]}
    drawn = charts.lines(
        series, "FPR", "TPR", _upper(series), lambda power: f"{100 * 10**power:.3g} %"
    )
    return chart(drawn, "ROC: share of accepted pairs, of one person by that of two")


def _upper(series: dict[str, charts.Points]) -> tuple[float, float]:
    """Return the ends of an axis for shares that rise to 1."""
    lowest = min(share for points in series.values() for _, share in points)
    return (float(np.floor(10 * lowest) / 10), 1.0) if lowest < 1 else (0.9, 1.0)
