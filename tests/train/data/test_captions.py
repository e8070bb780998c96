"""Sentences in a batch: which, in what numbers, and what is said where there are none."""

import re
from collections import Counter

import numpy as np
import pytest

from extract.captions import write
from extract.walkers.captions import COLOURS
from pipeline.errors import PipelineError
from tests.train.tiny import rows, write_shards
from train.data.captions import LENGTH, NUMBERS, Captions, numbered
from train.data.clips import ClipDataset

TRACKLETS = ["0001C1T0001", "0001C2T0001", "0002C1T0001", "0002C2T0001"]


@pytest.fixture
def table(tmp_path):
    def call(*said: tuple[str, str, list | None]):
        names = ("tracklet", "text", "embedding")
        made = [dict(zip(names, one, strict=True)) | {"source": "x"} for one in said]
        write(tmp_path / "tiny.parquet", made, "tiny")
        return tmp_path / "tiny.parquet"

    return call


def test_words_are_told_apart_by_their_letters_alone():
    assert numbered("A red coat, a RED hat.") == numbered("a red coat a red hat")
    assert numbered("red hat") == numbered("hat red")[::-1]
    assert numbered("Mütze") == numbered("mütze") != numbered("mutze")
    words = {word for name in COLOURS for word in name.split()}
    assert len({numbered(word)[0] for word in words}) == len(words)
    many = numbered(" ".join(f"w{i}" for i in range(100)))
    assert len(many) == LENGTH
    assert all(0 < one < NUMBERS for one in many)


def test_a_tracklet_gets_its_own_sentences_and_one_without_gets_zeros(table):
    file = table((TRACKLETS[2], "a red hat", [1.0, 2.0]), (TRACKLETS[0], "a bag", None))
    both = Captions(file, TRACKLETS, {"words", "text", "frames"})
    # Where embeddings are asked for, a sentence without one is none.
    assert both(2, None)["text"].tolist() == [1.0, 2.0]
    assert both(0, None)["text"].tolist() == [0.0, 0.0]
    words = Captions(file, TRACKLETS, {"words"})
    assert words(0, None).keys() == {"words"}
    assert words(0, None)["words"][:3].tolist() == [*numbered("a bag"), 0]
    assert not words(1, None)["words"].any()
    assert words(1, None)["words"].shape == words(0, None)["words"].shape == (LENGTH,)


def test_one_of_several_is_drawn_and_the_first_where_nothing_is_random(table):
    file = table(*((TRACKLETS[1], f"number {i}", None) for i in range(3)))
    words = Captions(file, TRACKLETS, {"words"})
    assert words(1, None)["words"][1] == numbered("0")[0]
    drawn = Counter(words(1, np.random.default_rng(seed))["words"][1].item() for seed in range(300))
    assert set(drawn) == {numbered(str(i))[0] for i in range(3)}
    assert min(drawn.values()) > 60


def test_a_data_set_brings_them_to_those_who_need_them(tmp_path, table):
    folder = write_shards(tmp_path / "tiny", rows({"train": [1, 2]}))
    file = table((TRACKLETS[2], "a red hat", None))
    options = {"root": str(folder), "clip_frames": 2, "frame_size": (16, 8)}
    with_words = ClipDataset(**options, needs=["frames", "words"], captions=str(file))
    at = with_words.table["tracklet"].tolist().index(TRACKLETS[2])
    said = numbered("a red hat")
    assert with_words[at]["inputs"]["words"][: len(said)].tolist() == said
    assert "words" not in ClipDataset(**options, captions=str(file))[at]["inputs"]


def test_nothing_said_of_the_tracklets_is_an_error_before_anything_runs(tmp_path, table):
    folder = write_shards(tmp_path / "tiny", rows({"train": [1, 2]}))
    options = {"root": str(folder), "clip_frames": 2, "frame_size": (16, 8)}
    file = table(("0009C1T0001", "a red hat", None), (TRACKLETS[0], "a hat", None))
    with pytest.raises(PipelineError, match=re.escape("with an embedding each")):
        ClipDataset(**options, needs=["text"], captions=str(file))
    with pytest.raises(PipelineError, match="is told of none"):
        ClipDataset(**options, needs=["words"])
    ClipDataset(**options, needs=["words"], captions=str(file))
