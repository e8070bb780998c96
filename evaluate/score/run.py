"""From tables of features to files of scores."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, paths
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np

    from evaluate.score.protocol import Rules
    from evaluate.score.scoring import Scored
    from pipeline.params.config import Params


def score_tables(
    params: "Params",
    dataset: str | None,
    tables: list[Path],
    folder: Path,
    distances: Path | None = None,
    limit: int = 0,
    baselines: Path | None = None,
) -> dict[str, Any]:
    """Score tables of features and write metrics, curves and ranked lists.

    Args:
        params: The knobs of `score`, and the dataset's format.
        dataset: Whose rules apply; without one the common rules.
        tables: Feature tables, one per random split.
        folder: Where to write.
        distances: A `.npy` of distances to rank by instead of the features.
        limit: Score the first queries only; 0 for all.
        baselines: A table of other features to score with the same code, if it exists.

    Returns:
        What metrics.json holds.

    Raises:
        PipelineError: If a table is not as it must be, or nothing can be scored.
    """
    from evaluate.score.features import read_features
    from evaluate.score.protocol import make_search
    from evaluate.score.scoring import score_baselines, score_split, summarise

    rules = find_rules(params, dataset)
    splits = list(read_features(tables, ["feature"]).trials())
    if distances and len(splits) > 1:
        raise PipelineError(f"--distances belongs to one split; the table holds {len(splits)}.")
    dist = _read_distances(distances, limit) if distances else None
    searches = [(trial, make_search(features, rules, limit)) for trial, features in splits]
    device = _device(params.runtime.device)
    results = [score_split(search, trial, params.score, device, dist) for trial, search in searches]
    metrics = {
        "dataset": dataset or tables[0].stem,
        "protocol": searches[0][1].words(len(searches)),
        **summarise(results),
    }
    if baselines and baselines.exists():
        metrics["baselines"] = score_baselines(read_features([baselines]), rules, limit)
    _write(folder, metrics, results)
    return metrics


def find_rules(params: "Params", dataset: str | None) -> "Rules":
    """Return a dataset's official rules, with what the knobs change."""
    from evaluate.score.protocol import Rules
    from extract.index import find_parser

    wanted = params.score.gallery_includes_queries
    if dataset is None:
        return Rules(gallery_includes_queries=bool(wanted))
    official = find_parser(params.datasets[dataset].format).FORMAT
    ranked = official.gallery_includes_queries if wanted is None else wanted
    is_official = ranked == official.gallery_includes_queries
    return Rules(ranked, official.same_camera_counts, is_official, official.both_ways)


def show(metrics: dict[str, Any]) -> None:
    """Print the scores in percent: plain, re-ranked, by clothes, and the baselines."""
    named = {"features": metrics, "reversed": metrics.get("reversed")}
    named["re-ranked"] = metrics.get("reranked")
    named |= {f"{rule} clothes": found for rule, found in metrics.get("clothes", {}).items()}
    named |= metrics.get("baselines", {})
    keys = ("mAP", "rank1", "rank5", "rank10", "rank20", "mINP", "mAP_trapezoid")
    rows = [
        (name, *(f"{100 * found[key]:.1f}" for key in keys))
        for name, found in named.items()
        if found
    ]
    console.table(metrics["dataset"], ("%", *keys[:-1], "mAP trap."), rows)
    console.say(
        f"{metrics['queries_scored']:,} of {metrics['queries']:,} queries scored against "
        f"{metrics['gallery']:,} gallery tracklets; {metrics['protocol']}"
    )
    if verified := metrics.get("verification"):
        console.say(
            f"the same person or not: EER {100 * verified['EER']:.1f} %, TPR "
            f"{100 * verified['TPR_at_FPR_1e-2']:.1f} % at FPR 1 %"
        )


def _read_distances(path: Path, limit: int) -> "np.ndarray":
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)[slice(limit or None)]
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} is not a readable .npy of distances ({error}).") from None


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _write(folder: Path, metrics: dict[str, Any], results: "list[Scored]") -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from evaluate.score.scoring import mean_roc
    from pipeline.schema import PER_QUERY, with_metadata

    names = results[0].curves
    curves = {name: np.mean([result.curves[name] for result in results], axis=0) for name in names}
    cmc = [
        {"rank": i + 1} | {name: float(curve[i]) for name, curve in curves.items()}
        for i in range(len(curves["cmc"]))
    ]
    pairs = [{"trial": result.trial} | pair for result in results for pair in result.pairs]
    files = {"metrics": metrics, "cmc": cmc, "roc": mean_roc(results), "camera_pairs": pairs}
    for name, content in files.items():
        with paths.write_atomic(folder / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(_rounded(content), indent=1) + "\n", encoding="utf-8")
    rows = [row for result in results for row in result.queries]
    schema = with_metadata(PER_QUERY, dataset=metrics["dataset"], protocol=metrics["protocol"])
    with paths.write_atomic(folder / "per_query.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")


def _rounded(content: Any) -> Any:
    # Six digits: the rest would make every diff noisy.
    if isinstance(content, float):
        return round(content, 6)
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    return [_rounded(value) for value in content] if isinstance(content, list) else content
