"""What the lifter is fitted to: windows of tracklets, true, found and with errors of others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from extract.engine import models
from extract.engine.spec import load as load_spec
from extract.fit.pose3d import Lifts, WindowBatches, with_errors_of
from extract.pose3d.lifter import Lifter
from extract.pose3d.normalise import normalise
from pipeline.skeleton import H36M17, flip_xyz
from tests.conftest import ROOT
from tests.extract.fit.conftest import repeated

CONFIGS = ROOT / "conf" / "weights" / "walkers_pose"


@pytest.fixture(scope="module")
def random_lifter(tmp_path_factory) -> Path:
    """Random weights for the lifter's config."""
    config = models.read_config(CONFIGS / "pose3d.py")
    torch.manual_seed(0)
    state = models.build(config, None, "cpu").state_dict()
    path = tmp_path_factory.mktemp("lifter") / "pose3d.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def _many(lifts: Lifts) -> Lifts:
    """Repeat windows until there is a batch of them."""
    times = -(-256 // len(lifts.starts))
    return Lifts(
        lifts.found, lifts.true, np.tile(lifts.xyz, (times, 1, 1)), np.tile(lifts.starts, times)
    )


def test_two_sets_of_clips_are_lifted_one_after_the_other(clips):
    score = np.random.default_rng(0).uniform(0.2, 1, clips.visibility.shape).astype(np.float32)
    first, second = (clips, clips.xy_px, score), (clips, clips.xy_px + 1, score / 2)
    both, alone = Lifts.of([first, second], 27), Lifts.of([second], 27)
    frames = len(clips.xyz)
    np.testing.assert_array_equal(both.xyz[frames:], alone.xyz)
    np.testing.assert_array_equal(both.found[both.starts[frames:]], alone.found[alone.starts])


def test_borrowed_errors_are_those_of_another_clip_in_shares_of_the_height(clips):
    rng = np.random.default_rng(0)
    score = rng.uniform(0.2, 1, clips.visibility.shape).astype(np.float32)
    found = clips.xy_px + rng.normal(0, 3, clips.xy_px.shape).astype(np.float32)
    large = replace(clips, xy_px=2 * clips.xy_px)
    same, xy_px, scores = with_errors_of((clips, found, score), large, seed=0)
    assert same is large
    donors = clips.clips()
    for clip in donors:
        height = np.median(np.ptp(large.xy_px[clip][..., 1], axis=1))
        ours = (xy_px[clip][0] - large.xy_px[clip][0]) / height
        (donor,) = (one for one in donors if (score[one][0] == scores[clip][0]).all())
        height = np.median(np.ptp(clips.xy_px[donor][..., 1], axis=1))
        theirs = (found[donor][0] - clips.xy_px[donor][0]) / height
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    untouched = with_errors_of((clips, clips.xy_px, score), large, seed=0)[1]
    np.testing.assert_allclose(untouched, large.xy_px, atol=1e-4)


def test_errors_go_back_and_forth_over_a_longer_clip(clips):
    one, two = (repeated(clips, n) for n in (1, 6))
    long = replace(two, ends=two.ends[-1:])
    score = np.repeat(np.arange(len(one.xyz))[:, None], 17, 1).astype(np.float32)
    scores = with_errors_of((one, one.xy_px, score), long, seed=0)[2][:, 0]
    (donor,) = (clip for clip in one.clips() if clip.start == scores[0])
    there = np.arange(donor.start, donor.stop)
    expected = np.resize(np.concatenate([there, there[-2:0:-1]]), len(scores))
    np.testing.assert_array_equal(scores, expected)


def test_windows_of_the_fit_show_the_lifter_what_a_whole_tracklet_does(clips, random_lifter):
    score = np.random.default_rng(0).uniform(0.2, 1, clips.visibility.shape).astype(np.float32)
    lifts = Lifts.of([(clips, clips.xy_px, score)], window=27)
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
    lifts = Lifts.of([(clips, clips.xy_px, score)], window=27)
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
