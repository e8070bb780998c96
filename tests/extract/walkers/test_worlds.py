from functools import cache

import cv2
import numpy as np
import pytest

from extract.walkers.clip import film
from extract.walkers.frame import scene
from extract.walkers.mars_files import truth_table
from extract.walkers.person import Clothes
from extract.walkers.plan import tracklets
from extract.walkers.worlds import View
from pipeline.errors import PipelineError
from pipeline.params.config import load
from tests.conftest import ROOT

SMALL = ("walkers.identities_train=8", "walkers.identities_test=4", "walkers.frames=[5,8]")


def knobs(*overrides: str):
    return load((*SMALL, *overrides), path=ROOT / "params.yaml").walkers


def shot(tracklet, world):
    altitude_m = world.altitude_m if tracklet.is_aerial(world) else None
    where = scene(*tracklet.scene_key(world), altitude_m=altitude_m)
    numbers = np.asarray(tracklet.frame_numbers)
    clip = film(
        tracklet.person(world), where, numbers, tracklet.rng(0), False, tracklet.effects(world)
    )
    return clip, where.camera


@cache
def world(*overrides: str, clips: int = 24):
    """Return knobs, and plan, clip and camera of some tracklets."""
    chosen = knobs(*overrides)
    planned = [t for t in tracklets(chosen) if t.pid > 0][:clips]
    return chosen, [(t, *shot(t, chosen)) for t in planned]


