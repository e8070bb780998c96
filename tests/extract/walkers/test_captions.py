import json

import numpy as np
import pytest

from extract.walkers.captions import COLOURS, colour_word, sentence, words, write_captions
from extract.walkers.person import Clothes, Face
from extract.walkers.plan import tracklets
from tests.extract.walkers.test_worlds import knobs


def true_words(seed):
    rng = np.random.default_rng(seed)
    return words(Clothes.sample(rng), Face.sample(rng))


@pytest.mark.parametrize("word", COLOURS)
def test_each_colour_has_its_own_word(word):
    assert colour_word(np.array(COLOURS[word], float)) == word


def test_without_errors_each_word_is_said():
    for seed in range(20):
        true = true_words(seed)
        text = sentence(true, 0.0, np.random.default_rng(seed)).lower()
        assert all(word.lower() in text for word in true.values())


def test_words_are_wrong_as_often_as_asked_for():
    wrong = []
    for seed in range(400):
        true = {"top": "red", "garment": "coat", "bottom": "blue", "trousers": "skirt",
                "shoe": "white", "hair": "long hair", "bag": "", "hat": ", a cap"}  # fmt: skip
        text = sentence(true, 0.25, np.random.default_rng(seed)).lower()
        wrong += ["skirt" not in text, "long hair" not in text, "a cap" not in text]
    assert abs(np.mean(wrong) - 0.25) < 0.04


def test_a_line_for_each_tracklet_the_same_each_time(tmp_path):
    chosen = knobs("walkers.captions=true")
    planned = tracklets(chosen)
    for name in ("one", "two"):
        write_captions(tmp_path / name, planned, chosen)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "one").read_text().splitlines()]
    assert [line["tracklet"] for line in lines] == [t.name for t in planned]
    assert all(line["text"] and line["source"] == "walkers" for line in lines)
