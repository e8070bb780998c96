"""The batched estimator against MMPose's own `inference_topdown`."""

import weakref
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from extract.engine import models
from extract.pose2d.estimator import Estimator
from pipeline import images
from pipeline.errors import PipelineError

CONFIGS = Path(find_spec("mmpose").origin).parent / ".mim/configs/body_2d_keypoint"
FAMILIES = {
    "rtmpose_t": "rtmpose/body8/rtmpose-t_8xb256-420e_body8-256x192.py",
    "hrnet_w32": "topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py",
    "resnet50_dark": "topdown_heatmap/coco/td-hm_res50_dark-8xb64-210e_coco-256x192.py",
    "cspnext_udp": "topdown_heatmap/coco/cspnext-tiny_udp_8xb256-210e_coco-256x192.py",
    "vitpose_s": "topdown_heatmap/coco/td-hm_ViTPose-small_8xb64-210e_coco-256x192.py",
}
# Two responses nearer than this share of the higher one: rounding decides which is the peak.
TIE = 1e-4


def people(folder):
    """Cut people, and parts of them, out of real photographs."""
    crops = []
    rng = np.random.default_rng(0)
    for file in sorted(folder.glob("people/*.jpg")):
        photo, _ = images.read(file)
        height = int(rng.integers(90, photo.shape[0] - 1))
        width = int(rng.integers(height // 3, min(height, photo.shape[1] - 1)))
        y, x = rng.integers(0, np.array(photo.shape[:2]) - (height, width))
        crops.append(np.ascontiguousarray(photo[y : y + height, x : x + width]))
    return crops


@pytest.fixture
def stock(request, real_data, tmp_path):
    """MMPose's model of a family: random weights, normalisation statistics from real crops."""
    models.import_mmpose()
    from mmengine.config import Config
    from mmpose.apis import init_model

    if "vitpose" in request.param and not find_spec("mmpretrain"):
        pytest.skip("ViTPose needs the optional package mmpretrain (docs/pose_models.md)")
    config = CONFIGS / FAMILIES[request.param]
    torch.manual_seed(0)
    model = init_model(models._portable(Config.fromfile(config)), None, device="cpu")
    crops = people(real_data)
    plain = Estimator(config, None)
    batch = torch.stack([torch.from_numpy(plain.crop(crop)).permute(2, 0, 1) for crop in crops])
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        model.extract_feat((batch.float() - plain._mean) / plain._std)
    model.eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    return config, model, crops, tmp_path / "weights.pth"


@pytest.mark.filterwarnings("ignore")  # MMPose's own code warns about packages it imports.
@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("stock", FAMILIES, indirect=True)
def test_joints_equal_those_of_mmpose_on_real_people(stock, flip_test):
    config, model, crops, weights = stock
    model.test_cfg.flip_test = flip_test
    estimator = Estimator(config, weights, flip_test=flip_test)
    sizes = np.array([crop.shape[1::-1] for crop in crops])
    tolerance_px, is_refined = 1e-3, needs_smooth_heatmaps(model.head.decoder)
    if is_refined:
        # Peaks of a random convolutional network are still far flatter than those of a trained
        # one, on which test_decode.py asks for 1e-3.
        tolerance_px = 1e-3 if "ViTPose" in config.name else 2e-2
        model.head.final_layer = torch.nn.Sequential(model.head.final_layer, Blur())
        head = estimator._model.head
        head.final_layer = torch.nn.Sequential(head.final_layer, Blur())
    xy, score = estimator([estimator.crop(crop) for crop in crops], sizes)
    found = zip(*(run_mmpose(model, crop) for crop in crops), strict=True)
    expected, expected_score, tied = (np.stack(part) for part in found)
    moved = np.abs(xy - expected).max(-1) > tolerance_px
    # Random networks have joints with two peaks; one of the 68 of RTMPose falls the other way. Or
    # with a peak so flat that rounding, which is the CPU's own, moves the top of its parabola.
    assert moved.sum() <= 1
    assert is_refined or not (moved & ~tied).any()
    np.testing.assert_allclose(score, np.clip(expected_score, 0, 1), atol=1e-3)


def needs_smooth_heatmaps(codec):
    """Return whether the codec refines with DARK.

    It fits a parabola to the peak. A random network gives noise, on which that is a singular
    system and the step can be anything; a blur, sharpened, makes peaks of it.
    """
    kind = type(codec).__name__
    return kind == "UDPHeatmap" or (kind == "MSRAHeatmap" and codec.unbiased)


class Blur(torch.nn.Module):
    def forward(self, maps):
        for _ in range(3):
            maps = torch.nn.functional.avg_pool2d(maps, 5, 1, 2, count_include_pad=False)
        low, high = maps.amin((-2, -1), True), maps.amax((-2, -1), True)
        return ((maps - low) / (high - low)) ** 20


def run_mmpose(model, crop):
    """Return MMPose's joints and scores, and which joints have two peaks of the same height."""
    from mmpose.apis import inference_topdown

    with patch.object(model.head, "decode", wraps=model.head.decode) as decode:
        found = inference_topdown(model, crop[..., ::-1])[0].pred_instances
    ((output,), _) = decode.call_args
    return found.keypoints[0], found.keypoint_scores[0], has_tie(output)


def has_tie(output):
    """Return for each joint whether its peak is one in name only: in x or y, or in the heatmap."""
    responses = output if isinstance(output, tuple) else (output.flatten(2),)
    tied = np.zeros(responses[0].shape[1], bool)
    for response in responses:
        first, second = response[0].topk(2).values.unbind(-1)
        tied |= (first - second < TIE * first.abs()).numpy()
    return tied


def test_a_batch_of_any_length_gives_what_each_frame_gives_alone(tiny_weights):
    estimator = Estimator(tiny_weights / "pose2d.json", tiny_weights / "pose2d.safetensors")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (40 + i, 20, 3), np.uint8) for i in range(13)]
    crops = [estimator.crop(frame) for frame in frames]
    sizes = np.array([frame.shape[1::-1] for frame in frames])
    xy, score = estimator(crops, sizes)
    for i in range(13):
        alone, alone_score = estimator(crops[i : i + 1], sizes[i : i + 1])
        np.testing.assert_allclose(xy[i], alone[0], atol=1e-4)
        np.testing.assert_allclose(score[i], alone_score[0], atol=1e-5)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_once_and_for_all(tiny_weights, monkeypatch, error):
    estimator = Estimator(tiny_weights / "pose2d.json", tiny_weights / "pose2d.safetensors")
    crops = [np.full((64, 32, 3), i, np.uint8) for i in range(10)]
    sizes = np.full((10, 2), 32)
    expected = estimator(crops, sizes)
    run, tried, failed = estimator._run, [], []

    def limited(batch):
        # Whoever tries again while the failed pass is alive has no more room than it had.
        assert not any(activations() is not None for activations in failed)
        tried.append(len(batch))
        if len(batch) > 4:
            activations = torch.zeros(3)
            failed.append(weakref.ref(activations))
            raise type(error)(*error.args)
        return run(batch)

    monkeypatch.setattr(estimator, "_run", limited)
    for _ in range(2):
        for whole, halved in zip(expected, estimator(crops, sizes), strict=True):
            np.testing.assert_allclose(whole, halved, atol=1e-5)
    assert tried == [16, 8, 4, 4, 2, 4, 4, 2]


