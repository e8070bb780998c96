import numpy as np
import pytest

from pipeline.ranking import Ids, NoMatchError
from train.run.calibration import WEIGHTS, best_weight


def people(count: int = 12, seed: int = 0):
    """Return centres of people in both kinds, and ids of four tracklets of each."""
    rng = np.random.default_rng(seed)
    pid = np.repeat(np.arange(count), 4)
    ids = Ids(pid, np.tile([0, 1, 2, 3], count))
    return rng, ids, rng.normal(size=(count, 32)), rng.normal(size=(count, 32))


def noisy(centres, ids, noise, rng):
    return centres[ids.pid] + noise * rng.normal(size=(len(ids), centres.shape[1]))


@pytest.mark.parametrize("seed", range(3))
def test_skeletons_that_know_nobody_count_little(seed):
    rng, ids, visual, _ = people(seed=seed)
    frames = noisy(visual, ids, 1.0, rng)
    assert best_weight(frames, rng.normal(size=(len(ids), 32)), ids) < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_skeletons_that_know_everybody_count_most_where_frames_know_the_outfit(seed):
    rng, ids, visual, bones = people(seed=seed)
    visual = visual[np.arange(12) % 3]
    frames, skeletons = noisy(visual, ids, 1.5, rng), noisy(bones, ids, 0.5, rng)
    assert best_weight(frames, skeletons, ids) > 0.5


def test_of_weights_that_serve_alike_the_smallest_is_taken():
    rng, ids, visual, _ = people()
    frames = noisy(visual, ids, 0.01, rng)
    assert best_weight(frames, np.zeros((len(ids), 8)), ids) == WEIGHTS[0] == 0


def test_lengths_of_descriptors_do_not_matter():
    rng, ids, visual, bones = people()
    frames, skeletons = noisy(visual, ids, 2.0, rng), noisy(bones, ids, 2.0, rng)
    expected = best_weight(frames, skeletons, ids)
    assert 0 < expected < WEIGHTS[-1]
    assert best_weight(100 * frames, 0.01 * skeletons, ids) == expected


def test_where_the_own_camera_counts_people_of_one_camera_say_it_too():
    rng, ids, visual, bones = people()
    names = np.arange(len(ids))
    alone = Ids(ids.pid, np.zeros_like(ids.camid), tracklet=names)
    visual = visual[np.arange(12) % 3]
    frames, skeletons = noisy(visual, ids, 1.5, rng), noisy(bones, ids, 0.5, rng)
    assert best_weight(frames, skeletons, alone, same_camera_counts=True) > 0.5
    with pytest.raises(NoMatchError):
        best_weight(frames, skeletons, alone)
