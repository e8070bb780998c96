"""MoveNet against the numbers of the published graph, and inside the project's extraction."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from extract.engine import models
from extract.pose2d.estimator import Estimator
from pipeline.skeleton import COCO17
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mmpose")
MODEL = "movenet_lightning"


def estimator(**options):
    return Estimator(
        ROOT / f"conf/weights/{MODEL}/pose2d.py", ROOT / f"data/weights/{MODEL}/pose2d.safetensors",
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def golden(golden_dir):
    return load_file(golden_dir / "movenet_lightning.safetensors")


@pytest.fixture(scope="module")
def picture(golden_dir):
    """A drawn person of 192 x 192 pixels, RGB."""
    return load_file(golden_dir / "movenet_lightning.safetensors")["in.image"].numpy()


@pytest.fixture(scope="module")
def model():
    return estimator()._model


@pytest.mark.golden
@pytest.mark.parametrize("name", ["heatmap", "center", "regress", "offset"])
def test_all_four_outputs_equal_those_of_the_published_graph(golden, model, name):
    with torch.inference_mode():
        (features,) = model.extract_feat(golden["in.pixels"])
        found = model.head.raw(features, name)
    expected = golden[f"out.{name}"]
    assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.golden
def test_the_estimator_gives_the_network_the_pixels_it_was_trained_on(golden):
    whole = estimator()
    seen = []
    whole._forward = lambda model, images: (
        seen.append(images) or whole._model.head((torch.zeros(1, 24, 48, 48),))
    )
    whole([golden["in.image"].numpy()], np.array([[192, 192]]))
    torch.testing.assert_close(seen[0], golden["in.pixels"], atol=1e-5, rtol=0)


@pytest.mark.golden
def test_joints_are_those_of_the_published_decoding(golden):
    """The published graph's last nodes, written out once more for one frame, joint by joint."""
    raw = {
        name: golden[f"out.{name}"][0].numpy()
        for name in ("heatmap", "center", "regress", "offset")
    }
    rows, columns = np.indices((48, 48))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def highest(maps):
        return np.unravel_index(np.argmax(maps), (48, 48))

    centre = highest(sigmoid(raw["center"][0]) / (np.hypot(rows - 24, columns - 24) + 1.8))
    expected, expected_score = [], []
    for j in range(17):
        y, x = raw["regress"][2 * j : 2 * j + 2, *centre] + centre
        seen = sigmoid(raw["heatmap"][j])
        at = highest(seen / (np.hypot(rows - y, columns - x) + 1.8))
        offset = raw["offset"][2 * j : 2 * j + 2, *at]
        expected.append(((at + offset) / 48)[::-1])
        expected_score.append(seen[at])
    whole = estimator()
    with torch.inference_mode():
        model = whole._model
        xy, score = whole._decode(model.head(model.extract_feat(golden["in.pixels"])))
    np.testing.assert_allclose(xy[0] / 192, expected, atol=1e-3)
    np.testing.assert_allclose(score[0], expected_score, atol=1e-3)


@pytest.mark.filterwarnings("ignore")  # MMPose's own code warns about packages it imports.
@pytest.mark.parametrize("flip_test", [False, True])
def test_joints_equal_those_of_mmpose_with_the_same_config(picture, flip_test):
    models.import_mmpose()
    from mmpose.apis import inference_topdown, init_model

    folder = ROOT / "data/weights" / MODEL
    config = models.read_config(ROOT / f"conf/weights/{MODEL}/pose2d.py")
    config.test_dataloader = {"dataset": {"pipeline": config.val_pipeline}}
    theirs = init_model(config, None, device="cpu")
    theirs.load_state_dict(load_file(folder / "pose2d.safetensors"), strict=False)
    theirs.test_cfg.flip_test = theirs.head.test_cfg.flip_test = flip_test
    expected = inference_topdown(theirs, picture[..., ::-1])[0].pred_instances
    ours = estimator(flip_test=flip_test)
    xy, score = ours([ours.crop(picture)], np.array([[192, 192]]))
    np.testing.assert_allclose(xy[0], expected.keypoints[0], atol=1e-2)
    np.testing.assert_allclose(score[0], expected.keypoint_scores[0], atol=1e-4)


def test_with_the_flip_test_a_mirrored_frame_has_mirrored_joints(picture):
    both = estimator(flip_test=True)
    crop = both.crop(picture)
    sizes = np.array([[192, 192]] * 2)
    (xy, mirrored), (score, mirrored_score) = both([crop, crop[:, ::-1]], sizes)
    mirrored = np.stack([192 - mirrored[:, 0], mirrored[:, 1]], -1)[list(COCO17.flip)]
    np.testing.assert_allclose(xy, mirrored, atol=1e-2)
    np.testing.assert_allclose(score, mirrored_score[list(COCO17.flip)], atol=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["heatmap", "center", "regress", "offset"])
def test_bfloat16_changes_the_outputs_by_little(golden, model, name):
    """Joints of real people: test_people.py."""
    with torch.inference_mode(), models.autocast("cpu", "bfloat16"):
        (features,) = model.extract_feat(golden["in.pixels"])
        found = model.head.raw(features, name)
    expected = golden[f"out.{name}"]
    assert features.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert (found - expected).square().mean().sqrt() < 0.03 * expected.abs().max()


def test_a_batch_gives_what_each_frame_gives_alone_on_either_side_of_a_slice(picture):
    one = estimator()
    rng = np.random.default_rng(0)
    frames = [cv2.convertScaleAbs(picture, alpha=a) for a in rng.uniform(0.6, 1.2, 19)]
    crops, sizes = [one.crop(frame) for frame in frames], np.array([[192, 192]] * 19)
    xy, score = one(crops, sizes)
    for i in (0, 15, 16, 18):
        alone, alone_score = one(crops[i : i + 1], sizes[i : i + 1])
        np.testing.assert_allclose(xy[i], alone[0], atol=1e-2)
        np.testing.assert_allclose(score[i], alone_score[0], atol=1e-4)


_MEMORY = """
import resource, sys
import numpy as np
from pathlib import Path
from extract.engine import models
models.keep_memory()
from tests.extract.movenet.test_network import estimator
one = estimator()
crops = [np.random.default_rng(i).integers(0, 255, (192, 192, 3), np.uint8) for i in range(64)]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
one(crops[:1], np.full((1, 2), 192))
before = peak()
for _ in range(3):
    one(crops, np.full((64, 2), 192))
print(before, peak())
"""


def test_a_batch_takes_little_memory():
    """Measured: 0.2 GB. All intermediates of 64 frames together are 7 GB."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MEMORY],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    before_kb, after_kb = map(int, done.stdout.split())
    assert after_kb - before_kb < 500_000
