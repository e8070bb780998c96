import re

import cv2
import numpy as np
import pandas as pd
from scipy.io import loadmat

from extract.walkers.clip import film
from extract.walkers.frame import scene
from extract.walkers.person import distractor
from extract.walkers.plan import queries, tracklets
from pipeline.params.config import load
from pipeline.skeleton import COCO17, H36M17
from tests.conftest import ROOT
from tests.extract.walkers.conftest import knobs

MARS_NAME = re.compile(r"^(\d{4}|00-1)C([1-6])T(\d{4})F(\d{3})\.jpg$")


def test_the_name_lists_hold_exactly_the_crops_on_disk(dataset):
    for split in ("train", "test"):
        text = (dataset / "info" / f"{split}_name.txt").read_bytes().decode()
        assert text.endswith("\r\n")
        names = text.split("\r\n")[:-1]
        assert all(MARS_NAME.match(name) for name in names)
        assert names == sorted(names)
        on_disk = {path.name: path for path in (dataset / f"bbox_{split}").rglob("*.jpg")}
        assert set(names) == set(on_disk)
        assert all(path.parent.name == name[:4] for name, path in on_disk.items())
        assert cv2.imread(str(on_disk[names[0]])).shape == (256, 128, 3)


def test_the_track_tables_are_one_based_and_inclusive(dataset):
    for split in ("train", "test"):
        names = (dataset / "info" / f"{split}_name.txt").read_text().split()
        table = loadmat(dataset / "info" / f"tracks_{split}_info.mat")[f"track_{split}_info"]
        assert table.dtype == np.int32
        assert table[0, 0] == 1
        assert table[-1, 1] == len(names)
        assert (table[1:, 0] == table[:-1, 1] + 1).all()
        for start, end, pid, camera in table:
            parts = {MARS_NAME.match(name).group(1, 2, 3) for name in names[start - 1 : end]}
            ((folder, camid, _),) = parts
            assert (int(folder.replace("00-1", "-1")), int(camid)) == (pid, camera)


def test_queries_are_one_tracklet_per_person_and_camera(dataset):
    rows = loadmat(dataset / "info" / "query_IDX.mat")["query_IDX"]
    table = loadmat(dataset / "info" / "tracks_test_info.mat")["track_test_info"]
    assert rows.dtype == np.uint16
    assert rows.shape[0] == 1
    chosen = [tuple(table[row - 1, 2:]) for row in rows[0]]
    people = {(pid, camera) for _, _, pid, camera in table if pid > 0}
    assert sorted(chosen) == sorted(people)


def test_the_parser_of_mars_reads_it(dataset, index):
    indexed = index(dataset, "mars")
    planned = tracklets(knobs())
    # Junk is no gallery.
    assert set(indexed["rows"]) == {t.name for t in planned if t.pid >= 0}
    for tracklet in planned:
        if tracklet.pid >= 0:
            row = indexed["rows"][tracklet.name]
            assert (row["pid"], row["camid"]) == (tracklet.pid, tracklet.camid)
            assert row["frame_numbers"] == tracklet.frame_numbers.tolist()
    assert not indexed["missing"]


def test_real_faults_are_in_the_plan():
    planned = tracklets(load((), path=ROOT / "params.yaml").walkers)
    starts = [t.frame_numbers[0] for t in planned]
    steps = np.concatenate([np.diff(t.frame_numbers) for t in planned])
    assert any(start > 1 for start in starts)
    assert steps.min() == 1
    assert steps.max() > 1
    numbers = {}
    for t in planned:
        numbers.setdefault(t.pid, []).append(t.number)
    assert any(max(n) > len(n) for pid, n in numbers.items() if pid > 0)
    assert {-1, 0} <= set(numbers)


def test_every_person_is_seen_by_two_cameras_and_no_person_by_both_splits():
    default = load((), path=ROOT / "params.yaml").walkers
    planned = tracklets(default)
    cameras, splits = {}, {}
    for t in planned:
        if t.pid > 0:
            cameras.setdefault(t.pid, set()).add(t.camid)
            splits.setdefault(t.pid, set()).add(t.split)
    assert len(cameras) == default.identities_train + default.identities_test
    assert min(map(len, cameras.values())) >= 2
    assert all(len(of) == 1 for of in splits.values())
    assert {len(of) for of in cameras.values()} != {4}


