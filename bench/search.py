"""Compare a search in a gallery file with pandas and a full sort, at ten thousand tracklets.

Run it:   python -m bench.search
"""

import tempfile
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import typer

from bench.measure import Json, clustered_features, compare_seconds, finish
from evaluate.ranked import Album
from evaluate.search.gallery import Entry, Gallery
from pipeline.cli import run

GALLERY, CHANNELS, PERSONS, TOP = 10_000, 1280, 636, 10
PICTURES = 50


def write_gallery(file: Path, size: int, channels: int) -> np.ndarray:
    """Write a gallery with a picture per tracklet, and return the feature of a query."""
    features, pid, camid = clustered_features(size + 1, channels, PERSONS)
    rng = np.random.default_rng(0)
    # Smooth noise, so that a picture takes as many bytes as a photo of its size.
    small = rng.integers(0, 256, (PICTURES, 32, 16, 3), np.uint8)
    large = [cv2.resize(one, (128, 256), interpolation=cv2.INTER_CUBIC) for one in small]
    jpegs = [cv2.imencode(".jpg", one)[1].tobytes() for one in large]
    table = pa.table(
        {
            "tracklet": [f"tracklet {i}" for i in range(size)],
            "pid": pa.array(pid[:size], pa.int32()),
            "camid": pa.array(camid[:size], pa.int16()),
            "split": ["gallery"] * size,
            "feature": pa.FixedSizeListArray.from_arrays(features[:size].ravel(), channels),
            "jpeg": pa.array([jpegs[i % PICTURES] for i in range(size)], pa.binary()),
        }
    )
    Gallery(table, "model", Album(None)).write(file)
    return features[size]


def search(file: Path, feature: np.ndarray) -> list[str]:
    """Do as evaluate.search does between loading the model and drawing the picture."""
    known = Gallery.read(file, "model", Album(None))
    nearest = known.nearest(Entry("query", feature=feature), TOP)
    return [known.entry(row).name for row, _ in nearest]


def sort_all(file: Path, feature: np.ndarray) -> list[str]:
    """Read the table with pandas, and sort the distances of all tracklets."""
    table = pd.read_parquet(file)
    features = np.stack(table["feature"].to_list())
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    order = np.argsort(1 - features @ feature, kind="stable")[:TOP]
    names = table["tracklet"].iloc[order].tolist()
    for jpeg in table["jpeg"].iloc[order]:
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return names


def main(
    size: Annotated[int, typer.Option(min=TOP, help="Tracklets in the gallery.")] = GALLERY,
    channels: Annotated[int, typer.Option(min=1, help="Numbers of a feature.")] = CHANNELS,
    json_file: Json = None,
) -> None:
    """Compare a search in a gallery file with pandas and a full sort."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gallery.parquet"
        feature = write_gallery(file, size, channels)
        if search(file, feature) != sort_all(file, feature):
            raise AssertionError("the two searches found different tracklets")
        known = Gallery.read(file, "model", Album(None))
        query = Entry("query", feature=feature)
        loaded = pd.read_parquet(file, columns=["feature"])["feature"].to_list()

        def loop() -> None:
            """Compare tracklet after tracklet, as a first script does."""
            np.argsort([1 - feature @ one / np.linalg.norm(one) for one in loaded])[:TOP]

        cases = {
            "from the file": compare_seconds(
                lambda: search(file, feature), lambda: sort_all(file, feature), runs=5
            ),
            "in memory": compare_seconds(lambda: known.nearest(query, TOP), loop, runs=5),
        }
    finish(f"Searching {size} tracklets, {channels}-d", cases, json_file)


if __name__ == "__main__":
    run(main)
