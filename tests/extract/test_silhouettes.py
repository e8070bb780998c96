import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from extract.silhouettes import body, height_px, overlap, png, silhouettes
from extract.walkers.clip import film
from extract.walkers.frame import scene
from extract.walkers.plan import tracklets
from pipeline import paths, schema
from pipeline.params.config import load
from pipeline.stage import Stage, carry_out
from tests.conftest import ROOT
from tests.fake_extraction import project as project  # not the one of this folder

ALL = np.ones(17, bool)


@pytest.fixture(scope="module")
def people():
    """Joints, visibility and silhouettes of rendered people that nothing was chosen on."""
    overrides = ("walkers.seed=2", "walkers.identities_train=6", "walkers.identities_test=2",
                 "walkers.silhouettes=true", "walkers.frames=[3,3]")  # fmt: skip
    knobs = load(overrides, path=ROOT / "params.yaml").walkers
    found = []
    for tracklet in tracklets(knobs)[:20]:
        clip = film(
            tracklet.person(knobs),
            scene(*tracklet.scene_key(knobs)),
            np.asarray(tracklet.frame_numbers),
            tracklet.rng(knobs.seed),
            False,
            tracklet.effects(knobs),
        )
        masks = [cv2.imdecode(np.frombuffer(one, np.uint8), 0) for one in clip.silhouettes]
        found += zip(clip.xy_px.astype(float), clip.visibility, masks, strict=True)
    return found


def test_bodies_drawn_from_joints_overlap_with_true_silhouettes(people):
    overlaps = [
        overlap(body(xy, ALL, (128, 256)), mask)
        for xy, visibility, mask in people
        if (visibility > 0).all()
    ]
    assert len(overlaps) > 20
    assert np.mean(overlaps) > 0.72


def test_the_height_is_that_of_a_standing_person(people):
    for xy, visibility, mask in people[:20]:
        if (visibility > 0).all() and np.flatnonzero(mask.any(1))[0] > 2:
            rows = np.flatnonzero(mask.any(1))
            assert height_px(xy, ALL) == pytest.approx(rows[-1] - rows[0], rel=0.25)


def test_a_body_grows_with_its_frame(people):
    xy = people[0][0]
    small = body(xy, ALL, (128, 256))
    large = body(2 * xy + 0.5, ALL, (256, 512))
    shrunk = cv2.resize(large, (128, 256), interpolation=cv2.INTER_AREA)
    assert overlap(small, np.where(shrunk > 127, 255, 0)) > 0.93


def test_without_a_trunk_nothing_is_drawn_and_a_missing_arm_is_left_out(people):
    xy = people[0][0]
    no_trunk, no_arm = ALL.copy(), ALL.copy()
    no_trunk[11] = False
    no_arm[[7, 9]] = False
    assert body(xy, no_trunk, (128, 256)) is None
    less, whole = body(xy, no_arm, (128, 256)), body(xy, ALL, (128, 256))
    assert (less > 0).sum() < (whole > 0).sum()
    assert not (less > whole).any()


def test_a_png_of_one_bit_holds_the_mask():
    mask = np.where(np.random.default_rng(0).random((37, 21)) > 0.5, 255, 0).astype(np.uint8)
    assert np.array_equal(cv2.imdecode(np.frombuffer(png(mask), np.uint8), 0), mask)


def run(*overrides: str) -> None:
    stage = Stage("silhouettes", "fake", "fake", load(overrides))
    carry_out(stage, silhouettes(stage))


def test_the_stage_draws_each_good_frame_and_nothing_unless_asked(extracted):
    made = extracted([("0001C1T0001", 1, 0, "train", 5)], bad={2: schema.Status.MISSING})
    run("silhouettes.draw=false")
    assert pq.read_metadata(paths.silhouettes_file("fake")).num_rows == 0
    run("silhouettes.draw=true", "silhouettes.min_score=0.0")
    table = pq.read_table(paths.silhouettes_file("fake"))
    drawn = dict(zip(table["path"].to_pylist(), table["silhouette"].to_pylist(), strict=True))
    assert set(drawn) == {frame["path"] for frame in made.frames}
    for frame in made.frames:
        picture = drawn[frame["path"]]
        assert (picture is not None) == (frame["status"] == schema.Status.OK)
        if picture:
            size = cv2.imdecode(np.frombuffer(picture, np.uint8), 0).shape
            assert size == (frame["height"], frame["width"])