def test_shared_outfits_and_bodies_are_shared_and_the_gait_is_not():
    own = [t for t in tracklets(knobs()) if t.pid > 0]
    assert len({t.outfit for t in own}) == len({t.body for t in own}) == 7
    team = [t for t in tracklets(knobs("walkers.wardrobe=2", "walkers.bodies=3")) if t.pid > 0]
    assert len({t.outfit for t in team}) == len({t.face for t in team}) == 2
    assert len({t.body for t in team}) == 3
    twins = [t for t in team if t.body == team[0].body and t.pid != team[0].pid]
    one, other = team[0].person(knobs()), twins[0].person(knobs())
    assert one.body == other.body
    assert one.gait != other.gait


def test_changed_clothes_leave_the_face():
    changed = tracklets(knobs("walkers.change_clothes=true", "walkers.identities_test=20"))
    outfits, faces = {}, {}
    for t in changed:
        if t.pid > 0:
            outfits.setdefault(t.pid, set()).add(t.outfit)
            faces.setdefault(t.pid, set()).add(t.face)
    assert any(len(of) == 2 for of in outfits.values())
    assert all(len(of) == 1 for of in faces.values())


def test_bones_in_space_have_the_length_that_the_truth_states(truth):
    xyz = np.stack(truth.xyz).reshape(-1, 17, 3)
    bones = pd.DataFrame(list(truth.bones_m))
    pairs = {
        "thigh": ("left_hip", "left_knee"),
        "shank": ("right_knee", "right_ankle"),
        "upper_arm": ("left_shoulder", "left_elbow"),
        "forearm": ("right_elbow", "right_wrist"),
    }
    for bone, joints in pairs.items():
        a, b = (xyz[:, H36M17.joints.index(joint)] for joint in joints)
        np.testing.assert_allclose(np.linalg.norm(a - b, axis=1), bones[bone], rtol=1e-3)
    assert np.abs(xyz[:, H36M17.root]).max() == 0


def test_joints_in_space_project_onto_joints_in_the_crop(truth):
    by_name = {t.name: t for t in tracklets(knobs())}
    shared = [name for name in COCO17.joints if name in H36M17.joints]
    coco = [COCO17.joints.index(name) for name in shared]
    h36m = [H36M17.joints.index(name) for name in shared]
    for row in truth.iloc[::7].itertuples():
        camera = scene(*by_name[row.tracklet].scene_key(knobs())).camera
        at = (row.xyz.reshape(17, 3) + row.root)[h36m].astype(float)
        image = camera.to_pixels(at)
        crop = row.xy_px.reshape(17, 2)[coco]
        # A crop is cut out and scaled, never turned.
        for axis in (0, 1):
            design = np.c_[image[:, axis], np.ones(len(coco))]
            fit, *_ = np.linalg.lstsq(design, crop[:, axis], rcond=None)
            np.testing.assert_allclose(design @ fit, crop[:, axis], atol=0.02)
            assert fit[0] > 0


def test_a_face_is_seen_from_the_front_and_not_from_behind():
    where = scene(3, 5, 0)
    nose = COCO17.joints.index("nose")
    shoulders = [COCO17.joints.index(f"{side}_shoulder") for side in ("left", "right")]
    seen = {True: [], False: []}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        clip = film(distractor(rng), where, np.arange(1, 3), rng)
        # Towards the camera the left shoulder is on the right of the picture.
        apart = clip.xy_px[0, shoulders[0], 0] - clip.xy_px[0, shoulders[1], 0]
        if abs(apart) > 25 and clip.visibility[0, nose] > 0:
            seen[bool(apart > 0)].append(clip.visibility[0, nose] == 2)
    assert len(seen[True]) > 2
    assert len(seen[False]) > 2
    assert np.mean(seen[True]) > 0.8
    assert np.mean(seen[False]) == 0


def test_what_lies_outside_the_crop_is_not_visible(truth):
    xy = np.stack(truth.xy_px).reshape(-1, 17, 2)
    outside = ((xy < -1) | (xy > [128, 256])).any(-1)
    assert outside.any()
    assert (np.stack(truth.visibility)[outside] == 0).all()


def test_queries_leave_out_whoever_one_camera_saw_alone():
    planned = [t for t in tracklets(knobs()) if t.split == "test" and t.pid > 0]
    lone = planned[0].pid
    kept = [t for t in planned if t.pid != lone or t.camid == planned[0].camid]
    chosen = {kept[row].pid for row in queries(kept, 0)}
    assert lone not in chosen
    assert chosen == {t.pid for t in planned} - {lone}
