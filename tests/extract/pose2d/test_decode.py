"""The batched decoders against MMPose's own, which decode one frame at a time."""

import numpy as np
import pytest
import torch

from extract.engine import models
from extract.pose2d.decode import decoder_for
from pipeline.errors import PipelineError

models.import_mmpose()
from mmpose.registry import KEYPOINT_CODECS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mmpose")

CODECS = {
    "msra": {"type": "MSRAHeatmap", "sigma": 2},
    "dark": {"type": "MSRAHeatmap", "sigma": 2, "unbiased": True},
    "dark 7": {"type": "MSRAHeatmap", "sigma": 1.5, "unbiased": True, "blur_kernel_size": 7},
    "udp": {"type": "UDPHeatmap", "sigma": 2},
}  # fmt: skip


class Head:
    def __init__(self, **codec):
        self.decoder = KEYPOINT_CODECS.build(codec)


def heatmaps(codec, xy, noise=0.0):
    """Return what a head would give for joints `(B, J, 2)`: their encoding, with some noise."""
    maps = np.stack([codec.encode(pose[None])["heatmaps"] for pose in xy])
    rng = np.random.default_rng(1)
    return maps + noise * rng.standard_normal(maps.shape).astype(np.float32)


def reference(codec, maps):
    xy, score = zip(*(codec.decode(frame) for frame in maps), strict=True)
    return np.concatenate(xy), np.concatenate(score)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_heatmaps_decode_as_by_mmpose(name, noise):
    head = Head(input_size=(192, 256), heatmap_size=(48, 64), **CODECS[name])
    rng = np.random.default_rng(0)
    # Some joints lie at the very edge, some outside, where nothing responds.
    truth = rng.uniform([-4, -4], [196, 260], (40, 17, 2)).astype(np.float32)
    maps = heatmaps(head.decoder, truth, noise)
    xy, score = decoder_for(head)(torch.from_numpy(maps))
    expected, expected_score = reference(head.decoder, maps)
    np.testing.assert_allclose(score, expected_score, atol=1e-6)
    # DARK solves a system that noise can make singular; its step is then arbitrary, far beyond
    # one cell of the heatmap.
    cell = 192 / 48
    flat = maps.reshape(*maps.shape[:2], -1).argmax(-1)
    peak = np.stack([flat % 48, flat // 48], -1) * cell
    sound = (np.abs(expected - peak) < 2 * cell).all(-1) & (expected_score > 0)
    assert sound.mean() > 0.9
    np.testing.assert_allclose(xy.numpy()[sound], expected[sound], atol=1e-3)


@pytest.mark.parametrize(("name", "error_px"), [("dark", 0.1), ("udp", 0.1), ("msra", 1.5)])
def test_clean_heatmaps_give_back_the_joints(name, error_px):
    head = Head(input_size=(192, 256), heatmap_size=(48, 64), **CODECS[name])
    truth = np.random.default_rng(0).uniform(30, 160, (20, 17, 2)).astype(np.float32)
    maps = heatmaps(head.decoder, truth)
    if name == "udp":
        # Unbiased coordinates count from the middle of the first pixel to that of the last; what
        # is decoded is a share of the whole input.
        truth = truth / [191, 255] * [192, 256]
    xy, _ = decoder_for(head)(torch.from_numpy(maps))
    assert np.abs(xy.numpy() - truth).mean() < error_px


def test_simcc_decodes_as_by_mmpose():
    head = Head(type="SimCCLabel", input_size=(192, 256), sigma=(4.9, 5.66), use_dark=False)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 17, 384)).astype(np.float32)
    y = rng.standard_normal((50, 17, 512)).astype(np.float32)
    x[0, 0] = -1  # no positive response
    xy, score = decoder_for(head)((torch.from_numpy(x), torch.from_numpy(y)))
    expected, expected_score = head.decoder.decode(x, y)
    np.testing.assert_array_equal(xy.numpy(), expected)
    np.testing.assert_array_equal(score.numpy(), expected_score)


@pytest.mark.parametrize(
    "codec",
    [
        {"type": "SimCCLabel", "sigma": (4.9, 5.66), "use_dark": True},
        {"type": "UDPHeatmap", "heatmap_size": (48, 64), "heatmap_type": "combined"},
    ],
)
def test_codecs_without_a_batched_decoder_go_through_mmpose(codec):
    import mmpose.models.heads.base_head as base

    class Slow(Head):
        decode = base.BaseHead.decode

    head = Slow(input_size=(192, 256), **codec)
    rng = np.random.default_rng(0)
    truth = rng.uniform(30, 160, (3, 17, 2)).astype(np.float32)
    if codec["type"] == "SimCCLabel":
        coded = [head.decoder.encode(pose[None]) for pose in truth]
        output = tuple(
            torch.from_numpy(np.concatenate([c[f"keypoint_{axis}_labels"] for c in coded]))
            for axis in "xy"
        )
    else:
        output = torch.from_numpy(heatmaps(head.decoder, truth))
    xy, score = decoder_for(head)(output)
    assert xy.shape == (3, 17, 2)
    assert score.shape == (3, 17)
    assert np.abs(xy.numpy() - truth).max() < 2


def test_a_head_that_gives_coordinates_is_refused_by_name():
    head = Head(type="RegressionLabel", input_size=(192, 256))
    with pytest.raises(PipelineError, match="RegressionLabel"):
        decoder_for(head)
