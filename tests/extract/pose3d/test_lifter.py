"""The batched lifters against MMPose's own calls, window by window."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.engine import models
from extract.engine.spec import LifterInput
from extract.pose3d.lifter import Lifter, window_starts
from pipeline.skeleton import H36M17

CONFIGS = Path(find_spec("mmpose").origin).parent / ".mim/configs/body_3d_keypoint"
VIDEOPOSE = "video_pose_lift/h36m/video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m.py"
SIMPLE = "image_pose_lift/h36m/image-pose-lift_tcn_8xb64-200e_h36m.py"
MOTIONBERT = "motionbert/h36m/motionbert_dstformer-ft-243frm_8xb32-120e_h36m.py"
PLACE = LifterInput(root_px=(532, 420), height_px=290, image_size=(1000, 1000))


@pytest.fixture
def stock(request, tmp_path):
    """MMPose's lifter with random weights, and the file that holds them."""
    models.import_mmpose()
    from mmengine.config import Config
    from mmpose.apis import init_model

    torch.manual_seed(0)
    config = Config.fromfile(CONFIGS / request.param)
    config.model.pop("init_cfg", None)
    if config.model.backbone.type == "DSTFormer":
        config.model.backbone.depth = 1
    config.dump(tmp_path / "config.json")
    model = init_model(config, None, device="cpu")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    return model, tmp_path


def walk(frames, seed=0):
    """Return a pose that moves smoothly in the middle of a 1000 x 1000 image, with scores."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(350, 650, (1, 17, 2)), rng.normal(0, 2, (1, 17, 2))
    xy = start + speed * np.sin(np.arange(frames) / 5)[:, None, None]
    return xy.astype(np.float32), rng.uniform(0.2, 1, (frames, 17)).astype(np.float32)


def lift_with_mmpose(model, windows, scores=None):
    """Run MMPose's own pre- and post-processing on windows `(T, 17, 2)`."""
    from mmengine.dataset import Compose, pseudo_collate

    pipeline = Compose(model.cfg.test_dataloader.dataset.pipeline)
    data = []
    for i, window in enumerate(windows):
        frames = len(window)
        # One 3D pose for every frame where the scores are seen (MotionBERT), else for the middle.
        targets = 1 if scores is None else frames
        info = {
            "keypoints": window,
            "keypoints_visible": np.ones((frames, 17), np.float32) if scores is None else scores[i],
            "lifting_target": np.zeros((targets, 17, 3), np.float32),
            "lifting_target_visible": np.ones((targets, 17, 1), np.float32),
            "factor": np.zeros((frames,), np.float32),
            "camera_param": {"w": 1000, "h": 1000},
        }
        data.append(pipeline(info | (model.dataset_meta or {})))
    with torch.no_grad():
        results = model.test_step(pseudo_collate(data))
    return np.stack([np.asarray(result.pred_instances.keypoints) for result in results])


def centred(xyz):
    return xyz - xyz[..., :1, :]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stock", [VIDEOPOSE], indirect=True)
def test_videopose3d_over_whole_tracklets_equals_mmpose_window_by_window(stock):
    model, folder = stock
    lifter = Lifter(folder / "config.json", folder / "weights.pth", PLACE)
    poses = [walk(40), walk(1, seed=1), walk(9, seed=2)]
    for (xy, _), ours in zip(poses, lifter(poses), strict=True):
        padded = np.pad(xy, ((13, 13), (0, 0), (0, 0)), mode="edge")
        windows = [padded[i : i + 27] for i in range(len(xy))]
        expected = lift_with_mmpose(model, windows).reshape(len(xy), 17, 3)
        np.testing.assert_allclose(ours, centred(expected), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stock", [SIMPLE], indirect=True)
def test_simplebaseline3d_equals_mmpose(stock):
    model, folder = stock
    lifter = Lifter(folder / "config.json", folder / "weights.pth", PLACE)
    xy, score = walk(12)
    expected = lift_with_mmpose(model, [pose[None] for pose in xy]).reshape(12, 17, 3)
    np.testing.assert_allclose(lifter([(xy, score)])[0], centred(expected), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("stock", [MOTIONBERT], indirect=True)
def test_motionbert_equals_mmpose_and_sees_the_scores(stock, flip_test):
    model, folder = stock
    model.test_cfg.flip_test = flip_test
    lifter = Lifter(folder / "config.json", folder / "weights.pth", PLACE, flip_test=flip_test)
    poses = [walk(30), walk(5, seed=1)]
    for (xy, score), ours in zip(poses, lifter(poses), strict=True):
        expected = lift_with_mmpose(model, [xy], [score]).reshape(len(xy), 17, 3)
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    (blind,) = lifter([(poses[0][0], np.ones_like(poses[0][1]))])
    assert np.abs(blind - lifter(poses)[0]).max() > 1e-3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stock", [MOTIONBERT], indirect=True)
def test_long_tracklets_are_blended_from_windows_that_cover_every_frame(stock):
    _, folder = stock
    lifter = Lifter(folder / "config.json", folder / "weights.pth", PLACE)
    xy, score = walk(400)
    (whole,) = lifter([(xy, score)])
    assert whole.shape == (400, 17, 3)
    first, last = lifter([(xy[:243], score[:243]), (xy[157:], score[157:])])
    np.testing.assert_allclose(whole[:157], first[:157], atol=1e-5)
    np.testing.assert_allclose(whole[243:], last[86:], atol=1e-5)
    # No seam: neighbouring frames differ as little as elsewhere.
    steps = np.abs(np.diff(whole, axis=0)).max((1, 2))
    assert steps[150:250].max() < 3 * steps[:150].max()


@pytest.mark.parametrize("frames", [1, 242, 243, 244, 500, 5000])
def test_windows_cover_all_frames_and_overlap(frames):
    starts = window_starts(frames, 243)
    assert starts[0] == 0
    assert starts[-1] == max(0, frames - 243)
    assert all(b - a <= 162 for a, b in pairwise(starts))


def test_mirroring_the_person_mirrors_the_pose(tiny_weights):
    """With flip test a mirrored input must give exactly the mirrored output."""
    lifter = Lifter(
        tiny_weights / "pose3d.json", tiny_weights / "pose3d.safetensors", PLACE, flip_test=True
    )
    xy, score = walk(20)
    flip = list(H36M17.flip)
    mirrored = (xy * [-1, 1] + [1000, 0])[:, flip]
    (xyz,) = lifter([(xy, score)])
    (other,) = lifter([(mirrored, score[:, flip])])
    np.testing.assert_allclose(other[:, flip] * [-1, 1, 1], xyz, atol=1e-5)
    np.testing.assert_array_equal(xyz[:, 0], 0)
