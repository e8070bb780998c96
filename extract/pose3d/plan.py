"""What lifting the joints of a dataset consists of, and what decides its bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import paths, schema
from pipeline.code.fingerprint import fingerprint, sha256, versions
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.files import checked
from pipeline.names import listed
from pipeline.stage import Stage

if TYPE_CHECKING:
    from extract.engine.job import Job
    from extract.engine.spec import Spec
    from extract.pose3d.work import Rows
    from pipeline.params.knobs import Pose3dParams

CHUNK_FRAMES = 4096


def plan(stage: Stage) -> "Job":
    """Decide what to do: chunks of tracklets, and the work on them.

    Raises:
        PipelineError: If the 2D joints or the weights are missing.
    """
    from extract.engine import spec
    from extract.engine.job import Job
    from extract.pose3d.work import Pose3dWork

    params = stage.params
    weights = spec.load(params.datasets[stage.dataset].pose3d)
    place = weights.part("lifter").input
    files = _files(stage)
    chunks = _chunks(files, stage.limit, stage.rebuild("pose2d"))
    checksum = sha256(weights.checkpoint("lifter"))
    # Another dataset in the list is none of this one's business.
    keep = [name for name in params.pose3d.keep_2d if name == stage.dataset]
    knobs = params.pose3d.model_copy(update={"keep_2d": keep})
    made_of = fingerprint(
        code=digest(stage.name, stage.key, params),
        schema=schema.VERSION,
        knobs=knobs.model_dump(mode="json"),
        weights=checksum,
        config=sha256(weights.config("lifter")),
        input=place.model_dump(mode="json"),
        pose2d=[(file.name, sha256(file)) for file in files],
        limit=stage.limit,
    )
    return Job(
        stage=stage,
        output=stage.out(paths.pose3d_dir(stage.dataset)),
        fingerprint=made_of,
        chunks=chunks,
        work=Pose3dWork(
            config=weights.config("lifter").absolute(),
            checkpoint=weights.checkpoint("lifter").absolute(),
            place=place,
            device=params.runtime.device,
            knobs=knobs,
        ),
        metadata=lambda: _metadata(stage, weights, checksum, knobs),
        max_bad=None,
        then="shards",
    )


def _metadata(
    stage: Stage, weights: "Spec", checksum: str, knobs: "Pose3dParams"
) -> dict[str, object]:
    """Return what the tables say about themselves."""
    return {
        "dataset": stage.dataset,
        "joints": "h36m17",
        "unit": "metre",
        "axes": "x right, y down, z away; pelvis at the origin",
        "lifter": weights.name,
        "lifter_sha256": checksum,
        "licence": weights.licence,
        "knobs": knobs.model_dump_json(),
        **weights.accuracy(),
        **versions("torch", "mmpose", "pyarrow"),
    }


def _files(stage: Stage) -> list[Path]:
    folder = stage.read(paths.pose2d_dir(stage.dataset))
    files = listed(folder, "*.parquet")
    if not files:
        raise PipelineError(f"{folder} holds no tables. Run: {stage.rebuild('pose2d')}")
    return files


def _chunks(files: list[Path], limit: int, rebuild: str) -> list[tuple[int, "Rows"]]:
    """Cut each file into runs of whole tracklets, of `limit` tracklets in all (0: of every one)."""
    import numpy as np

    from extract.engine.chunks import cut
    from extract.pose3d.work import Rows

    chunks: list[tuple[int, Rows]] = []
    left = limit or None
    for file in files:
        table = checked.read(file, schema.POSE2D, rebuild)
        checked.check_order(table, file, f"Run: {rebuild}")
        checked.check_found(table, file, f"Run: {rebuild}")
        frame = table["frame"].to_numpy()
        starts = np.append(np.flatnonzero(frame == 0), len(frame))
        starts = starts if left is None else starts[: left + 1]
        left = None if left is None else left - (len(starts) - 1)
        lengths = np.diff(starts).tolist()
        for a, b in cut(lengths, [file] * len(lengths), CHUNK_FRAMES):
            first, count = int(starts[a]), int(starts[b] - starts[a])
            rows = Rows(file.absolute(), first, count, rebuild)
            chunks.append((rows.count, rows))
    return chunks
