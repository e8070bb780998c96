import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from extract.engine import models
from extract.engine.spec import load as load_spec
from extract.fit import fit
from extract.fit.people import Clips, Sampling, input_map, render, shuffled
from extract.fit.pose2d import CropBatches, fit_estimator, gaussians
from extract.fit.pose3d import Lifts, WindowBatches, fit_lifter
from extract.pose3d.lifter import Lifter
from extract.pose3d.normalise import normalise
from pipeline.params.config import load
from pipeline.skeleton import COCO17, H36M17, flip_xyz
from tests.conftest import ROOT

CONFIGS = ROOT / "conf" / "weights" / "walkers_pose"
WEIGHTS = ROOT / "data" / "weights" / "walkers_pose"
HALF = np.array([[0.5, 0, 0], [0, 0.5, 0]])


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Four rendered clips, two per camera."""
    sampling = Sampling("test", 99, cameras=2, clips=4, frames=(3, 6))
    return render(sampling, HALF, (64, 128), workers=1)


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_rendered_clips_follow_one_another(clips):
    assert clips.ends[-1] == len(clips.crops) == len(clips.xy_px) == len(clips.xyz)
    assert clips.crops.shape[1:] == (128, 64, 3)
    for clip in clips.clips():
        # Within a clip the pelvis moves by centimetres, not by metres.
        assert np.linalg.norm(np.diff(clips.root[clip], axis=0), axis=1).max() < 0.5


def test_the_input_map_is_that_of_the_config():
    matrix, size = input_map(CONFIGS / "pose2d.py")
    np.testing.assert_allclose(matrix, HALF, atol=1e-6)
    assert size == (64, 128)


def test_heatmaps_equal_those_of_the_codec():
    config = models.read_config(CONFIGS / "pose2d.py")
    from mmpose.registry import KEYPOINT_CODECS

    codec = KEYPOINT_CODECS.build(config.codec)
    xy = np.random.default_rng(0).uniform(0, [63, 127], (17, 2)).astype(np.float32)
    expected = codec.encode(xy[None])["heatmaps"]
    found = gaussians(torch.from_numpy(xy)[None], config.codec)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_augmented_crops_carry_their_joints_along():
    config = models.read_config(CONFIGS / "pose2d.py")
    rng = np.random.default_rng(0)
    xy = rng.uniform([14, 28], [49, 99], (64, 2))
    crops = np.zeros((64, 128, 64, 3), np.uint8)
    for crop, (x, y) in zip(crops, xy, strict=True):
        cv2.circle(crop, (round(x * 8), round(y * 8)), 24, (255,) * 3, -1, cv2.LINE_AA, 3)
    # Every joint lies on the spot, so that it stays there when left and right change places.
    joints = np.repeat(xy[:, None] * 2, 17, 1)
    clips = Clips(crops, joints, np.zeros((64, 17)), joints, joints, np.array([64]))
    for batch in CropBatches(clips, HALF, config.codec, batches=2, seed=1):
        for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            bright = np.argwhere(image.sum(0).numpy() > 300)
            heat = sample.gt_fields.heatmaps[0].numpy()
            peak = np.array(np.unravel_index(heat.argmax(), heat.shape)) * 4
            assert np.abs(bright.mean(0) - peak).max() < 4


def test_mirrored_crops_swap_left_and_right():
    config = models.read_config(CONFIGS / "pose2d.py")
    joints = np.zeros((32, 17, 2))
    left = COCO17.joints.index("left_wrist")
    joints[:] = [64, 128]
    joints[:, left] = [100, 128]
    crops = np.zeros((32, 128, 64, 3), np.uint8)
    clips = Clips(crops, joints, np.zeros((32, 17)), joints, joints, np.array([32]))
    (batch,) = CropBatches(clips, HALF, config.codec, batches=1, seed=0)
    sides = set()
    for sample in batch["data_samples"]:
        heat = sample.gt_fields.heatmaps
        x = {name: int(heat[COCO17.joints.index(name)].sum(0).argmax()) for name in COCO17.joints}
        outer = "left_wrist" if x["left_wrist"] > x["nose"] + 2 else "right_wrist"
        sides.add(outer)
        # The wrist that was on the right of the picture moves to the left when mirrored.
        assert (x[outer] > x["nose"]) == (outer == "left_wrist")
    assert sides == {"left_wrist", "right_wrist"}


def test_every_item_comes_once_before_any_comes_again():
    rng = np.random.default_rng(0)
    picks = np.concatenate(list(shuffled(12, 4, 6, rng)))
    assert sorted(picks[:12]) == sorted(picks[12:]) == list(range(12))


@pytest.fixture(scope="module")
def random_lifter(tmp_path_factory) -> Path:
    """Random weights for the lifter's config."""
    config = models.read_config(CONFIGS / "pose3d.py")
    torch.manual_seed(0)
    state = models.build(config, None, "cpu").state_dict()
    path = tmp_path_factory.mktemp("lifter") / "pose3d.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def test_windows_of_the_fit_show_the_lifter_what_a_whole_tracklet_does(clips, random_lifter):
    score = np.random.default_rng(0).uniform(0.2, 1, clips.visibility.shape).astype(np.float32)
    lifts = Lifts.of(clips, clips.xy_px, score, window=27)
    rows = lifts.starts[:, None] + np.arange(27)
    inputs = torch.from_numpy(lifts.found[rows]).flatten(2).transpose(1, 2)
    model = models.build(models.read_config(CONFIGS / "pose3d.py"), random_lifter, "cpu")
    with torch.inference_mode():
        expected = model.head(model.extract_feat(inputs)).numpy()
    place = load_spec("walkers_pose").lifter.input
    lifter = Lifter(CONFIGS / "pose3d.py", random_lifter, place)
    poses = [
        normalise(clips.xy_px[clip], score[clip], place.root_px, place.height_px)
        for clip in clips.clips()
    ]
    found = np.concatenate(lifter(poses))
    np.testing.assert_allclose(found, expected - expected[:, :1], atol=1e-4)


