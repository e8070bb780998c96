from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from train.data.sampler import PKSampler


class Labels:
    def __init__(self, counts: list[int]) -> None:
        self.labels = np.repeat(np.arange(len(counts)), counts).tolist()


def batches(sampler: PKSampler, size: int) -> list[list[int]]:
    drawn = [draw.index for draw in sampler]
    return [drawn[start : start + size] for start in range(0, len(drawn), size)]


counts = st.lists(st.integers(1, 9), min_size=4, max_size=12)


@given(counts, st.integers(2, 4), st.integers(1, 4), st.integers(0, 99))
def test_every_batch_holds_p_identities_with_k_tracklets_each(own, identities, clips, epoch):
    data = Labels(own)
    sampler = PKSampler(data, identities, clips, seed=1)
    sampler.set_epoch(epoch)
    made = batches(sampler, identities * clips)
    assert made
    for batch in made:
        drawn = Counter(data.labels[index] for index in batch)
        assert sorted(drawn.values()) == [clips] * identities


@given(counts, st.integers(2, 4), st.integers(1, 4))
def test_an_epoch_has_the_promised_length_and_repeats_a_tracklet_only_to_fill_up(
    own, identities, clips
):
    data = Labels(own)
    sampler = PKSampler(data, identities, clips, seed=1)
    drawn = Counter(draw.index for draw in sampler)
    assert sum(drawn.values()) == len(sampler)
    for label, count in enumerate(own):
        times = [drawn[index] for index, one in enumerate(data.labels) if one == label]
        if count >= clips and count % clips == 0:
            assert max(times) <= 1
        # The filled-up group takes each of the others once more at most.
        assert max(times) <= -(-clips // count) + 1


@given(counts, st.integers(1, 3), st.integers(0, 9))
def test_processes_share_the_batches_of_one(own, clips, epoch):
    data = Labels(own)
    whole = PKSampler(data, 4, clips, seed=3, rank=0, world=1)
    halves = [PKSampler(data, 4, clips, seed=3, rank=rank, world=2) for rank in (0, 1)]
    for sampler in (whole, *halves):
        sampler.set_epoch(epoch)
    first, second = (list(half) for half in halves)
    size = 2 * clips
    merged = [
        draw
        for start in range(0, len(first), size)
        for draw in first[start : start + size] + second[start : start + size]
    ]
    assert merged == list(whole)


def test_the_plan_depends_on_seed_and_epoch_alone():
    def plan(seed, epoch):
        sampler = PKSampler(Labels([5] * 8), 4, 2, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert plan(0, 7) == plan(0, 7)
    assert plan(0, 7) != plan(0, 8)
    assert plan(0, 7) != plan(1, 7)


def test_every_item_has_a_key_of_its_own():
    sampler = PKSampler(Labels([3] * 6), 3, 4, seed=0)
    keys = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        keys += [draw.key for draw in sampler]
    assert len(set(keys)) == len(keys)


def test_all_tracklets_are_seen_over_a_few_epochs():
    sampler = PKSampler(Labels([3, 4, 5, 6, 7, 2]), 4, 4, seed=0)
    seen = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        seen |= {draw.index for draw in sampler}
    assert seen == set(range(27))


def test_too_few_identities_are_an_error_that_names_the_knob():
    with pytest.raises(PipelineError, match=r"takes 8 identities.*hold 3.*stage2\.identities"):
        PKSampler(Labels([2, 2, 2]), 8, 2, seed=0)


def test_clips_that_do_not_divide_over_the_processes_are_an_error():
    with pytest.raises(PipelineError, match="3 identities with 3 clips each do not divide over 2"):
        PKSampler(Labels([3] * 6), 3, 3, seed=0, rank=0, world=2)


def test_processes_may_share_an_identity():
    whole = list(PKSampler(Labels([2] * 6), 3, 2, seed=0))
    shares = [list(PKSampler(Labels([2] * 6), 3, 2, seed=0, rank=rank, world=2)) for rank in (0, 1)]
    batches = [whole[i : i + 6] for i in range(0, len(whole), 6)]
    halves = [[share[i : i + 3] for i in range(0, len(share), 3)] for share in shares]
    assert [a + b for a, b in zip(*halves, strict=True)] == batches


class Seen(Labels):
    """Tracklets of identities by day and by night: so many of each."""

    def __init__(self, counts: list[tuple[int, int]]) -> None:
        super().__init__([day + night for day, night in counts])
        spectra = [[*["visible"] * day, *["infrared"] * night] for day, night in counts]
        self.table = pd.DataFrame({"spectrum": [one for own in spectra for one in own]})


sides = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=4, max_size=8)


@given(sides, st.integers(1, 5), st.integers(0, 9))
def test_clips_are_split_evenly_over_the_spectra_of_an_identity(own, clips, epoch):
    data = Seen(own)
    sampler = PKSampler(data, 3, clips, seed=1, balance="spectrum")
    sampler.set_epoch(epoch)
    made = batches(sampler, 3 * clips)
    assert len(made) == sampler.batches
    for batch in made:
        drawn = Counter(data.labels[index] for index in batch)
        assert sorted(drawn.values()) == [clips] * 3
        for label in drawn:
            spectra = [data.table["spectrum"][i] for i in batch if data.labels[i] == label]
            day = spectra.count("visible")
            if own[label][0]:
                assert abs(day - (clips - day)) <= clips % 2
            else:
                assert day == 0


def test_an_odd_clip_goes_to_each_spectrum_in_turn():
    data = Seen([(6, 6)] * 4)
    drawn = [draw.index for draw in PKSampler(data, 4, 3, seed=0, balance="spectrum")]
    assert Counter(data.table["spectrum"][i] for i in drawn) == {"visible": 24, "infrared": 24}
    # So many places as tracklets: none comes twice.
    assert max(Counter(drawn).values()) == 1


def test_no_tracklet_comes_again_before_all_of_its_spectrum_have():
    data = Seen([(1, 7)] * 2)
    drawn = Counter(draw.index for draw in PKSampler(data, 2, 4, seed=0, balance="spectrum"))
    for i, spectrum in enumerate(data.table["spectrum"]):
        assert drawn[i] == 4 if spectrum == "visible" else drawn[i] <= 1


def test_identities_of_one_spectrum_are_counted_in_a_warning(capsys):
    PKSampler(Seen([(2, 2), (0, 3), (0, 1), (1, 1)]), 2, 2, seed=0, balance="spectrum")
    found = capsys.readouterr()
    assert "2 of 4 identities have one spectrum alone" in " ".join((found.out + found.err).split())


def test_without_a_balance_the_plan_is_as_it_was():
    data = Seen([(3, 3)] * 4)
    plain, asked = PKSampler(data, 2, 2, seed=0), PKSampler(data, 2, 2, seed=0, balance=None)
    assert list(plain) == list(asked)
