"""A small dataset in the state that extraction leaves it in: frames, index, 2D and 3D joints."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import console, schema
from pipeline.schema import Status

ROOT = Path(__file__).parents[1]


# How MARS is scored.
RULES = '{"gallery_includes_queries": true, "same_camera_counts": false, "both_ways": false}'


@dataclass
class Extracted:
    """What the fake extraction knows about every frame, to compare shards with."""

    folder: Path
    index: list[dict] = field(default_factory=list)
    frames: list[dict] = field(default_factory=list)

    def write_pose(self, split_at: int = 10_000) -> None:
        """Write both pose tables anew; `split_at` frames go to a file of the 2D table."""
        for name, table, metadata in (
            (
                "pose2d",
                schema.POSE2D,
                {"model": "tiny", "weights_sha256": "abc", "joints": "coco17"},
            ),
            (
                "pose3d",
                schema.POSE3D,
                {"model": "lift", "weights_sha256": "def", "joints": "h36m17"},
            ),
        ):
            for split in {frame["split"] for frame in self.frames}:
                rows = [frame for frame in self.frames if frame["split"] == split]
                cuts = [0]
                for at, row in enumerate(rows):
                    if name == "pose2d" and row["frame"] == 0 and at - cuts[-1] >= split_at:
                        cuts.append(at)
                for number, (a, b) in enumerate(zip(cuts, [*cuts[1:], len(rows)], strict=True)):
                    columns = [{key: row[key] for key in table.names} for row in rows[a:b]]
                    full = schema.with_metadata(table, dataset="fake", split=split, **metadata)
                    file = self.folder / f"data/{name}/fake/{split}-{number:05}.parquet"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    pq.write_table(pa.Table.from_pylist(columns, full), file, row_group_size=256)


def photograph(rng: np.random.Generator, width: int = 32, height: int = 64) -> bytes:
    """Return a JPEG of coloured noise."""
    small = rng.integers(0, 255, (8, 4, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(small, (width, height)))[1].tobytes()


def make(folder: Path, tracklets: list[tuple[str, int, int, str, int]], seed: int = 0) -> Extracted:
    """Make frames, index and poses of `(tracklet, pid, camid, split, frames)`."""
    rng = np.random.default_rng(seed)
    made = Extracted(folder)
    for tracklet, pid, camid, split, length in sorted(tracklets, key=lambda t: (t[3], t[1], t[0])):
        names = [f"{split}/{tracklet}F{i:03}.jpg" for i in range(length)]
        made.index.append(
            {"tracklet": tracklet, "pid": pid, "camid": camid, "split": split, "frames": names,
             "frame_numbers": [i + 1 for i in range(length)]}
        )  # fmt: skip
        for i, name in enumerate(names):
            file = folder / "raw/fake" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(photograph(rng))
            made.frames.append(
                {"tracklet": tracklet, "pid": pid, "camid": camid, "split": split, "frame": i,
                 "frame_number": i + 1, "path": name, "width": 32, "height": 64,
                 "xy_px": rng.uniform(0, 32, 34).astype(np.float32).tolist(),
                 "score": rng.uniform(0, 1, 17).astype(np.float32).tolist(),
                 "xyz": rng.normal(size=51).astype(np.float32).tolist(),
                 "interpolated": False, "status": int(Status.OK)}
            )  # fmt: skip
    return made


def spoil(made: Extracted, row: int, status: Status) -> None:
    """Turn one frame bad, the way extraction reports it."""
    frame = made.frames[row]
    file = made.folder / "raw/fake" / frame["path"]
    frame |= {"status": int(status), "xyz": None}
    if status != Status.LOW_SCORE:
        frame |= {"xy_px": None, "score": None, "width": None, "height": None}
    if status == Status.MISSING:
        file.unlink()
    if status == Status.UNREADABLE:
        file.write_bytes(b"")


def write_shards_of(dataset: str = "fake", **knobs: object) -> None:
    """Run the stage that writes shards, inside this process."""
    from pipeline.stage import start
    from shards.write.join import write_shards
    from shards.write.plan import plan_shards

    overrides = [f"shards.{name}={value}".lower() for name, value in knobs.items()]
    plan = plan_shards(start("shards", dataset, overrides))
    write_shards(replace(plan, output=Path("data/shards") / dataset))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty project whose params.yaml enables the dataset `fake`."""
    text = (ROOT / "params.yaml").read_text()
    for line in [line for line in text.splitlines() if line.startswith("  walkers: {")]:
        # The dataset, its first stage and its run.
        fake = re.sub(r"(train: |test: |models/|^  )walkers", r"\g<1>fake", line)
        text = text.replace(line, f"{line}\n{fake}", 1)
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REID_DATA_ROOT", "raw")
    yield tmp_path
    # Stages run quietly inside this process; other tests listen.
    console.set_quiet(False)


@pytest.fixture
def extracted(project: Path) -> Callable[..., Extracted]:
    """Return a function that leaves an extracted dataset in the project."""

    def leave(
        tracklets: list[tuple[str, int, int, str, int]],
        bad: dict[int, Status] | None = None,
        split_at: int = 10_000,
    ) -> Extracted:
        made = make(project, tracklets)
        for row, status in (bad or {}).items():
            spoil(made, row, status)
        file = project / "data/index/fake.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        metadata = schema.with_metadata(schema.INDEX, dataset="fake", rules=RULES)
        pq.write_table(pa.Table.from_pylist(made.index, metadata), file)
        made.write_pose(split_at)
        return made

    return leave
