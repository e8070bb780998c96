"""From tables of features to files of scores."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, paths
from pipeline.errors import PipelineError
from pipeline.files.arrays import read_npy

if TYPE_CHECKING:
    import numpy as np

    from evaluate.score.protocol import Rules, Search
    from evaluate.score.scoring import Scored
    from pipeline.params.config import Params
    from pipeline.stage import Stage


class Scoring:
    """One run of the stage.

    Attributes:
        output: The folder of scores.
        then: What to run next.
    """

    def __init__(
        self,
        stage: "Stage",
        features: list[Path] | None = None,
        out: Path | None = None,
        distances: Path | None = None,
    ) -> None:
        """Score the features of a run, or others by the same rules.

        Args:
            stage: The command.
            features: Tables to score in place of the run's.
            out: Where to write in place of the run's report.
            distances: A `.npy` of distances to rank by.
        """
        self._stage, self._distances = stage, distances
        self._tables = features or [stage.read(paths.features_file(stage.key))]
        is_own = not (features or distances)
        self._baselines = stage.read(paths.baselines_file(stage.key)) if is_own else None
        self.output = out or stage.out(paths.report_dir(stage.key))
        self.then = "report"

    def is_done(self) -> bool:
        """Return False: scoring takes seconds."""
        return False

    def plan(self) -> None:
        """Print what would be scored."""
        console.say(f"would score {', '.join(map(str, self._tables))}, write {self.output}")

    def make(self) -> str:
        """Score, and write what came out."""
        metrics = score_tables(
            self._stage.params,
            self._tables,
            self.output,
            self._stage.read(paths.index_file(self._stage.dataset)),
            self._distances,
            self._stage.limit,
            self._baselines,
        )
        show(metrics)
        return f"{metrics['queries_scored']:,} queries scored"


def score_any(
    tables: list[Path],
    folder: Path,
    distances: Path | None,
    overrides: list[str],
    limit: int,
    dry_run: bool,
) -> None:
    """Score tables of features that belong to no run, by the common rules."""
    from pipeline.params.config import load

    if dry_run:
        console.say(f"would score {', '.join(map(str, tables))}, write {folder}")
        return
    metrics = score_tables(load(overrides), tables, folder, None, distances, limit)
    show(metrics)
    scored = f"{metrics['queries_scored']:,} queries scored"
    console.summary(folder, scored, f"open {folder / 'scores.json'}")


def score_tables(
    params: "Params",
    tables: list[Path],
    folder: Path,
    index: Path | None = None,
    distances: Path | None = None,
    limit: int = 0,
    baselines: Path | None = None,
) -> dict[str, Any]:
    """Score tables of features and write metrics, curves and ranked lists.

    Args:
        params: The knobs of `score`.
        tables: Feature tables, one per random split.
        folder: Where to write.
        index: Of the dataset whose rules apply; without one the common rules.
        distances: A `.npy` of distances to rank by instead of the features.
        limit: Score the first queries only; 0 for all.
        baselines: A table of other features to score with the same code, if it exists.

    Returns:
        What scores.json holds.

    Raises:
        PipelineError: If a table is not as it must be, or nothing can be scored.
    """
    from evaluate.score.cameras import cameras_of
    from evaluate.score.features import read_features, weights_of
    from evaluate.score.protocol import headline as headline_of
    from evaluate.score.protocol import make_search
    from evaluate.score.scoring import score_baselines, score_split, summarise

    rules = find_rules(params, index)
    splits = list(read_features(tables, ["feature"]).splits())
    if distances and len(splits) > 1:
        raise PipelineError(f"--distances belongs to one split; the table holds {len(splits)}.")
    dist = _read_distances(distances, limit) if distances else None
    searches = [(split_id, make_search(features, rules, limit)) for split_id, features in splits]
    if dist is not None:
        _check_distances(dist, distances, searches[0][1], tables)
    device = _device(params.runtime.device)
    results = [
        score_split(search, split_id, params.score, device, dist) for split_id, search in searches
    ]
    metrics = {
        "dataset": index.stem if index else tables[0].stem,
        "protocol": headline_of(searches[0][1]).words(len(searches)),
        **summarise(results),
    }
    if weights := weights_of(tables[0]):
        metrics["weights_sha256"] = weights
    if baselines and baselines.exists():
        metrics["baselines"] = score_baselines(read_features([baselines]), rules, limit)
    names = splits[0][1].names
    _write(folder, metrics, results, names, cameras_of(params, index, names))
    return metrics


def find_rules(params: "Params", index: Path | None) -> "Rules":
    """Return a dataset's official rules, with what the knobs change."""
    from evaluate.score.protocol import Rules
    from extract.rules import rules_of

    wanted = params.score.gallery_includes_queries
    if index is None:
        return Rules(gallery_includes_queries=bool(wanted))
    official = rules_of(index, params.rebuild("index", index.stem))
    ranked = official["gallery_includes_queries"] if wanted is None else wanted
    return Rules(
        gallery_includes_queries=ranked,
        same_camera_counts=official["same_camera_counts"],
        is_official=ranked == official["gallery_includes_queries"],
        searches=official["searches"],
    )


def headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared between experiments: little enough for a line on a terminal."""
    found = {key: metrics[key] for key in ("mAP", "rank1", "rank5", "rank10", "mINP")}
    if again := metrics.get("reranked"):
        found |= {"reranked_mAP": again["mAP"], "reranked_rank1": again["rank1"]}
    if verified := metrics.get("verification"):
        found["EER"] = verified["EER"]
    return found


def show(metrics: dict[str, Any]) -> None:
    """Print the scores in percent: plain, re-ranked, of named searches, and the baselines."""
    from evaluate.score.scoring import named_searches

    named = {"features": metrics, "re-ranked": metrics.get("reranked")}
    named |= named_searches(metrics)
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
    found = read_npy(path, "Give distances, queries x gallery", mmap_mode="r")
    return found[slice(limit or None)] if found.ndim else found


def _check_distances(dist: "np.ndarray", path: Path, search: "Search", tables: list[Path]) -> None:
    import numpy as np

    named = " + ".join(map(str, tables))
    wanted = (len(search.query), len(search.gallery))
    if dist.shape != wanted:
        raise PipelineError(
            f"{path} has the shape {dist.shape}, and there are {wanted[0]} queries and {wanted[1]} "
            f"gallery tracklets in {named}. Give queries x gallery, in the order of the table"
        )
    if not all(np.isfinite(row).all() for row in dist):
        raise PipelineError(f"{path} holds distances that are not finite. Make it again")


def _device(name: str) -> str:
    if name == "cpu":
        return name
    from train.run.processes import choose_device, device

    choose_device(name)
    return device()


def _write(
    folder: Path,
    metrics: dict[str, Any],
    results: "list[Scored]",
    names: dict[str, dict[str, int]],
    cameras: dict[int, str],
) -> None:
    import numpy as np

    from evaluate.score.cameras import with_cameras
    from evaluate.score.scoring import mean_roc

    curves = {
        name: np.mean([result.curves[name] for result in results], axis=0)
        for name in results[0].curves
    }
    cmc = [
        {"rank": i + 1} | {name: float(curve[i]) for name, curve in curves.items()}
        for i in range(len(curves["cmc"]))
    ]
    files = {
        "metrics": headline(metrics),
        "scores": metrics,
        "cmc": cmc,
        "roc": mean_roc(results),
        "camera_pairs": [with_cameras(row, cameras) for row in _rows(results, "pairs")],
        "by_view": _rows(results, "views"),
    }
    _publish(folder, files, results, metrics, names, cameras)


def _publish(
    folder: Path,
    files: dict[str, Any],
    results: "list[Scored]",
    metrics: dict[str, Any],
    names: dict[str, dict[str, int]],
    cameras: dict[int, str],
) -> None:
    """Write all files of scores; nothing is written before all is known."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from evaluate.score.analysis import rounded
    from evaluate.score.cameras import told_names
    from pipeline import schema

    texts = {name: json.dumps(rounded(content), indent=1) + "\n" for name, content in files.items()}
    rows = [row for result in results for row in result.queries]
    about = {"dataset": metrics["dataset"], "protocol": metrics["protocol"]}
    about |= told_names(names, cameras)
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata(schema.PER_QUERY, **about))
    made = [folder / "per_query.parquet", *(folder / f"{name}.json" for name in texts)]
    with paths.write_together(made) as (queries, *others):
        pq.write_table(table, queries, compression="zstd")
        for temporary, text in zip(others, texts.values(), strict=True):
            temporary.write_text(text, encoding="utf-8")


def _rows(results: "list[Scored]", kind: str) -> list[dict[str, Any]]:
    """Return the rows of a table of all splits, each with the number of its split."""
    return [{"split_id": one.split_id} | row for one in results for row in getattr(one, kind)]
