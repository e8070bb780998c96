"""Pictures of spaces show what is in them: test persons' means, training persons' prototypes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluate.report import space
from pipeline.stage import Stage, start
from tests.fake_extraction import Extracted, write_shards_of
from tests.models import publish
from tests.train.tiny import rows, write_shards

TRAINED = [
    (f"{pid:04}C{camera + 1}T0001", pid, camera, "train", 6)
    for pid in (3, 5, 8, 9)
    for camera in range(3)
]


@pytest.fixture
def trained(extracted: Callable[..., Extracted]) -> Callable[..., Stage]:
    """Publish a model of stage 2 whose prototypes are those that training would make."""

    def call(*overrides: str) -> Stage:
        extracted(TRAINED)
        write_shards_of()
        publish("fake", *overrides, with_prototypes=True)
        return start("report", "fake", list(overrides))

    return call


def test_a_prototype_is_the_direction_of_its_persons_features(trained):
    found = space.training_points(trained("stage2.settings.without=[skeleton]"))
    persons, vectors = np.array(found.persons), found.vectors
    assert persons.tolist() == [3] * 3 + [5] * 3 + [8] * 3 + [9] * 3 + [3, 5, 8, 9]
    assert found.names[0] == "0003C1T0001, camera 0"
    assert found.names[-1] == "* prototype of person 9"
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for row, person in zip(range(12, 16), (3, 5, 8, 9), strict=True):
        mean = vectors[:12][persons[:12] == person].mean(0)
        np.testing.assert_allclose(vectors[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_the_page_shows_training_tracklets_with_prototypes(trained):
    shown = space.features(trained())
    assert shown.count('class="dot"') == 12
    assert shown.count('class="mean"') == 4
    assert "* prototype of person 5" in shown


@pytest.mark.parametrize(
    "override", ["stage2.settings.without=[prototypes]", "embed.descriptor=skeleton", "nothing"]
)
def test_without_prototypes_there_is_nothing_to_show(trained, override):
    stage = trained(*[override] * (override != "nothing"))
    if override == "nothing":
        Path("models/fake/stage2.safetensors").unlink()
    assert space.training_points(stage) is None


def test_the_diamond_of_a_test_person_is_its_mean(project):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 8)).astype(np.float32)
    pid = [0, *[7] * 5, *[9] * 6]
    columns = {
        "tracklet": [f"t{i}" for i in range(12)],
        "pid": pa.array(pid, pa.int32()),
        "camid": pa.array([0] * 12, pa.int16()),
        "feature": pa.FixedSizeListArray.from_arrays(features.ravel(), 8),
    }
    Path("data/features").mkdir(parents=True)
    pq.write_table(pa.table(columns), "data/features/fake.parquet")
    write_shards(Path("data/shards/fake"), rows({"train": [3]}))
    found = space.test_points(start("report", "fake"))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    # Distractors are many persons under one number.
    assert found.persons == [*[7] * 5, *[9] * 6, 7, 9]
    np.testing.assert_allclose(found.vectors[:11], unit[1:], atol=1e-6)
    np.testing.assert_allclose(found.vectors[11:], [unit[1:6].mean(0), unit[6:].mean(0)], atol=1e-6)
