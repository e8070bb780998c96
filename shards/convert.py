"""Exchange joints with other projects: a JSON per frame, a NumPy file or a pickle per tracklet.

Give:   python -m shards.convert export --dataset mars /somewhere/MARS
Take:   python -m shards.convert import --dataset mars /somewhere/MARS
"""

import json
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import console, paths
from pipeline.cli import Dataset, Quiet, Verbose, run, set_output
from pipeline.errors import PipelineError
from pipeline.files import arrays, checked, texts
from pipeline.names import listed
from pipeline.paths import below, file_name

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

CHUNK_FRAMES = 4096
# Where the public CSIP-ReID code looks: beside the frames, except that of iLIDS-VID, which it
# expects beside the folder of sequences.
_CSIP_FOLDER = "skeleton_3d_hmr2.0"
_ILIDS = ("i-LIDS-VID/sequences/", "i-LIDS-VID/sequences_skeleton_3d_hmr2.0/")


class Direction(StrEnum):
    """Whether joints leave or come."""

    EXPORT = "export"
    IMPORT = "import"


class Kind(StrEnum):
    """How the other side keeps joints."""

    CSIP = "csip"
    NPY = "npy"
    OPENGAIT = "opengait"


def main(
    direction: Annotated[Direction, typer.Argument(help="From this project, or into it.")],
    folder: Annotated[Path, typer.Argument(help="The other project's folder of the dataset.")],
    dataset: Dataset,
    kind: Annotated[
        Kind,
        typer.Option(
            "--format",
            help="csip: one JSON per frame; npy: (T, 17, 3) a tracklet; opengait: 2D joints.",
        ),
    ] = Kind.CSIP,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Export joints for other projects, or import 3D joints of theirs as data/pose3d/DATASET/.

    JSON files lie where the public CSIP-ReID code looks for them, below FOLDER; NumPy files are
    FOLDER/TRACKLET.npy. Joints are Human3.6M-17 around the pelvis. A frame without joints is all
    zeros in JSON and NaN in NumPy. For OpenGait they are COCO-17 in pixels, with their scores, in
    PERSON/CAMERA/TRACKLET/TRACKLET.pkl, without the frames that have none.

    Example: python -m shards.convert export --dataset walkers /tmp/walkers
    """
    set_output(verbose, quiet)
    from pipeline.params.config import load

    then = "train with the other project"
    if kind == Kind.OPENGAIT:
        from shards.opengait import export, refuse

        files = refuse() if direction == Direction.IMPORT else export(dataset, folder)
        console.summary(folder, f"{files} files", then)
        return
    frames = _frames_by_tracklet(dataset, load().datasets[dataset].format)
    if direction == Direction.EXPORT:
        files = _export(dataset, folder, kind, frames)
        console.summary(folder, f"{files} files", then)
    else:
        size = _import(dataset, folder, kind, frames)
        then = f"dvc commit -f pose3d@{dataset} && dvc repro shards@{dataset}"
        console.summary(paths.pose3d_dir(dataset), console.size(size), then)


def csip_file(format_: str, frame: str) -> Path:
    """Return where the public CSIP-ReID code looks for the joints of a frame.

    Args:
        format_: The dataset's format.
        frame: Path of the frame, relative to the dataset's folder.

    >>> csip_file("mars", "bbox_train/0001/0001C1T0001F001.jpg").as_posix()
    'skeleton_3d_hmr2.0/bbox_train/0001/0001C1T0001F001.json'
    >>> csip_file("ilids_vid", "i-LIDS-VID/sequences/cam1/person001/cam1_1.png").as_posix()
    'i-LIDS-VID/sequences_skeleton_3d_hmr2.0/cam1/person001/cam1_1.json'
    """
    if format_ == "ilids_vid" and frame.startswith(_ILIDS[0]):
        return Path(frame.replace(*_ILIDS, 1)).with_suffix(".json")
    return (Path(_CSIP_FOLDER) / frame).with_suffix(".json")


def _frames_by_tracklet(dataset: str, format_: str) -> dict[str, list[Path]]:
    """Return where the JSON of every frame lies, by tracklet in the order of the index."""
    file = paths.index_file(dataset)
    index = checked.read_index(file, f"dvc repro index@{dataset}", ["tracklet", "frames"])
    return {
        row["tracklet"]: [below(Path(), str(csip_file(format_, frame))) for frame in row["frames"]]
        for row in index.to_pylist()
    }


def _export(dataset: str, folder: Path, kind: Kind, frames: dict[str, list[Path]]) -> int:
    import numpy as np

    from pipeline import schema
    from shards.columns import joints
    from shards.write.join import by_tracklet

    files = listed(paths.pose3d_dir(dataset), "*.parquet")
    if not files:
        raise PipelineError(
            f"{paths.pose3d_dir(dataset)} holds no joints. Run: dvc repro pose3d@{dataset}"
        )
    for file in files:
        schema.check(file, schema.POSE3D, f"dvc repro pose3d@{dataset}")
    written = 0
    with console.progress(sum(map(len, frames.values())), "frames", "export") as meter:
        for table in by_tracklet(files, schema.POSE3D, f"dvc repro pose3d@{dataset}"):
            name = table["tracklet"][0].as_py()
            if len(frames.get(name, ())) != len(table):
                raise PipelineError(
                    f"{paths.pose3d_dir(dataset)} and {paths.index_file(dataset)} disagree about "
                    f"the frames of {name}. Run: dvc repro pose3d@{dataset}"
                )
            xyz = joints(table["xyz"], (17, 3))
            if kind == Kind.NPY:
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{file_name(name)}.npy", xyz)
                written += 1
            else:
                _write_json([folder / file for file in frames[name]], xyz, table)
                written += len(table)
            meter.advance(len(table))
    return written


def _write_json(files: list[Path], xyz: "np.ndarray", table: "pa.Table") -> None:
    """Write one file per frame, bad ones too: some readers pair files with frames by order."""
    import numpy as np

    columns = (table[name].to_pylist() for name in ("status", "interpolated"))
    for file, one, status, interpolated in zip(files, xyz, *columns, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        # float32 written as the decimal of its float64 reads back as the same float32.
        content = {
            "keypoints": np.nan_to_num(one).astype(float).tolist(),
            "status": status,
            "interpolated": interpolated,
        }
        with paths.write_atomic(file, is_kept=False) as temporary:
            temporary.write_text(json.dumps(content))


def _import(dataset: str, folder: Path, kind: Kind, frames: dict[str, list[Path]]) -> int:
    from extract.engine.chunks import ChunkStore, cut, write_chunk
    from pipeline.code.fingerprint import sha256
    from pipeline.lock import locked

    if not folder.is_dir():
        raise PipelineError(f"{folder} is no folder. Give the one that holds the joints")
    index = checked.read_index(paths.index_file(dataset), f"dvc repro index@{dataset}")
    chunks = cut(
        [len(files) for files in frames.values()], index["split"].to_pylist(), CHUNK_FRAMES
    )
    source = f"{kind}-{sha256(paths.index_file(dataset))[:12]}"
    out = paths.pose3d_dir(dataset)
    store = ChunkStore(paths.work_dir("convert", dataset, source), len(chunks))
    with locked(out), console.progress(len(index), "tracklets", "import") as meter:
        store.folder.mkdir(parents=True, exist_ok=True)
        # What stands in the folder may have changed since a run that was stopped.
        store.drop(range(len(chunks)))
        store.clean()
        absent = 0
        for number, (first, end) in enumerate(chunks):
            names = list(islice(frames, first, end))
            rows = _read(index.slice(first, end - first), names, folder, kind, frames)
            write_chunk(store.path(number), rows)
            absent += rows["xyz"].null_count
            meter.advance(end - first)
        _check_found(absent, sum(map(len, frames.values())), folder)
        about = {"dataset": dataset, "joints": "h36m17", "lifter": f"imported from {kind}"}
        size = store.publish(out, lambda split: about)
        store.remove()
        return size


def _check_found(absent: int, frames: int, folder: Path) -> None:
    if absent == frames:
        raise PipelineError(
            f"{folder} holds joints of none of {frames} frames. Is it the right one?"
        )
    if absent:
        console.warn(f"{absent} of {frames} frames have no joints in {folder}")


def _read(
    index: "pa.Table", names: list[str], folder: Path, kind: Kind, frames: dict[str, list[Path]]
) -> "pa.Table":
    """Return the rows of some tracklets with the joints found for them."""
    import numpy as np
    import pyarrow as pa

    from extract.tables import assemble, explode, fixed_lists
    from pipeline.schema import POSE3D, Status

    found: list[tuple[Any, int, bool]] = []
    for name in names:
        if kind == Kind.NPY:
            found += _from_npy(folder / f"{file_name(name)}.npy", len(frames[name]))
        else:
            found += [_from_json(folder / file) for file in frames[name]]
    is_missing = np.array([joints is None for joints, _, _ in found])
    xyz = np.stack([np.zeros((17, 3)) if joints is None else joints for joints, _, _ in found])
    status = [
        int(Status.LOW_SCORE) if absent and given == Status.OK else given
        for absent, (_, given, _) in zip(is_missing, found, strict=True)
    ]
    columns = {
        "xyz": fixed_lists(xyz.astype(np.float32), is_missing),
        "status": pa.array(status, pa.int8()),
        "interpolated": pa.array([interpolated for _, _, interpolated in found]),
    }
    return assemble(POSE3D, explode(index), columns)


def _from_json(file: Path) -> tuple["np.ndarray | None", int, bool]:
    """Return joints around the pelvis, status and whether they were interpolated."""
    from pipeline.schema import Status

    if not file.exists():
        return None, int(Status.LOW_SCORE), False
    content = texts.read_json(file, "Repair or remove it")
    try:
        points = _centred(content["keypoints"])
        status = int(Status(content.get("status", Status.OK)))
        # Files of version 1 say `bridged`.
        interpolated = content.get("interpolated", content.get("bridged", False))
        if not isinstance(interpolated, bool):
            raise ValueError(interpolated)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise PipelineError(
            f'{file} does not hold {{"keypoints": 17 times [x, y, z]}}, and perhaps status and '
            "interpolated. Repair or remove it"
        ) from None
    return points, status, interpolated


def _from_npy(file: Path, frames: int) -> Iterator[tuple["np.ndarray | None", int, bool]]:
    import numpy as np

    from pipeline.schema import Status

    if not file.exists():
        yield from [(None, int(Status.LOW_SCORE), False)] * frames
        return
    xyz = arrays.read_npy(file, "Repair or remove it")
    if xyz.shape not in ((frames, 17, 3), (frames, 51)):
        raise PipelineError(
            f"{file} has shape {xyz.shape}; the index has {frames} frames of it, so it should be "
            f"({frames}, 17, 3)"
        )
    with np.errstate(over="ignore"):
        xyz = xyz.astype(np.float32)
    for one in xyz.reshape(frames, 17, 3):
        yield (_centred(one) if np.isfinite(one).all() else None), int(Status.OK), False


def _centred(points: Any) -> "np.ndarray | None":
    """Return `(17, 3)` joints around the pelvis; None where all are zero, which means failure."""
    import numpy as np

    with np.errstate(over="ignore"):
        xyz = np.asarray(points, np.float32)
    if xyz.shape != (17, 3) or not np.isfinite(xyz).all():
        raise ValueError(xyz.shape)
    return xyz - xyz[:1] if xyz.any() else None


if __name__ == "__main__":
    run(main)
