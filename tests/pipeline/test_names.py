"""Names of people and files, read as their owner means them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.names import (
    DISTRACTOR,
    JUNK,
    natural,
    number_in,
    person_numbers,
    whole_number,
)
from pipeline.paths import file_name

NUMBERS = st.integers(1, 9999)
WORDS = st.text("abcxyz", min_size=1, max_size=4)


@given(st.lists(st.integers(0, 2000), min_size=1, unique=True), st.integers(1, 4))
def test_numbers_in_names_count_as_numbers_padded_or_not(numbers, width):
    names = [f"cam1_frame_{number:0{width}}.jpg" for number in numbers]
    expected = [f"cam1_frame_{number:0{width}}.jpg" for number in sorted(numbers)]
    assert sorted(names, key=natural) == expected


@given(st.lists(st.text(), unique=True))
def test_any_names_have_one_order(names):
    assert sorted(names, key=natural) == sorted(names[::-1], key=natural)


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("0007", 7), ("-1", -1), ("7.0", 7), ("-1.0", -1), (" 7 ", 7), ("7.", 7),
     ("7.5", None), ("7e0", None), ("1_0", None), ("+7", None), ("P7", None), ("", None),
     ("\u0667", None), ("nan", None)],
)  # fmt: skip
def test_a_whole_number_is_what_people_and_pandas_write(text, number):
    assert number_in(text) == number
    if number is None:
        with pytest.raises(PipelineError, match=re.escape("here: expected a whole number, found")):
            whole_number(text, "here")


@given(st.sets(NUMBERS, min_size=1), st.sampled_from(["{}", "{:05}", "{}.0"]), st.booleans())
def test_numbers_are_kept_and_nobody_stays_nobody(numbers, form, has_distractors):
    names = {form.format(number): number for number in numbers}
    nobody = {form.format(DISTRACTOR): DISTRACTOR, "-1": JUNK} if has_distractors else {}
    assert person_numbers([*names, *nobody], "", (DISTRACTOR, JUNK)) == names | nobody


@given(st.sets(NUMBERS), st.sets(WORDS, min_size=1), st.sampled_from(["{}", "{}.0"]))
def test_among_names_zero_is_a_distractor_still(numbers, words, form):
    people = {form.format(number) for number in numbers} | words
    nobody = {form.format(DISTRACTOR), form.format(JUNK)}
    found = person_numbers(people | nobody, "", (DISTRACTOR, JUNK))
    assert {found[name] for name in nobody} == {DISTRACTOR, JUNK}
    assert sorted(found[name] for name in people) == list(range(1, len(people) + 1))


@given(st.sets(NUMBERS))
def test_where_people_are_counted_from_zero_nobody_is_lost(numbers):
    found = person_numbers(map(str, {0, *numbers}), "")
    assert found == {str(number): number + 1 for number in {0, *numbers}}


@pytest.mark.parametrize("pair", [("0001", "1"), ("7", "7.0"), ("0", "0000"), ("-1", "-1.0")])
@pytest.mark.parametrize("others", [[], ["5"], ["adam"]])
def test_two_spellings_of_one_number_are_an_error_that_names_both(pair, others):
    with pytest.raises(PipelineError) as caught:
        person_numbers([*pair, *others], "data/raw/mine", (DISTRACTOR, JUNK))
    assert all(name in str(caught.value) for name in (*pair, "data/raw/mine"))


@pytest.mark.parametrize(("name", "nobody"), [("-1", ()), ("-2", (DISTRACTOR, JUNK)), (" ", ())])
def test_what_names_nobody_is_refused(name, nobody):
    with pytest.raises(PipelineError, match="mine: "):
        person_numbers([name, "5"], "mine", nobody)


@given(st.text())
def test_any_text_becomes_the_name_of_a_file_in_its_folder(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "names"
    folder.mkdir(exist_ok=True)
    file = folder / f"{file_name(text)}.png"
    assert file.parent == folder
    assert file.name == f"{file_name(text)}.png"
    assert not file.name.startswith(".")
    file.touch()
    file.unlink()


@given(st.lists(st.text("ab./\\%2F\0", min_size=0, max_size=6), unique=True))
def test_different_names_become_different_files(names):
    assert len({file_name(name) for name in names}) == len(names)


def test_long_names_become_different_short_ones():
    long = [file_name("ü" * 300 + end) for end in "ab"]
    assert long[0] != long[1]
    assert all(len(name.encode()) <= 200 for name in long)