def decode(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_a_world_leaves_the_cameras_it_does_not_change_as_they_are():
    _, plain = world(clips=6)
    _, infrared = world("walkers.spectrum=1", "walkers.aerial=1", "walkers.captions=true", clips=6)
    assert [t.name for t, *_ in plain] == [t.name for t, *_ in infrared]
    for (tracklet, one, _), (_, other, _) in zip(plain, infrared, strict=True):
        assert (one.jpegs == other.jpegs) == (tracklet.camid < 3)


def test_infrared_frames_have_no_colour_and_nothing_to_do_with_it():
    chosen, made = world("walkers.spectrum=2")
    by_day, by_night = [], []
    for tracklet, clip, camera in made:
        is_grey = all(np.ptp(decode(jpeg), axis=2).max() <= 2 for jpeg in clip.jpegs)
        assert is_grey == (tracklet.camid >= 2)
        assert tracklet.view(chosen, camera).spectrum == ("infrared" if is_grey else "visible")
    for outfit in range(200):
        tracklet = made[0][0].__class__(1, 3, 1, "test", np.array([1]), 0, 0, outfit, 0)
        by_day.append(tracklet.dressed(chosen).clothes.top.mean())
        by_night.append(tracklet.person(chosen).clothes.top.mean())
    assert abs(np.corrcoef(by_day, by_night)[0, 1]) < 0.2
    assert np.std(by_night) > 30


def test_the_same_clothes_look_alike_at_night_from_both_cameras():
    chosen, made = world("walkers.spectrum=2")
    tracklet = made[0][0]
    two = [
        tracklet.__class__(1, camid, 1, "test", np.array([1]), 0, 0, 5, 0).person(chosen)
        for camid in (2, 3)
    ]
    np.testing.assert_array_equal(two[0].clothes.top, two[1].clothes.top)


def test_from_the_air_crops_are_as_small_as_people_are():
    chosen, made = world("walkers.aerial=2")
    heights = []
    for tracklet, clip, camera in made:
        view = tracklet.view(chosen, camera)
        sizes = [decode(jpeg).shape[:2] for jpeg in clip.jpegs]
        if tracklet.camid < 2:
            assert view.platform == "ground"
            assert set(sizes) == {(256, 128)}
            continue
        assert view.platform == "aerial"
        assert 10 <= view.altitude_m <= 60
        assert 30 <= view.angle_deg <= 81
        assert view.altitude_m == pytest.approx(
            view.distance_m * np.sin(np.radians(view.angle_deg))
        )
        heights += [height for height, _ in sizes]
        inside = [(xy >= -1).all() & (xy <= [w, h]).all()
                  for xy, (h, w) in zip(clip.xy_px, sizes, strict=True)]  # fmt: skip
        assert np.mean(inside) > 0.5
    assert min(heights) < 30
    assert max(heights) > 60
    assert np.mean([12 <= height <= 110 for height in heights]) > 0.95


def test_a_camera_that_flies_does_so_at_several_altitudes():
    chosen = knobs("walkers.aerial=1")
    keys = {t.scene_key(chosen) for t in tracklets(chosen) if t.is_aerial(chosen)}
    assert len(keys) == 4


def test_silhouettes_hold_the_joints_that_are_seen_and_not_those_hidden():
    _, made = world("walkers.silhouettes=true", "walkers.bad_frames=0.4")
    seen, hidden = [], []
    for _, clip, _ in made:
        for png, xy, visibility in zip(clip.silhouettes, clip.xy_px, clip.visibility, strict=True):
            mask = decode(png)
            assert mask.shape == (256, 128)
            assert set(np.unique(mask)) <= {0, 255}
            x, y = np.clip(xy.round(), 0, [127, 255]).astype(int).T
            inside = mask[y, x] > 0
            seen += inside[visibility == 2].tolist()
            hidden += inside[
                (visibility == 0) & (xy >= 0).all(1) & (xy < [128, 256]).all(1)
            ].tolist()
    assert np.mean(seen) > 0.95
    assert np.mean(hidden) < 0.1


def test_as_many_frames_go_wrong_as_were_asked_for():
    _, made = world("walkers.bad_frames=0.4", "walkers.silhouettes=true")
    is_bad = np.concatenate([clip.is_bad for _, clip, _ in made])
    assert abs(is_bad.mean() - 0.4) < 0.1
    detail, covered = {True: [], False: []}, []
    for _, clip, _ in made:
        area = np.array([(decode(png) > 0).sum() for png in clip.silhouettes])
        for jpeg, bad in zip(clip.jpegs, clip.is_bad, strict=True):
            detail[bool(bad)].append(cv2.Laplacian(decode(jpeg), cv2.CV_32F).std())
        if clip.is_bad.any() and not clip.is_bad.all():
            covered += (area[clip.is_bad] < 0.6 * np.median(area[~clip.is_bad])).tolist()
    assert np.median(detail[True]) < np.median(detail[False])
    # About half of the faults are people who pass by.
    assert 0.3 < np.mean(covered) < 0.7


def test_a_team_shares_what_it_plays_in():
    chosen = knobs("walkers.kits=2")
    people = {t.outfit: t.dressed(chosen).clothes for t in tracklets(chosen) if t.pid > 0}
    tops = {tuple(clothes.top) for clothes in people.values()}
    shoes = {tuple(clothes.shoe) for clothes in people.values()}
    assert len(tops) == 2
    assert len(shoes) == len(people)


def test_a_kit_does_not_change_what_it_says_nothing_of():
    own, kit = (Clothes.sample(np.random.default_rng(seed)) for seed in (0, 1))
    worn = own.in_kit(kit)
    assert np.array_equal(worn.top, kit.top)
    assert np.array_equal(worn.shoe, own.shoe)
    assert (worn.bag, worn.hat, worn.loose) == (own.bag, own.hat, own.loose)


def test_the_truth_has_columns_of_a_world_only_where_it_is_one():
    chosen, made = world("walkers.silhouettes=true", "walkers.bad_frames=0.4", clips=2)
    tracklet, clip, camera = made[0]
    person = tracklet.person(chosen)
    table = truth_table(tracklet, person, clip, tracklet.view(chosen, camera))
    assert {"silhouette", *View._fields} <= set(table.column_names)
    _, plain = world(clips=2)
    table = truth_table(plain[0][0], person, plain[0][1])
    assert not {"silhouette", "is_bad", *View._fields} & set(table.column_names)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("walkers.spectrum=4", "leave at least one"),
        ("walkers.aerial=5", "leave at least one"),
        ("walkers.altitude_m=[60,10]", "lowest and the highest"),
    ],
)
def test_worlds_that_cannot_be_are_refused(override, said):
    with pytest.raises(PipelineError, match=said):
        knobs(override)
