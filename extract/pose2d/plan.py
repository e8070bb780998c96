"""What finding the 2D joints of a dataset consists of, and what decides its bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import paths, schema
from pipeline.code.fingerprint import fingerprint, sha256, versions
from pipeline.code.hashes import digest
from pipeline.errors import PipelineError
from pipeline.files import checked
from pipeline.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

    from extract.engine.job import Job
    from extract.engine.spec import Spec
    from extract.pose2d.work import Pose2dWork
    from pipeline.params.knobs import Pose2dParams

CHUNK_FRAMES = 1024
SAMPLE_FRAMES = 64


def plan(stage: Stage) -> "Job":
    """Decide what to do: chunks of tracklets, and the work on them.

    Raises:
        PipelineError: If the index or the weights are missing, or the index is empty.
    """
    from extract.engine import spec
    from extract.engine.frames import FrameFiles
    from extract.engine.job import Job

    weights = spec.load(stage.params.datasets[stage.dataset].pose2d)
    index = _read_index(stage)
    root = paths.dataset_root(stage.dataset).absolute()
    sample = [paths.below(root, name) for name in _sample(index)]
    checksum, knobs = sha256(weights.checkpoint("estimator")), _knobs(stage, weights)
    made_of = _made_of(stage, knobs, weights, checksum, sample)
    work = _work(stage, knobs, weights, sample, made_of)
    return Job(
        stage=stage,
        output=stage.out(paths.pose2d_dir(stage.dataset)),
        fingerprint=made_of,
        chunks=_chunks(index),
        work=work,
        metadata=lambda: _metadata(stage, weights, checksum, work),
        max_bad=stage.params.pose2d.max_bad_frames,
        then="pose3d",
        files=FrameFiles(root),
    )


def _knobs(stage: Stage, weights: "Spec") -> "Pose2dParams":
    """Return the knobs, with the estimator's own score that is too low where none is set."""
    knobs = stage.params.pose2d
    own = weights.part("estimator").min_score
    return knobs if knobs.min_score is not None else knobs.model_copy(update={"min_score": own})


def _made_of(
    stage: Stage, knobs: "Pose2dParams", weights: "Spec", checksum: str, sample: list[Path]
) -> str:
    """Return the fingerprint of all that decides the joints."""
    return fingerprint(
        code=digest(stage.name, stage.key, stage.params),
        schema=schema.VERSION,
        # More bad frames tolerated is no reason to look for joints again.
        knobs=knobs.model_dump_json(exclude={"max_bad_frames"}),
        weights=checksum,
        config=sha256(weights.config("estimator")),
        index=sha256(stage.read(paths.index_file(stage.dataset))),
        frames=_hash_files(sample),
        limit=stage.limit,
    )


def _work(
    stage: Stage, knobs: "Pose2dParams", weights: "Spec", sample: list[Path], made_of: str
) -> "Pose2dWork":
    """Return what a worker does with a chunk."""
    from extract.pose2d.work import Pose2dWork

    runtime = stage.params.runtime
    return Pose2dWork(
        config=weights.config("estimator").absolute(),
        checkpoint=weights.checkpoint("estimator").absolute(),
        root=paths.dataset_root(stage.dataset).absolute(),
        sample=tuple(sample),
        decision=stage.work(made_of).absolute() / "precision.json",
        device=runtime.device,
        batch_frames=runtime.batch_frames,
        compiled=runtime.compile is True,
        knobs=knobs,
        min_score=knobs.min_score or 0.0,
    )


def _metadata(
    stage: Stage, weights: "Spec", checksum: str, work: "Pose2dWork"
) -> dict[str, object]:
    """Return what the tables say about themselves, when all chunks are done."""
    from extract.pose2d.work import precision_of

    return {
        "dataset": stage.dataset,
        "joints": "coco17",
        "estimator": weights.name,
        "estimator_sha256": checksum,
        "licence": weights.licence,
        "precision": precision_of(work.decision),
        "knobs": work.knobs.model_dump_json(),
        **weights.accuracy(),
        **versions("torch", "mmpose", "opencv-python-headless", "pyarrow"),
    }


def _read_index(stage: Stage) -> "pa.Table":
    path = stage.read(paths.index_file(stage.dataset))
    index = checked.read_index(path, stage.rebuild("index"))
    index = index.sort_by([(key, "ascending") for key in ("split", "pid", "tracklet")])
    if not index.num_rows:
        raise PipelineError(f"{path} lists no tracklets. Run: {stage.rebuild('index')}")
    return index.slice(0, stage.limit) if stage.limit else index


def _sample(index: "pa.Table") -> list[str]:
    """Return frames evenly spread over the dataset: they stand for the bytes of all of them."""
    step = -(-index.num_rows // SAMPLE_FRAMES)
    rows = index["frames"].take(list(range(0, index.num_rows, step))).to_pylist()
    return [frames[0] for frames in rows if frames]


def _hash_files(files: list[Path]) -> str:
    return "".join(sha256(file)[:8] if file.is_file() else "-" for file in files)


def _chunks(index: "pa.Table") -> list[tuple[int, "pa.Table"]]:
    import pyarrow.compute as pc

    from extract.engine.chunks import cut

    lengths = pc.list_value_length(index["frames"]).to_pylist()
    spans = cut(lengths, index["split"].to_pylist(), CHUNK_FRAMES)
    # Taken, not sliced: a pickled slice carries the whole index along to a worker.
    return [(sum(lengths[a:b]), index.take(list(range(a, b)))) for a, b in spans]