def test_another_error_of_a_pass_is_none_of_memory(tiny_weights, monkeypatch):
    estimator = Estimator(tiny_weights / "pose2d.json", tiny_weights / "pose2d.safetensors")

    def broken(batch):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(estimator, "_run", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        estimator([np.zeros((64, 32, 3), np.uint8)] * 4, np.full((4, 2), 32))


def test_batch_norms_are_folded_in_where_a_device_rounds_more_than_the_check(tiny_weights):
    # No value can be compared on this device: the check must not happen there.
    files = tiny_weights / "pose2d.json", tiny_weights / "pose2d.safetensors"
    model = Estimator(*files, device="meta")._model
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())


def test_weights_of_another_model_are_refused(tiny_weights):
    from pipeline.errors import PipelineError

    with pytest.raises(PipelineError, match=r"pose3d.safetensors lacks \d+ weights"):
        Estimator(tiny_weights / "pose2d.json", tiny_weights / "pose3d.safetensors")


def test_vitpose_without_its_package_says_what_to_install(monkeypatch):
    from pipeline.errors import PipelineError

    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(
        PipelineError, match=r"VisionTransformer is in mmpretrain\. Install it: docs"
    ):
        Estimator(CONFIGS / FAMILIES["vitpose_s"], None)


def test_a_checkpoint_that_holds_code_is_refused(tiny_weights, tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(PipelineError, match=r"evil.pth is not .*it asks for code: print"):
        models.read_state(tmp_path / "evil.pth")
