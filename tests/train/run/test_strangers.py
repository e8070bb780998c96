import json

import numpy as np
import pytest

from train.run.strangers import in_words, nearness, share_within


def described(persons: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features of eight tracklets each of people drawn from one world, and whose they are.

    The world has few directions, so that strangers differ in how near they come.
    """
    rng = np.random.default_rng(seed)
    mixed = np.random.default_rng(7).normal(size=(6, 64))
    pids = np.repeat(np.arange(persons), 8)
    centres = rng.normal(size=(persons, 6)) @ mixed
    return centres[pids] + 0.8 * rng.normal(size=(len(pids), 64)), pids


def true_share(distance: float) -> float:
    """Return the share of pairs of strangers among 300 other people who come as near."""
    features, _ = described(300, seed=99)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    first, second = np.triu_indices(300, 1)
    dist = 1 - np.sum(unit[::8][first] * unit[::8][second], axis=1)
    return float((dist <= distance).mean())


def test_the_share_is_counted_over_pairs_of_two_persons_alone():
    rng = np.random.default_rng(0)
    features, pids = rng.normal(size=(60, 5)), rng.integers(0, 12, 60)
    noted = nearness(features, pids)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    apart = [
        1 - unit[i] @ unit[j] for i in range(60) for j in range(i) if pids[i] != pids[j]
    ]  # fmt: skip
    for share, distance in zip(noted["shares"], noted["distances"], strict=True):
        counted = np.mean(np.array(apart) <= distance + 1e-6)
        assert (counted * 66 + 1) / 67 == pytest.approx(share, abs=2e-3)
    assert json.loads(json.dumps(noted)) == noted


@pytest.mark.parametrize("share", [0.3, 0.1, 0.05])
def test_what_twelve_people_say_holds_for_others_on_average(share):
    """The printed share against the truth of 300 people; 40 times, other twelve people each."""
    found = []
    for seed in range(40):
        noted = nearness(*described(12, seed))
        distance = np.interp(-np.log(share), -np.log(noted["shares"]), noted["distances"])
        assert share_within(distance, noted) == pytest.approx(share, rel=1e-3)
        found.append(true_share(distance))
    assert np.mean(found) == pytest.approx(share, rel=0.25)


def test_twelve_people_say_nothing_rarer_than_one_of_their_pairs():
    noted = nearness(*described(12, 0))
    assert noted["shares"][-1] == pytest.approx(1 / 67, abs=1e-5)
    assert in_words(-0.1, noted) == "less than 1 in 67"
    assert in_words(1.9, noted) == "more than 1 in 2"


def test_the_further_the_more_strangers():
    noted = nearness(*described(12, 3))
    shares = [share_within(distance, noted) for distance in np.linspace(0, 2, 100)]
    assert (np.diff(shares) >= 0).all()
    assert shares[0] < 0.02
    assert shares[-1] == pytest.approx(34 / 67, abs=1e-5)


def test_two_persons_are_enough():
    assert nearness(*described(2, 0))["shares"] == [0.5]


def test_strangers_are_as_near_as_the_distance_says():
    features, pids = described(12, seed=3)
    noted = nearness(features, pids)
    # A mean over one part by its cosine is the cosine.
    one_part = {"kind": "parts", "parts": 1, "metric": "cosine"}
    assert nearness(features, pids, one_part)["distances"] == pytest.approx(
        noted["distances"], abs=1e-5
    )
    assert nearness(features, pids, {"kind": "cosine"}) == noted
    two_parts = nearness(features, pids, {"kind": "parts", "parts": 2, "metric": "cosine"})
    assert two_parts["distances"] != pytest.approx(noted["distances"], abs=1e-3)
