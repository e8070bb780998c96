import json

import cv2
import numpy as np
import pytest
import torch

from extract.engine import models
from extract.fit import fit
from extract.fit.people import (
    Clips,
    input_map,
)
from extract.fit.pose2d import CropBatches, fit_estimator, gaussians
from extract.fit.pose3d import fit_lifter
from pipeline.params.config import load
from pipeline.skeleton import COCO17
from tests.conftest import ROOT
from tests.extract.fit.conftest import WHOLE, repeated

CONFIGS = ROOT / "conf" / "weights" / "walkers_pose"
WEIGHTS = ROOT / "data" / "weights" / "walkers_pose"


def test_heatmaps_equal_those_of_the_codec():
    config = models.read_config(CONFIGS / "pose2d.py")
    from mmpose.registry import KEYPOINT_CODECS

    codec = KEYPOINT_CODECS.build(config.codec)
    xy = np.random.default_rng(0).uniform(0, [127, 255], (17, 2)).astype(np.float32)
    expected = codec.encode(xy[None])["heatmaps"]
    found = gaussians(torch.from_numpy(xy)[None], config.codec)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shrink", [1, 2])
def test_augmented_crops_carry_their_joints_along(shrink):
    config = models.read_config(CONFIGS / "pose2d.py")
    rng = np.random.default_rng(0)
    xy = rng.uniform([28, 56], [98, 198], (64, 2))
    crops = np.zeros((64, 256, 128, 3), np.uint8)
    for crop, (x, y) in zip(crops, xy, strict=True):
        cv2.circle(crop, (round(x * 8), round(y * 8)), 48, (255,) * 3, -1, cv2.LINE_AA, 3)
    # Every joint lies on the spot, so that it stays there when left and right change places.
    joints = np.repeat(xy[:, None], 17, 1)
    clips = Clips(crops, joints, np.zeros((64, 17)), joints, joints, np.array([64]))
    for batch in CropBatches(clips, WHOLE, config.codec, batches=2, seed=1, shrink=shrink):
        assert batch["inputs"].shape[2:] == (256 // shrink, 128 // shrink)
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
    crops = np.zeros((32, 256, 128, 3), np.uint8)
    clips = Clips(crops, joints, np.zeros((32, 17)), joints, joints, np.array([32]))
    (batch,) = CropBatches(clips, WHOLE, config.codec, batches=1, seed=0)
    sides = set()
    for sample in batch["data_samples"]:
        heat = sample.gt_fields.heatmaps
        x = {name: int(heat[COCO17.joints.index(name)].sum(0).argmax()) for name in COCO17.joints}
        outer = "left_wrist" if x["left_wrist"] > x["nose"] + 2 else "right_wrist"
        sides.add(outer)
        # The wrist that was on the right of the picture moves to the left when mirrored.
        assert (x[outer] > x["nose"]) == (outer == "left_wrist")
    assert sides == {"left_wrist", "right_wrist"}


@pytest.mark.parametrize("fast", [True, False], ids=["bfloat16", "float32"])
def test_both_models_are_fitted_whatever_the_device_is_fast_in(clips, fast, monkeypatch):
    monkeypatch.setattr(models, "fast_bfloat16", lambda device: fast)
    seen = []
    conv = torch.nn.Conv1d.forward, torch.nn.Conv2d.forward

    def spy(forward):
        return lambda self, x: seen.append(forward(self, x)) or seen[-1]

    monkeypatch.setattr(torch.nn.Conv1d, "forward", spy(conv[0]))
    monkeypatch.setattr(torch.nn.Conv2d, "forward", spy(conv[1]))
    many = repeated(clips, -(-256 // len(clips.crops)))
    matrix, _ = input_map(CONFIGS / "pose2d.py")
    states = [
        fit_estimator(CONFIGS / "pose2d.py", many, matrix, {2: 2, 1: 2}, "cpu"),
        fit_lifter(
            CONFIGS / "pose3d.py", [(many, many.xy_px, np.ones(many.xy_px.shape[:2]))], 2, "cpu"
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
    monkeypatch.setattr(fit, "WALKS_3D", small)
    monkeypatch.setattr(fit, "CLIPS_HELD_OUT", small | {"clips": 12})
    monkeypatch.setattr(fit, "CLIPS_ANYWHERE", small | {"clips": 4})
    monkeypatch.setattr(fit, "ITERATIONS_2D", {2: 2, 1: 2})
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
    assert seen["pck@0.1"]["mean"] >= 0.985
    assert seen["pck@0.05"]["mean"] >= 0.97
    true, found = metrics["pose3d"]["true_2d"], metrics["pose3d"]["found_2d"]
    assert true["mpjpe_mm"] <= 35
    assert true["pa_mpjpe_mm"] <= 21.5
    assert found["mpjpe_mm"] <= 57
    assert found["pa_mpjpe_mm"] <= 38
    assert metrics["pose2d"]["error_percent"][1] <= 1.15
    *lower, highest = metrics["lean"]["median_error_deg"].values()
    assert 0.8 <= metrics["lean"]["slope"] <= 1.2
    assert len(lower) == 3
    assert max(lower) <= 2.5
    # Few cameras that look down as steeply stand among those that the lifter has seen.
    assert highest <= 4.5
