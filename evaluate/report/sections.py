"""The sections of a report. Each reads its own files, and is empty where they do not exist."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.ranked import Album, Cell, Ranked, choose, picture_of, shorten
from evaluate.report import charts
from evaluate.report.behind import trainings
from evaluate.report.page import chart, folded, grid, paragraph, side_by_side, table, value
from evaluate.report.scores import drawn
from pipeline import paths, schema
from pipeline.files import checked, texts
from pipeline.files.reading import reading
from pipeline.names import camera_name, camera_names
from pipeline.schema import PER_QUERY, Status
from shards import draw, quality
from shards.read import Shards

# Of fewer queries one decides too much.
FEW_QUERIES = 30

if TYPE_CHECKING:
    from pipeline.stage import Stage


def cameras(folder: Path, fix: str) -> str:
    """Return the matrix of camera pairs: query camera down, gallery camera across."""
    return drawn(folder / "camera_pairs.json", _camera_pairs, fix)


def _camera_pairs(pairs: list[dict[str, Any]]) -> str:
    if not pairs:
        return ""
    across = sorted({pair["gallery_camid"] for pair in pairs})
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for pair in pairs:
        found.setdefault((pair["query_camid"], pair["gallery_camid"]), []).append(pair)
    names = _names_of(pairs)
    rows = []
    for query in sorted({pair["query_camid"] for pair in pairs}):
        row: list[object] = [f"camera {names[query]}"]
        for gallery in across:
            splits = found.get((query, gallery))
            if not splits:
                row.append("")
                continue
            mean_ap = float(np.mean([pair["mAP"] for pair in splits]))
            rank1 = float(np.mean([pair["rank1"] for pair in splits]))
            queries = sum(pair["queries_scored"] for pair in splits)
            row.append(value(mean_ap, f"{100 * rank1:.0f}, {queries} queries", mean_ap))
        rows.append(row)
    return paragraph(
        "mAP in % of the queries of one camera (down) against the gallery of one other "
        "(across); below it Rank-1 and how many queries were scored."
    ) + table(("query \\ gallery", *(f"camera {names[camera]}" for camera in across)), rows)


def _names_of(pairs: list[dict[str, Any]]) -> dict[int, str]:
    """Return what cameras are called; earlier scores say their numbers alone."""
    return {
        pair[f"{side}_camid"]: pair.get(f"{side}_camera", f"{pair[f'{side}_camid']}")
        for pair in pairs
        for side in ("query", "gallery")
    }


def views(folder: Path, fix: str) -> str:
    """Return the scores by how query and gallery were seen, where the dataset says it."""
    return drawn(folder / "by_view.json", _views, fix)


def _views(rows: list[dict[str, Any]]) -> str:
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["column"], row["query"], row["gallery"]), []).append(row)
    if not found:
        return ""
    lines = []
    for (column, query, gallery), pairs in found.items():
        mean_ap, rank1 = (float(np.mean([one[key] for one in pairs])) for key in ("mAP", "rank1"))
        queries = sum(one["queries_scored"] for one in pairs)
        few = ", few" if queries < FEW_QUERIES else ""
        lines.append(
            (column, query, gallery, value(mean_ap, f"{queries} queries{few}"), value(rank1))
        )
    return paragraph(
        "How query and gallery were seen: mAP and Rank-1 in %. Of spectrum and platform the "
        "gallery is that of one value alone; altitude, distance and angle are those of the query."
    ) + table(("column", "query", "gallery", "mAP", "Rank-1"), lines)


def by_camera(folder: Path, rebuild: str) -> list[dict[str, Any]]:
    """Return mAP and Rank-1 of the queries of each camera, a row per camera, for `dvc plots`."""
    file = folder / "per_query.parquet"
    if not file.exists():
        return []
    found = checked.read(file, PER_QUERY, rebuild, ["camid", "ap", "first_rank"])
    cameras = camera_names(schema.metadata(found.schema), file, f"Run: {rebuild}")
    queries = found.to_pandas()
    queries = queries[queries["ap"].notna()]
    rows = []
    for camid, own in queries.groupby("camid"):
        rank1 = float((own["first_rank"] == 1).mean())
        rows.append(
            {
                "camera": f"camera {camera_name(cameras, camid)}",
                "mAP": round(float(own["ap"].mean()), 6),
                "rank1": round(rank1, 6),
                "queries": len(own),
            }
        )
    return rows


def ranked_lists(folder: Path, shards: Shards, pictures: Path, fix: str) -> str:
    """Draw ranked lists of telling queries into `pictures`, and return them for the page."""
    file = folder / "per_query.parquet"
    if not file.exists():
        return ""
    queries = checked.read(file, PER_QUERY, fix.removeprefix("Run: "))
    ap = queries["ap"].to_numpy().astype(float)
    album = Album(shards)
    parts = [
        paragraph(
            "A query (violet) and its nearest gallery tracklets with their distances. Green: the "
            "same person. Red: somebody else. Grey: left out by the protocol, as the same person "
            "in the same camera is. Below each, its skeleton; left is orange, right is blue."
        )
    ]
    for name, at in choose(ap).items():
        row = queries.slice(at, 1).to_pylist()[0]
        query = Ranked(row["tracklet"], row["pid"], row["camid"], 0.0, False, False)
        with reading(file, "table of ranked lists", fix):
            nearest = shorten(nearest_of(row))
        cells = album.cells(query, nearest)
        with paths.write_atomic(pictures / f"{name}.png") as temporary:
            temporary.write_bytes(draw.png(picture_of(cells)))
        title = name.replace("-", " ").capitalize()
        caption = f"{title}: {row['tracklet']}, AP {100 * ap[at]:.1f} %"
        said = f"{caption}; first match at rank {row['first_rank']}"
        parts.append(side_by_side([_shown(cell) for cell in cells], said))
    return "".join(parts)


def _shown(cell: Cell) -> tuple[bytes, list[str]]:
    """Return the JPEG of a cell, and what stands below it."""
    return draw.jpeg(np.concatenate([cell.frame, cell.figure])), [cell.place, *cell.said]


def nearest_of(row: dict[str, Any]) -> list[Ranked]:
    """Return the ranked list of one row of per_query.parquet, without the query itself."""
    columns = ("gallery", "gallery_pid", "gallery_camid", "distance", "is_match", "is_junk")
    nearest = [Ranked(*one) for one in zip(*(row[name] for name in columns), strict=True)]
    return [one for one in nearest if one.tracklet != row["tracklet"]]


def training(stage: "Stage") -> str:
    """Return loss and validation curves of all trainings behind a run, and their models' sizes."""
    parts, models = [], []
    for title, folder, fix in _trainings(stage):
        found = dict(_read_curves(folder / "plots" / "metrics", fix))
        groups: dict[str, dict[str, charts.Points]] = {"loss": {}, "accuracy and scores": {}}
        for name, points in found.items():
            if name in ("lr", "temperature"):
                continue
            groups["loss" if name.startswith("loss") else "accuracy and scores"][name] = points
        for group, series in groups.items():
            if series:
                parts.append(chart(charts.lines(series, "epoch", group), f"{title}: {group}"))
        models.append(drawn(folder / "metrics.json", partial(_sizes, title), fix))
    return grid(*parts, *models)


