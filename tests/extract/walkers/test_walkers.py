import contextlib
import hashlib
import itertools
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from extract.walkers.clip import film
from extract.walkers.frame import scene
from extract.walkers.person import distractor
from extract.walkers.plan import queries, tracklets
from pipeline.lock import locked
from pipeline.params.config import load
from pipeline.skeleton import COCO17, H36M17
from tests.conftest import ROOT
from tests.kills import kill_at

SMALL = (
    "walkers.identities_train=3",
    "walkers.identities_test=4",
    "walkers.cameras=3",
    "walkers.frames=[3,5]",
    "walkers.distractors=3",
    "walkers.junk=2",
)
MARS_NAME = re.compile(r"^(\d{4}|00-1)C([1-6])T(\d{4})F(\d{3})\.jpg$")


def knobs(*overrides: str):
    return load((*SMALL, *overrides), path=ROOT / "params.yaml").walkers


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with params.yaml in which the small dataset is rendered."""
    folder = tmp_path_factory.mktemp("walkers")
    text = (ROOT / "params.yaml").read_text()
    for override in SMALL:
        key, value = override.removeprefix("walkers.").split("=")
        text, changed = re.subn(rf"^(  {key}:) [^#\n]*", rf"\1 {value} ", text, count=1, flags=re.M)
        assert changed
    (folder / "params.yaml").write_text(text.replace("workers: 2", "workers: 1"))
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "extract.walkers", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dataset(place) -> Path:
    return place / "data" / "raw" / "walkers"


@pytest.fixture(scope="module")
def truth(dataset) -> pd.DataFrame:
    return pd.read_parquet(dataset / "truth.parquet")


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


def test_two_processes_render_the_same_bytes_as_one(place, dataset, tmp_path):
    text = (place / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("workers: 1", "workers: 2"))
    assert run(tmp_path).returncode == 0
    assert digest(tmp_path / "data" / "raw" / "walkers") == digest(dataset)


def test_another_seed_renders_other_people(place, dataset):
    done = run(place, "--limit", "2", "walkers.seed=1")
    assert done.returncode == 0, done.stderr
    tried = place / "work" / "try" / "trial" / "data" / "raw" / "walkers"
    assert len(list(tried.rglob("*.jpg"))) > 0
    assert not set(digest(tried / "bbox_train").values()) & set(
        digest(dataset / "bbox_train").values()
    )


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(place, dataset, tmp_path):
    shutil.copy(place / "params.yaml", tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "extract.walkers", "-q"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("work/walkers/walkers/*/truth/*.parquet")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data" / "raw" / "walkers").exists()
    assert run(tmp_path).returncode == 0
    assert digest(tmp_path / "data" / "raw" / "walkers") == digest(dataset)


def test_a_run_killed_at_any_step_of_publishing_and_cleaning_up_loses_no_frame(place, tmp_path):
    tiny = (place / "params.yaml").read_text()
    for key, value in {"identities_train": 2, "identities_test": 2, "frames": "[2, 2]"}.items():
        tiny = re.sub(rf"^(  {key}:) [^#\n]*", rf"\1 {value} ", tiny, count=1, flags=re.M)
    rendered, made = tmp_path / "rendered", Path("data/raw/walkers")
    rendered.mkdir()
    (rendered / "params.yaml").write_text(tiny)
    # Workers render; the first step of the command itself is the first of publishing.
    assert kill_at(1, rendered, "walkers", "walkers")
    undisturbed = shutil.copytree(rendered, tmp_path / "undisturbed")
    assert not kill_at(0, undisturbed, "walkers", "walkers")
    expected, was_published, left = digest(undisturbed / made), set(), []
    assert any(name.endswith(".jpg") for name in expected)
    for step in itertools.count(1):
        folder = shutil.copytree(rendered, tmp_path / f"step{step}")
        if not kill_at(step, folder, "walkers", "walkers"):
            break
        was_published.add((folder / made).exists())
        # Before DVC runs a command again it removes what that has made.
        shutil.rmtree(folder / made, ignore_errors=True)
        kept = {name for name in digest(folder) if not re.search(r"\.discarded|\.tmp$", name)}
        if kept in left:
            continue
        left.append(kept)
        assert not kill_at(0, folder, "walkers", "walkers")
        assert digest(folder / made) == expected
    assert len(left) > 2
    assert was_published == {True, False}


def test_two_runs_at_once_refuse_each_other(place, tmp_path):
    shutil.copy(place / "params.yaml", tmp_path)
    with contextlib.chdir(tmp_path), locked(Path("data/raw/walkers")):
        done = run(tmp_path)
    assert done.returncode == 1
    assert "data/raw/walkers is being made by another run" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_second_run_renders_nothing(place, dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    done = run(place)
    assert done.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before
    assert "0 of" in run(place, "--dry-run").stdout


def test_impossible_lengths_are_refused_in_one_line(place):
    done = run(place, "walkers.frames=[9,3]")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "walkers.frames" in done.stderr


def test_help_is_quick_because_it_imports_nothing_heavy():
    code = (
        "import sys, extract.walkers, extract.fit;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'pyarrow', 'mmpose')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_queries_leave_out_whoever_one_camera_saw_alone():
    planned = [t for t in tracklets(knobs()) if t.split == "test" and t.pid > 0]
    lone = planned[0].pid
    kept = [t for t in planned if t.pid != lone or t.camid == planned[0].camid]
    chosen = {kept[row].pid for row in queries(kept, 0)}
    assert lone not in chosen
    assert chosen == {t.pid for t in planned} - {lone}
