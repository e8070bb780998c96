"""Small trees in the layouts of public datasets, and the run that indexes them."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from extract.index import build_index
from pipeline.params.config import load
from pipeline.schema import INDEX, check, with_metadata
from pipeline.stage import Stage
from tests.conftest import ROOT


@pytest.fixture
def put() -> Callable[[Path, Iterable[str]], None]:
    """Make empty files, with the folders above them."""

    def call(root: Path, names: Iterable[str]) -> None:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return call


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., dict]:
    """Index a tree in a format; returns the rows by tracklet name, and the metadata."""

    def call(root: Path, format_: str, counts: str = "none", split_id: int = 0, **options) -> dict:
        case = options.pop("case", None)
        params = load(path=ROOT / "params.yaml")
        dataset = params.datasets["walkers"].model_copy(
            update={"format": format_, "counts": counts, "case": case}
        )
        params = params.model_copy(
            update={
                "datasets": {"toy": dataset},
                "index": params.index.model_copy(update={"split_id": split_id}),
            }
        )
        stage = Stage("index", "toy", "toy", params, options.pop("limit", 0))
        out = tmp_path / "toy.parquet"
        out.unlink(missing_ok=True)
        counted, missing = build_index(stage, root, out, **options)
        schema = check(out, INDEX, "")
        rows = pq.read_table(out).to_pylist()
        metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
        metadata |= {
            key.decode(): value.decode()
            for key, value in pq.read_metadata(out).metadata.items()
            if key != b"ARROW:schema"
        }
        return {
            "rows": {row["tracklet"]: row for row in rows},
            "counts": counted,
            "missing": missing,
            "metadata": metadata,
            "order": [(row["split"], row["pid"], row["tracklet"]) for row in rows],
        }

    return call


TINY_ESTIMATOR = {
    "model": {
        "type": "TopdownPoseEstimator",
        "data_preprocessor": {
            "type": "PoseDataPreprocessor",
            "mean": [120.0, 115.0, 100.0],
            "std": [58.0, 57.0, 57.0],
            "bgr_to_rgb": True,
        },
        "backbone": {
            "type": "ResNet",
            "depth": 18,
            "stem_channels": 8,
            "base_channels": 8,
            "num_stages": 1,
            "strides": [1],
            "dilations": [1],
            "out_indices": [0],
        },
        "head": {
            "type": "HeatmapHead",
            "in_channels": 8,
            "out_channels": 17,
            "deconv_out_channels": None,
            "loss": {"type": "KeypointMSELoss"},
            "decoder": {
                "type": "MSRAHeatmap",
                "input_size": [32, 64],
                "heatmap_size": [8, 16],
                "sigma": 1.5,
            },
        },
        "test_cfg": {"flip_test": False},
    },
    "val_pipeline": [
        {"type": "LoadImage"},
        {"type": "GetBBoxCenterScale", "padding": 1.0},
        {"type": "TopdownAffine", "input_size": [32, 64]},
        {"type": "PackPoseInputs"},
    ],
}

TINY_LIFTER = {
    "model": {
        "type": "PoseLifter",
        "backbone": {
            "type": "TCN",
            "in_channels": 34,
            "stem_channels": 16,
            "num_blocks": 1,
            "kernel_sizes": [3, 3],
            "use_stride_conv": True,
        },
        "head": {
            "type": "TemporalRegressionHead",
            "in_channels": 16,
            "num_joints": 17,
            "loss": {"type": "MPJPELoss"},
            "decoder": {"type": "VideoPoseLifting", "num_keypoints": 17},
        },
    }
}


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights: an estimator and a lifter so small that frames cost nothing."""
    import torch
    from safetensors.torch import save_file

    from extract.engine import models

    folder = tmp_path_factory.mktemp("tiny")
    for name, config in {"pose2d": TINY_ESTIMATOR, "pose3d": TINY_LIFTER}.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config))
        torch.manual_seed(0)
        model = models.build(models.read_config(path), None, "cpu")
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    return folder


TINY_SPEC = """
source: local
licence: none
estimator:
  config: conf/weights/tiny/pose2d.json
  checkpoint: pose2d.safetensors
  min_score: 0.0
lifter:
  config: conf/weights/tiny/pose3d.json
  checkpoint: pose3d.safetensors
  input: {root_px: [500, 500], height_px: 300, image_size: [1000, 1000]}
"""


class Project:
    """A project folder with a dataset of random frames and tiny weights."""

    def __init__(self, folder: Path, weights: Path, scheduler: str | None) -> None:
        self.folder = folder
        self.root = folder / "data/raw/fake"
        self._rows: list[dict] = []
        (folder / "conf/weights").mkdir(parents=True)
        (folder / "conf/weights/tiny.yaml").write_text(TINY_SPEC)
        for kind, place in (("safetensors", "data/weights"), ("json", "conf/weights")):
            (folder / place / "tiny").mkdir(parents=True)
            for file in weights.glob(f"*.{kind}"):
                shutil.copy(file, folder / place / "tiny")
        knobs = yaml.safe_load((ROOT / "params.yaml").read_text())
        knobs["datasets"]["fake"] = {
            **knobs["datasets"]["walkers"],
            "pose2d": "tiny",
            "pose3d": "tiny",
        }
        knobs["runtime"]["scheduler"] = scheduler
        self.set(knobs)

    def set(self, knobs: dict) -> None:
        """Write params.yaml."""
        self.knobs = knobs
        (self.folder / "params.yaml").write_text(yaml.safe_dump(knobs))

    def add(self, frames: int, split: str = "train", files: int | None = None) -> list[Path]:
        """Add a tracklet of random frames; with `files`, that many are shown over and over."""
        number = len(self._rows)
        rng = np.random.default_rng(number)
        names = [f"{split}/{number:04d}/{i:04d}.jpg" for i in range(files or frames)]
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            width = 20 + number % 5
            small = rng.integers(0, 255, (6, 3, 3), np.uint8)
            cv2.imwrite(str(path), cv2.resize(small, (width, 48)))
        row = {
            "tracklet": f"t{number:04d}",
            "pid": number // 2,
            "camid": number % 2,
            "split": split,
            "frames": [names[i % len(names)] for i in range(frames)],
            "frame_numbers": list(range(1, frames + 1)),
            "clothes": None,
        }
        self._rows.append(row)
        table = pa.Table.from_pylist(self._rows, schema=with_metadata(INDEX))
        path = self.folder / "data/index/fake.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return [self.root / name for name in names]

    def table(self, stage: str, split: str = "train") -> list[dict]:
        """Return the rows that a stage wrote for a split."""
        return pq.read_table(self.folder / f"data/{stage}/fake/{split}-00000.parquet").to_pylist()

    def hashes(self, stage: str) -> dict[str, str]:
        """Return the hash of each file that a stage wrote."""
        files = sorted((self.folder / f"data/{stage}/fake").iterdir())
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of a Dask scheduler with one worker, both inside this process."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path, scheduler: str
) -> Project:
    """A project folder that is the current one, and extracts on the in-process scheduler."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path, tiny_weights, scheduler)


@pytest.fixture(scope="session")
def make_project(
    tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path
) -> Callable[[], Project]:
    """Makes project folders whose stages start worker processes of their own."""
    return lambda: Project(tmp_path_factory.mktemp("project"), tiny_weights, None)


@pytest.fixture
def own_workers(make_project: Callable[[], Project]) -> Project:
    """One of them."""
    return make_project()