def _sizes(title: str, metrics: dict[str, Any]) -> str:
    model = metrics.get("model", {})
    rows = [(name.replace("_", " "), f"{number:,}") for name, number in model.items()]
    return chart(table(("", ""), rows), f"{title}: model") if rows else ""


def _read_curves(folder: Path, fix: str) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    for file in sorted(folder.rglob("*.tsv")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        rows = [row for _, row in texts.read_csv(file, ["step"], fix)]
        with reading(file, "curve", fix):
            columns = [one for one in (rows[0] if rows else ()) if one not in ("step", "timestamp")]
            points = [(float(row["step"]), float(row[columns[-1]])) for row in rows]
            if not np.isfinite(points).all():
                raise ValueError("it holds numbers that are not finite")
        yield name, points


def poses(shards: Shards) -> str:
    """Return what is known about the skeletons, against the truth where there is one."""
    counts = quality.counts(shards)
    names = [column.replace("_", " ") for column in counts.columns]
    rows = [(split, *row) for split, row in zip(counts.index, counts.to_numpy(), strict=True)]
    parts = [table(("split", *names), rows)]
    measured = _pose_models(shards)
    file = quality.truth_file(shards)
    if file:
        found = quality.against_truth(shards, quality.Truth(shards, file))
        measured = dict(_flat(found, "these shards: ")) | measured
    if measured:
        shown = [(name, f"{number:.4g}") for name, number in measured.items()]
        parts.append(chart(table(("", "value"), shown), "Measured against ground truth"))
    said = (
        f"{100 * (np.asarray(shards.status) == Status.OK).mean():.2f} % of {len(shards):,} frames "
        "have a skeleton that counts. A bone keeps its length, so whatever varies is error: a "
        "measure that needs no truth."
    )
    return paragraph(said) + "".join(parts) + grid(*_pose_charts(shards))


def _pose_charts(shards: Shards) -> list[str]:
    score = shards.score[np.isfinite(shards.score)]
    heights, edges = np.histogram(score, np.linspace(0, 1, 41))
    per_camera = {f"camera {c}": 100 * s for c, s in quality.bad_by_camera(shards).items()}
    bad = charts.bars(per_camera, "%", " %") if any(per_camera.values()) else paragraph("None.")
    bones = {name: 100 * number for name, number in quality.bone_stability(shards).items()}
    return [
        chart(charts.histogram(heights, edges, "score", "joints"), "Scores of 2D joints"),
        chart(charts.bars(bones, "%, median of persons", " %"), "Variation of a person's bones"),
        chart(bad, "Frames without a good skeleton"),
    ]


def _pose_models(shards: Shards) -> dict[str, float]:
    """Return what was measured when the pose models were fitted, if that is known."""
    found: dict[str, float] = {}
    for stage, role in (("pose2d", "estimator"), ("pose3d", "lifter")):
        if text := shards.metadata.get(f"{stage}.accuracy"):
            model = shards.metadata.get(f"{stage}.{role}", stage)
            file = shards.files[0]
            with reading(file, "shard", f"Run: {shards.rebuild}"):
                found |= dict(_flat(json.loads(text), f"{model}: "))
    return found


def _flat(numbers: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, number in numbers.items():
        if name == "joints":
            # A row for each would bury the means.
            continue
        if isinstance(number, dict):
            yield from _flat(number, f"{prefix}{name} ")
        elif isinstance(number, int | float):
            yield f"{prefix}{name}".removesuffix(" mean").replace("_", " "), number


def _trainings(stage: "Stage") -> Iterator[tuple[str, Path, str]]:
    """Yield title and folder of the trainings behind a run, and what makes each again."""
    for name, key in trainings(stage.params, stage.key):
        title = name.replace("stage", "Stage ")
        own = "" if key == stage.key else f" of {key}"
        yield (
            f"{title}{own}",
            stage.read(paths.report_dir(key) / name),
            f"Run: dvc repro {name}@{key}",
        )


def settings(stage: "Stage") -> str:
    """Return the knobs of the run and the configurations that the Runner was given."""
    import yaml

    knobs = stage.params.model_dump(mode="json", by_alias=True)
    run = stage.line.model_dump(mode="json")
    # What changes no result, and what belongs to other runs, would only be noise.
    noise = ("runtime", "datasets", "kinect", "weights", "pretraining", "runs")
    kept = {"run": run} | {key: part for key, part in knobs.items() if key not in noise}
    said = f"Knobs of params.yaml, with the recipe {run['recipe']}"
    parts = [folded(said, yaml.safe_dump(kept, sort_keys=False))]
    for title, folder, fix in _trainings(stage):
        file = folder / "config.yaml"
        if file.exists():
            given = texts.read(file, fix)
            parts.append(folded(f"What the Runner was given in {title.lower()}", given))
    return "".join(parts)
