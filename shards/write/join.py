"""How shards are made: one pass over index, frames and both pose tables, one tracklet at a time.

A finished shard stays in `work/`; a run that was killed goes on after the last one, and the bytes
are those of an undisturbed run, because where a shard ends depends on what went in only.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import console, images, machine, paths, schema
from pipeline.code.fingerprint import note_done
from pipeline.errors import PipelineError
from pipeline.files import checked, tables
from pipeline.files.tables import TableFile
from pipeline.names import listed
from pipeline.schema import ROW_GROUP_FRAMES, SHARD, VIEW, Status
from pipeline.skeleton import COCO17, H36M17
from shards.splits import write_splits
from shards.write.plan import Plan
from shards.write.truth import Silhouettes, TrueJoints

# Bytes a frame takes beside its JPEG: 2D and 3D joints, scores, keys.
JOINT_BYTES = 450
AGAIN = "Run the same command again"
READERS = 8
SAMPLE_FRAMES = 64
# Only these are worth statistics: those of frames and joints would bloat the footer.
_FILTERABLE = ["tracklet", "pid", "camid", "split", "frame", "frame_number", "status"]
_FRAMELESS = (int(Status.MISSING), int(Status.UNREADABLE))


def write_shards(plan: Plan) -> None:
    """Write all shards that are not finished yet, then give the folder its final name.

    Raises:
        PipelineError: If inputs disagree about the frames, or a frame has vanished.
    """
    plan.finished_dir.mkdir(parents=True, exist_ok=True)
    drop_damaged(plan)
    finished = sum(file.stat().st_size for file in plan.finished_dir.iterdir())
    machine.check_space(plan.work, _about(plan) - finished, f"what is left of {plan.output}")
    _write_missing(plan)
    write_splits(plan.finished_dir)
    paths.publish_dir(plan.finished_dir, plan.output)
    note_done(plan.fingerprint, plan.output)
    paths.discard(plan.work)


def _about(plan: Plan) -> float:
    """Return about how many bytes of frames the shards are going to hold, from a few of them."""
    if not plan.embed_frames:
        return 0
    file = next(plan.poses["pose2d"].glob("*.parquet"))
    names = pq.read_table(file, columns=["path"])["path"]
    few = names.take(list(range(0, len(names), -(-len(names) // SAMPLE_FRAMES)))).to_pylist()
    files = [paths.below(plan.root, name) for name in few]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return plan.frames * sum(sizes) / max(1, len(sizes))


def _write_missing(plan: Plan) -> None:
    done = {split: _tracklets_done(plan, split) for split, _, _ in plan.by_split()}
    frames_done = sum(
        length
        for split, rows in groupby(plan.tracklets, key=lambda row: row[0])
        for _, _, length in islice(rows, done[split])
    )
    with (
        console.progress(plan.frames, "frames", "shards", frames_done) as meter,
        ThreadPoolExecutor(READERS) as readers,
    ):
        for split, count in done.items():
            _write_split(plan, split, _joined(plan, split, count, readers), meter)


def _tracklets_done(plan: Plan, split: str) -> int:
    files = [plan.file(split, number) for number in range(plan.finished(split))]
    frames = [tables.read(file, AGAIN, ["frame"])["frame"] for file in files]
    return sum(pc.sum(pc.equal(column, 0)).as_py() for column in frames)


def drop_damaged(plan: Plan) -> None:
    """Forget the finished shards of a stopped run, from the first that cannot be read on."""
    for split, _, _ in plan.by_split():
        files = [plan.file(split, number) for number in range(plan.finished(split))]
        for number, file in enumerate(files):
            try:
                tables.read(file, AGAIN)
            except PipelineError:
                console.say(f"{file} is damaged: making it and what follows it again")
                for later in files[number:]:
                    later.unlink()
                break


def _write_split(
    plan: Plan, split: str, tracklets: Iterator[pa.Table], meter: console.Meter
) -> None:
    number, table = plan.finished(split), next(tracklets, None)
    described = _described(plan, split)
    while table is not None:
        with paths.write_atomic(plan.file(split, number)) as temporary:
            table = _write_shard(table, tracklets, temporary, described, plan.shard_bytes, meter)
        number += 1


def _write_shard(
    table: pa.Table | None,
    tables: Iterator[pa.Table],
    file: Path,
    described: pa.Schema,
    shard_bytes: int,
    meter: console.Meter,
) -> pa.Table | None:
    """Fill one shard with tracklets, and return the first that did not fit."""
    compression = {name: "none" if name == "jpeg" else "zstd" for name in described.names}
    with pq.ParquetWriter(
        file,
        described,
        compression=compression,
        use_dictionary=["tracklet", "split", *VIEW],
        write_statistics=_FILTERABLE,
    ) as writer:
        written, group = 0, []
        while table is not None and (not written or written + _bytes(table) <= shard_bytes):
            # A tracklet starts a new row group when it does not fit: a clip is then one read.
            if group and sum(map(len, group)) + len(table) > ROW_GROUP_FRAMES:
                writer.write_table(pa.concat_tables(group), ROW_GROUP_FRAMES)
                group = []
            group.append(table.cast(described))
            written += _bytes(table)
            meter.advance(len(table))
            table = next(tables, None)
        writer.write_table(pa.concat_tables(group), ROW_GROUP_FRAMES)
    return table


def _bytes(table: pa.Table) -> int:
    frames = pc.sum(pc.binary_length(table["jpeg"])).as_py() or 0
    return frames + JOINT_BYTES * len(table)


def _joined(plan: Plan, split: str, skip: int, readers: ThreadPoolExecutor) -> Iterator[pa.Table]:
    """Yield the frames of one tracklet after another, without the first `skip`."""
    own = [i for i, (s, _, _) in enumerate(plan.tracklets) if s == split]
    streams = {
        stage: by_tracklet(
            listed(plan.poses[stage], f"{split}-*.parquet"),
            expected,
            f"dvc repro {stage}@{plan.dataset}",
        )
        for stage, expected in (("pose2d", schema.POSE2D), ("pose3d", schema.POSE3D))
    }
    truth = TrueJoints(plan.truth) if plan.truth else None
    silhouettes = Silhouettes(plan.silhouettes) if plan.silhouettes else None
    for i, at in enumerate(own):
        _, name, length = plan.tracklets[at]
        pose2d, pose3d = (
            _same(plan, stage, next(stream, None), name, length)
            for stage, stream in streams.items()
        )
        if i >= skip:
            if truth:
                pose3d = pose3d.set_column(
                    pose3d.column_names.index("xyz"), "xyz", truth(pose2d["path"])
                )
            table = _with_frames(plan, pose2d, pose3d, readers)
            table |= {name: pa.repeat(plan.views[name][at], length) for name in VIEW}
            if silhouettes:
                table["silhouette"] = silhouettes(pose2d["path"])
            yield schema.current(pa.table(table), SHARD)


def by_tracklet(files: Iterable[Path], expected: pa.Schema, rebuild: str) -> Iterator[pa.Table]:
    """Cut the rows of sorted files at every frame 0, a few thousand rows at a time.

    Raises:
        PipelineError: If a file is damaged, or holds what no stage writes.
    """
    parts: list[pa.Table] = []
    fix = f"Run: {rebuild}"
    for file in files:
        with TableFile(file, fix) as opened:
            for batch in opened.batches(4096):
                table = schema.current(batch, expected)
                checked.check_rows(table, file, fix)
                checked.check_order(table, file, fix, begun=bool(parts))
                checked.check_found(table, file, fix)
                starts = np.flatnonzero(table["frame"].to_numpy() == 0)
                bounds = [0, *starts[starts > 0], len(table)]
                for a, b in pairwise(bounds):
                    if parts and a in starts:
                        yield pa.concat_tables(parts)
                        parts = []
                    parts.append(table.slice(a, b - a).replace_schema_metadata())
    if parts:
        yield pa.concat_tables(parts)


def _same(plan: Plan, stage: str, table: pa.Table | None, name: str, length: int) -> pa.Table:
    """Return the next tracklet of a stage, which must be the next of the index."""
    found = ("nothing", 0) if table is None else (table["tracklet"][0].as_py(), len(table))
    if table is None or found != (name, length):
        raise PipelineError(
            f"{plan.poses[stage]}: expected {length} frames of tracklet {name} as in the "
            f"index, found {found[1]} of {found[0]}. Run: dvc repro -f {stage}@{plan.dataset}"
        )
    return table


def _with_frames(
    plan: Plan, pose2d: pa.Table, pose3d: pa.Table, readers: ThreadPoolExecutor
) -> dict[str, Any]:
    """Join the two pose tables of one tracklet with its encoded frames, as columns by name.

    A frame that was spoilt since its joints were found has the status of what is stored: nothing.
    """
    status = pose2d["status"].to_numpy()
    status = np.where(status == Status.OK, pose3d["status"].to_numpy(), status)
    jpegs: list[bytes | None] = [None] * len(pose2d)
    if plan.embed_frames:
        is_bad = np.isin(status, _FRAMELESS)
        names = pose2d["path"].to_pylist()
        files = [
            None if bad else paths.below(plan.root, name)
            for name, bad in zip(names, is_bad, strict=True)
        ]
        jpegs = list(readers.map(_read_frame, files))
        spoilt = [i for i, jpeg in enumerate(jpegs) if jpeg is None and not is_bad[i]]
        if spoilt:
            status[spoilt] = Status.UNREADABLE
            console.warn(
                f"{len(spoilt)} frames were spoilt after their joints were found, as "
                f"{plan.root / names[spoilt[0]]}: they count as unreadable"
            )
    columns = {name: pose2d[name] for name in pose2d.column_names}
    columns |= {name: pose3d[name] for name in ("xyz", "interpolated")}
    return columns | {"jpeg": pa.array(jpegs, pa.binary()), "status": pa.array(status, pa.int8())}


def _read_frame(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        data = paths.read_bytes(file)
        return data if images.is_readable(data) else None
    except FileNotFoundError:
        raise PipelineError(
            f"{file} was there when joints were extracted and is gone. "
            "Put it back or set REID_DATA_ROOT"
        ) from None
    except OSError:
        return None


def _described(plan: Plan, split: str) -> pa.Schema:
    """Return the schema of a split's shards with all that made them written into it."""
    models = {}
    for name in ("pose2d", "pose3d"):
        file = next(plan.poses[name].glob(f"{split}-*.parquet"))
        found = schema.metadata(tables.read_schema(file, f"Run: dvc repro {name}@{plan.dataset}"))
        models |= {f"{name}.{key}": value for key, value in found.items()}
    cameras = {name: camid for camid, name in plan.cameras.items()}
    told = {"cameras": json.dumps(cameras)} if cameras else {}
    return schema.with_metadata(
        SHARD,
        dataset=plan.dataset,
        split=split,
        layout2d=COCO17.name,
        layout3d=H36M17.name,
        embed_frames=plan.embed_frames,
        params=plan.knobs,
        pyarrow=version("pyarrow"),
        numpy=version("numpy"),
        **told,
        **models,
    )
