"""Pictures of the spaces that tracklets are compared in: t-SNE of test and of training tracklets.

t-SNE (van der Maaten and Hinton, JMLR 2008) keeps neighbours together; distances between groups
mean nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evaluate.report import charts
from evaluate.report.page import chart, grid, paragraph
from evaluate.search.gallery import check_entries
from pipeline import paths
from pipeline.files import tables
from pipeline.names import camera_name
from shards.read import Shards

if TYPE_CHECKING:
    from pipeline.stage import Stage

_MAX_POINTS, _MAX_PERSONS = 1500, 30
# These are embedded for the picture alone, so there are fewer.
_TRAINED_PERSONS, _TRAINED_TRACKLETS = 20, 8
_FEWEST = 10
_BATCH = 16


class Points(NamedTuple):
    """Vectors `(N, C)` with the person and the name of each."""

    vectors: np.ndarray
    persons: list[int]
    names: list[str]


def features(stage: "Stage") -> str:
    """Return test tracklets with the means of persons, training tracklets with prototypes."""
    tested, trained = test_points(stage), training_points(stage)
    parts, said = [], []
    if tested:
        said.append(
            "Test persons: a diamond is the mean of a person's tracklets. Nobody here was seen in "
            "training; groups that mix are persons that the model mixes up."
        )
        parts.append(_picture(tested, "Test tracklets"))
    if trained:
        said.append(
            "Training persons: a diamond is the prototype that stage 2 compared a person's "
            "tracklets with. Groups are expected here, and say nothing about strangers."
        )
        parts.append(_picture(trained, "Training tracklets and prototypes"))
    if not parts:
        return ""
    first = (
        "Tracklets in two dimensions (t-SNE), a colour per person. How far groups lie from each "
        "other means nothing."
    )
    return "".join(paragraph(text) for text in (first, *said)) + grid(*parts)


def test_points(stage: "Stage") -> Points | None:
    """Return features of test tracklets, then the mean of each person."""
    file = stage.read(paths.features_file(stage.key))
    if not file.exists():
        return None
    fix = f"Run: {stage.rebuild('embed')}"
    found = tables.read(file, fix, ["tracklet", "pid", "camid", "feature"])
    check_entries(found, file, fix)
    pid = found["pid"].to_numpy()
    persons = np.unique(pid[pid > 0])[:_MAX_PERSONS]
    rows = np.flatnonzero(np.isin(pid, persons))[:_MAX_POINTS]
    if len(rows) < _FEWEST:
        return None
    vectors = np.stack(found["feature"].to_numpy(zero_copy_only=False)[rows]).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    persons = np.unique(pid[rows])
    means = np.stack([vectors[pid[rows] == person].mean(0) for person in persons])
    cameras = Shards(stage.read(paths.shards_dir(stage.dataset))).cameras
    names = [
        f"{one['tracklet']}, camera {camera_name(cameras, one['camid'])}"
        for one in found.take(rows).to_pylist()
    ]
    names += [f"* mean of person {person}" for person in persons]
    return Points(np.concatenate([vectors, means]), [*pid[rows].tolist(), *persons.tolist()], names)


def training_points(stage: "Stage") -> Points | None:
    """Return projected visual features of training tracklets, then the prototype of each person.

    Both have length one and lie where the prototype loss compares them (CSIP-ReID, section 3.3).
    A prototype is fused from frames and skeletons where the model does that. There is nothing to
    show without a model, or if it has no prototypes.
    """
    if not stage.read(paths.stage2_file(stage.key)).exists():
        return None
    from train.data.clips import ClipDataset
    from train.trained import Trained

    trained = Trained.of(stage)
    root = stage.read(paths.shards_dir(trained.about["dataset"]))
    shows_pictures = trained.descriptor == "visual" and trained.has_prototypes
    if not shows_pictures or not any(root.glob("train-*.parquet")):
        return None
    model = trained.model()
    data = ClipDataset(
        str(root), trained.clip_frames, trained.size, held_out=trained.about["held_out"]
    )
    if len(data.pids) != model.classes:
        # The shards were made anew since: nobody knows whose prototypes these are.
        return None
    table = data.table.assign(label=data.labels)
    table = table[table["label"] < _TRAINED_PERSONS].groupby("label").head(_TRAINED_TRACKLETS)
    if len(table) < _FEWEST:
        return None
    persons = data.pids[:_TRAINED_PERSONS]
    cameras = Shards(root).cameras
    names = [
        f"{one.tracklet}, camera {camera_name(cameras, one.camid)}" for one in table.itertuples()
    ]
    names += [f"* prototype of person {person}" for person in persons]
    vectors = [*_projected(model, data, table.index.tolist())]
    vectors.append(_prototypes(model)[: len(persons)])
    return Points(np.concatenate(vectors), [*table["pid"].tolist(), *persons], names)


def _projected(model: Any, data: Any, positions: list[int]) -> Iterator[np.ndarray]:
    """Yield the unit features `(B, D)` of clips that the prototypes are made from."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, Subset

    for batch in DataLoader(Subset(data, positions), _BATCH):
        with torch.no_grad():
            _, projected = model.frame_tokens(model.data_preprocessor(batch)["inputs"])
            yield F.normalize(projected[:, :, 0].mean(1).float(), dim=-1).cpu().numpy()


def _prototypes(model: Any) -> np.ndarray:
    """Return the unit prototypes `(K, D)`, before a clip updates them."""
    import torch
    import torch.nn.functional as F

    made = model.visual_prototypes
    with torch.no_grad():
        if model.fusion is not None:
            made = model.fusion(model.skeleton_prototypes, made)
        return F.normalize(made.float(), dim=-1).cpu().numpy()


def _picture(points: Points, title: str) -> str:
    xy = _flattened(points.vectors)
    return chart(charts.scatter(xy, points.persons, points.names), title)


def _flattened(vectors: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors)
