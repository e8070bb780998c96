"""Quality measures have the values that their definitions give."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.schema import Status
from shards import quality
from shards.read import Shards
from tests.fake_extraction import Extracted, write_shards_of

PEOPLE = [
    ("0001C1T0001", 1, 0, "train", 40),
    ("0002C1T0001", 2, 0, "train", 20),
    ("0003C2T0001", 3, 1, "query", 10),
    ("0000C2T0002", 0, 1, "gallery", 10),
]


def shards_of(extracted: Callable[..., Extracted], change: Callable[[Extracted], None]) -> Shards:
    made = extracted(PEOPLE)
    change(made)
    made.write_pose()
    write_shards_of()
    return Shards(Path("data/shards/fake"))


def test_rigid_persons_have_stable_bones_whatever_their_size(extracted):
    def same_bones(made: Extracted) -> None:
        body = np.random.default_rng(0).normal(size=(17, 3))
        for frame in made.frames:
            angle = frame["frame"] / 5
            turn = np.array(
                [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
            )
            frame["xyz"] = (body @ turn * (1 + frame["pid"])).ravel().tolist()

    stability = quality.bone_stability(shards_of(extracted, same_bones))
    np.testing.assert_allclose(list(stability.values()), 0, atol=1e-5)


def test_a_bone_of_two_lengths_varies_by_their_spread(extracted):
    def breathing(made: Extracted) -> None:
        for frame in made.frames:
            xyz = np.zeros((17, 3))
            xyz[7] = (0, 0.9 if frame["frame"] % 2 else 1.1, 0)
            frame["xyz"] = xyz.ravel().tolist()

    stability = quality.bone_stability(shards_of(extracted, breathing))
    assert stability["pelvis - spine"] == pytest.approx(0.1, abs=1e-6)


def test_bad_frames_are_counted_where_they_are(extracted):
    def spoiled(made: Extracted) -> None:
        for row in (0, 1, 12):
            made.frames[row] |= {"status": int(Status.LOW_SCORE), "xyz": None}

    shards = shards_of(extracted, spoiled)
    counts = quality.counts(shards)
    assert counts.loc["gallery", ["tracklets", "frames", "low_score"]].tolist() == [1, 10, 2]
    assert counts["ok"].sum() == 77
    assert quality.bad_by_camera(shards) == {0: 0.0, 1: pytest.approx(3 / 20)}
    worst = shards.tracklets["tracklet"].iloc[quality.worst(shards, 2)].tolist()
    assert worst == ["0000C2T0002", "0003C2T0001"]


def test_known_errors_are_measured_against_the_truth(extracted, project):
    def upright(made: Extracted) -> None:
        for frame in made.frames:
            frame["xy_px"] = [value for joint in range(17) for value in (10, 5 + 2.5 * joint)]

    shards = shards_of(extracted, upright)
    xy = np.array(shards.xy_px)
    # The true skeleton is 40 px high: 3 px off is within 0.1 of that and beyond 0.05.
    xy[:, :4, 0] += 3
    visibility = np.full((80, 17), 2)
    visibility[:, 4:8] = 1
    truth = {
        "path": shards.paths(),
        "xy_px": pa.FixedSizeListArray.from_arrays(xy.ravel(), 34),
        "visibility": pa.FixedSizeListArray.from_arrays(visibility.astype(np.int8).ravel(), 17),
        "xyz": pa.FixedSizeListArray.from_arrays((0.5 * np.array(shards.xyz)).ravel(), 51),
    }
    file = project / "raw/fake/truth.parquet"
    pq.write_table(pa.table(truth).take(list(range(79, 9, -1))), file)
    assert quality.truth_file(shards) == Path("raw/fake/truth.parquet")
    found = quality.against_truth(shards, quality.Truth(shards, Path("raw/fake/truth.parquet")))
    assert found["frames"] == 70
    assert found["pck@0.05"] == pytest.approx(9 / 13)
    assert found["pck@0.1"] == 1
    assert found["mpjpe_mm"] > 100
    assert found["scaled_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert found["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
