"""Ask how much of a person's identity is left in the skeletons, step by step.

A linear discriminant analysis learns on the training tracklets what tells persons apart, and
retrieves the test tracklets under the protocol: no network, no training schedule to doubt. Each
tracklet is described by the median length of its bones, the mean and spread of its joints and of
their steps, seen from the person's own front.

Run it:   python -m bench.skeletons
"""

from typing import TYPE_CHECKING

import numpy as np

from bench.measure import DEFAULT, rewrite
from bench.results import PAGE
from pipeline import console, paths
from pipeline.cli import Dataset, run
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from shards.read import Shards

SHRINKAGE = 0.1


def descriptor(xyz: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return what is known of a tracklet from its skeletons `(T, 17, 3)` and bones `(E, 2)`."""
    bones = np.linalg.norm(xyz[:, edges[:, 0]] - xyz[:, edges[:, 1]], axis=-1)
    steps = np.diff(xyz, axis=0) if len(xyz) > 1 else np.zeros_like(xyz)
    parts = [np.median(bones, 0), bones.std(0), xyz.mean(0), xyz.std(0)]
    parts += [np.abs(steps).mean(0), steps.std(0)]
    return np.concatenate([part.ravel() for part in parts])


def from_the_front(xyz: np.ndarray) -> np.ndarray:
    """Turn each skeleton about the vertical until its hips and shoulders lie along x."""
    from pipeline.skeleton import H36M17

    left, right = (
        [H36M17.joints.index(f"{side}_{part}") for part in ("hip", "shoulder")]
        for side in ("left", "right")
    )
    across = (xyz[:, left] - xyz[:, right]).sum(1)
    angle = np.arctan2(across[:, 2], across[:, 0])
    turn = np.zeros((len(xyz), 3, 3))
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 0, 2], turn[:, 2, 0], turn[:, 1, 1] = np.sin(angle), -np.sin(angle), 1
    return np.einsum("tij,tkj->tki", turn, xyz)


def retrieve(xyz: np.ndarray, shards: "Shards") -> tuple[float, float]:
    """Fit on the training tracklets and return mAP and Rank-1 of the test tracklets.

    Args:
        xyz: `(F, 17, 3)`, a skeleton for every frame of the shards, NaN where there is none.
        shards: Who is in them.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    from pipeline.ranking import Ids, cmc_and_map

    table, edges = shards.tracklets, np.array(shards.layout.edges)
    ends = (table["first"] + table["length"]).tolist()
    rows = []
    for first, end in zip(table["first"].tolist(), ends, strict=True):
        own = xyz[first:end]
        own = own[np.isfinite(own).all((1, 2))]
        rows.append(descriptor(from_the_front(own), edges) if len(own) else None)
    size = next(len(row) for row in rows if row is not None)
    found = np.stack([np.zeros(size) if row is None else row for row in rows])
    split, pid = table["split"].to_numpy(), table["pid"].to_numpy()
    is_train, is_query = split == "train", split == "query"
    found = (found - found[is_train].mean(0)) / (found[is_train].std(0) + 1e-6)
    analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE)
    analysis.fit(found[is_train], pid[is_train])
    found, ids = analysis.transform(found), Ids(pid, table["camid"].to_numpy())
    query, gallery = found[is_query], found[~is_train]
    dist = np.linalg.norm(query[:, None] - gallery[None], axis=-1)
    scores = cmc_and_map(dist, ids[is_query], ids[~is_train]).summary()
    return 100 * scores["mAP"], 100 * scores["rank1"]


def lifted(xy_px: np.ndarray, shards: "Shards", model: str, keep_2d: bool) -> np.ndarray:
    """Lift 2D joints `(F, 17, 2)`, all certain, as the stage pose3d would."""
    from extract.engine.spec import load
    from extract.pose3d.keep import keep_seen
    from extract.pose3d.lifter import Lifter
    from extract.pose3d.normalise import normalise

    spec = load(model)
    place = spec.part("lifter").input
    lift = Lifter(spec.config("lifter"), spec.checkpoint("lifter"), place, "cpu")
    table = shards.tracklets
    parts = [
        slice(first, first + length)
        for first, length in zip(table["first"], table["length"], strict=True)
    ]
    poses = [
        normalise(xy_px[part], np.ones(xy_px[part].shape[:2]), place.root_px, place.height_px)
        for part in parts
    ]
    found = lift(poses)
    if keep_2d:
        found = [keep_seen(xyz, *pose) for xyz, pose in zip(found, poses, strict=True)]
    return np.concatenate(found)


def main(dataset: Dataset = DEFAULT) -> None:
    """Compare true, lifted and found skeletons.

    Those of the rendered walkers become the table of docs/results.md; others are printed only.
    """
    from pipeline.params.config import load
    from shards.quality import Truth, truth_file
    from shards.read import Shards

    shards = Shards(paths.shards_dir(dataset))
    file = truth_file(shards)
    if file is None:
        raise PipelineError(f"{dataset} has no ground truth. Only rendered people have one")
    truth, params = Truth(shards, file), load()
    model, keep_2d = params.datasets[dataset].pose3d, dataset in params.pose3d.keep_2d
    rng = np.random.default_rng(0)
    kinds = {
        "true joints": truth.xyz,
        "true joints, each moved at random by 40 mm": truth.xyz
        + rng.normal(0, 0.04 / np.sqrt(3), truth.xyz.shape),
        "lifted from the true 2D joints, none of them kept": lifted(
            truth.xy_px, shards, model, keep_2d=False
        ),
        "lifted from the true 2D joints": lifted(truth.xy_px, shards, model, keep_2d),
        "lifted from the 2D joints found in the frames": np.asarray(shards.xyz),
        "pure noise": rng.normal(size=truth.xyz.shape),
    }
    rows = [
        (name, *(f"{score:.1f}" for score in retrieve(xyz, shards))) for name, xyz in kinds.items()
    ]
    console.table("Identity left in the skeletons", ("skeletons", "mAP", "Rank-1"), rows)
    if dataset == DEFAULT:
        lines = ["| skeletons | mAP | Rank-1 |", "|---|---:|---:|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        rewrite("skeletons", "\n".join(lines), PAGE)


if __name__ == "__main__":
    run(main)