def test_mirrored_windows_go_with_mirrored_poses(clips):
    score = np.ones(clips.visibility.shape, np.float32)
    lifts = Lifts.of(clips, clips.xy_px, score, window=27)
    (batch,) = WindowBatches(_many(lifts), 27, batches=1, seed=0)
    labels = batch["data_samples"][0].gt_instance_labels.lifting_target_label.numpy()
    inputs = batch["inputs"].numpy().reshape(len(labels), 17, 3, 27)
    flip = list(H36M17.flip)
    mirrored = 0
    for pose, xyz in zip(inputs[..., 13], labels, strict=True):
        (frame,) = np.flatnonzero(
            (np.abs(lifts.xyz - xyz).max((1, 2)) < 1e-6)
            | (np.abs(flip_xyz(lifts.xyz) - xyz).max((1, 2)) < 1e-6)
        )
        expected = lifts.found[lifts.starts[frame] + 13]
        if np.abs(lifts.xyz[frame] - xyz).max() > 1e-6:
            mirrored += 1
            expected = expected[flip] * [-1, 1, 1]
        np.testing.assert_allclose(pose, expected, atol=1e-6)
    assert 0.3 < mirrored / len(labels) < 0.7


def _many(lifts: Lifts) -> Lifts:
    """Repeat windows until there is a batch of them."""
    times = -(-256 // len(lifts.starts))
    return Lifts(
        lifts.found, lifts.true, np.tile(lifts.xyz, (times, 1, 1)), np.tile(lifts.starts, times)
    )


def _times(clips: Clips, times: int) -> Clips:
    """Repeat clips until there is a batch of their frames."""
    names = ("crops", "xy_px", "visibility", "xyz", "root")
    arrays = [np.concatenate([getattr(clips, name)] * times) for name in names]
    lengths = np.diff(clips.ends, prepend=0)
    return Clips(*arrays, np.cumsum(np.tile(lengths, times)))


@pytest.mark.parametrize("fast", [True, False], ids=["bfloat16", "float32"])
def test_both_models_are_fitted_whatever_the_device_is_fast_in(clips, fast, monkeypatch):
    monkeypatch.setattr(models, "fast_bfloat16", lambda device: fast)
    seen = []
    conv = torch.nn.Conv1d.forward, torch.nn.Conv2d.forward

    def spy(forward):
        return lambda self, x: seen.append(forward(self, x)) or seen[-1]

    monkeypatch.setattr(torch.nn.Conv1d, "forward", spy(conv[0]))
    monkeypatch.setattr(torch.nn.Conv2d, "forward", spy(conv[1]))
    many = _times(clips, -(-256 // len(clips.crops)))
    matrix, _ = input_map(CONFIGS / "pose2d.py")
    states = [
        fit_estimator(CONFIGS / "pose2d.py", many, matrix, 2, "cpu"),
        fit_lifter(
            CONFIGS / "pose3d.py", many, many.xy_px, np.ones(many.xy_px.shape[:2]), 2, "cpu"
        ),
    ]
    assert {out.dtype for out in seen} == {torch.bfloat16 if fast else torch.float32}
    for state in states:
        assert all(value.isfinite().all() for value in state.values())
        assert torch.float32 in {value.dtype for value in state.values()}


@pytest.mark.slow
def test_a_short_fit_writes_everything_and_goes_on_after_a_stop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    params = load(("runtime.workers=1", "runtime.device=cpu"), path=ROOT / "params.yaml")
    small = {"cameras": 1, "clips": 20, "frames": (15, 15)}
    monkeypatch.setattr(fit, "CLIPS_2D", small)
    monkeypatch.setattr(fit, "CLIPS_3D", small)
    monkeypatch.setattr(fit, "CLIPS_HELD_OUT", small | {"clips": 12})
    monkeypatch.setattr(fit, "ITERATIONS_2D", 2)
    monkeypatch.setattr(fit, "ITERATIONS_3D", 2)
    folder = tmp_path / "weights"

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(fit, "find_joints", stop)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(folder, params)
    (kept,) = tmp_path.glob("work/weights/walkers_pose/*/pose2d.safetensors")
    weights = kept.read_bytes()
    metrics = fit.fit(folder, params)
    assert (folder / "pose2d.safetensors").read_bytes() == weights
    assert {path.name for path in folder.iterdir()} == {
        "pose2d.safetensors", "pose3d.safetensors", "metrics.json",
    }  # fmt: skip
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert np.isfinite(metrics["pose3d"]["found_2d"]["pa_mpjpe_mm"])
    assert not kept.exists()


@pytest.mark.slow
def test_the_stored_weights_are_as_good_as_promised():
    if not (WEIGHTS / "pose3d.safetensors").exists():
        pytest.skip("no weights here; run: dvc repro weights@walkers_pose")
    metrics = fit.measure(WEIGHTS, load(path=ROOT / "params.yaml"))
    seen = metrics["pose2d"]["seen"]
    assert seen["pck@0.1"]["mean"] >= 0.965
    assert seen["pck@0.05"]["mean"] >= 0.92
    true, found = metrics["pose3d"]["true_2d"], metrics["pose3d"]["found_2d"]
    assert true["mpjpe_mm"] <= 42
    assert true["pa_mpjpe_mm"] <= 26
    assert found["mpjpe_mm"] <= 65
    assert found["pa_mpjpe_mm"] <= 43
