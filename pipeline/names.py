"""Read names of files and people as a person would: 2 before 10, 0001 as the number 1."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pipeline.errors import PipelineError

# People are numbered from 1. Distractors have one pid: they are ranked, but match nobody,
# not of each other either, and nobody to learn or to look for. Junk (boxes that miss the person) is
# never ranked.
DISTRACTOR, JUNK = 0, -1
# Larger numbers than a column holds are names.
_LARGEST_PID = 2**31 - 2
# 7, -1 and 0001, and 7.0 as pandas writes it in a column with gaps.
_NUMBER = re.compile(r"\s*(-?[0-9]+)(?:\.0*)?\s*")


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which numbers in names count as numbers.

    >>> sorted(["frame_10.jpg", "frame_2.jpg"], key=natural)
    ['frame_2.jpg', 'frame_10.jpg']
    """
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(int(digits), digits) if digits else (-1, text) for digits, text in parts]


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match a pattern, sorted, without hidden ones.

    Some systems put `._train-00000.parquet` beside train-00000.parquet.
    """
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))


def number_in(text: str) -> int | None:
    """Return the whole number that a text is, None where it is none.

    >>> number_in("0007"), number_in("-1.0"), number_in("7.5"), number_in("P7")
    (7, -1, None, None)
    """
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def whole_number(text: str, where: object) -> int:
    """Return the number that a text is.

    Raises:
        PipelineError: If it is none.
    """
    found = number_in(text)
    if found is None:
        raise PipelineError(f"{where}: expected a whole number, found {text!r}.")
    return found


def person_numbers(
    names: Iterable[str], where: object, nobody: Collection[int] = ()
) -> dict[str, int]:
    """Number the people of a dataset from 1, as every table has them.

    People keep their numbers where all names are numbers, and one more where the count starts at a
    person 0. Else they are numbered from 1 in the order of their names.

    Args:
        names: As the dataset writes them.
        where: The dataset's folder or file, for the errors.
        nobody: Those of DISTRACTOR and JUNK that the dataset uses; any other 0 is a person.

    Raises:
        PipelineError: If a name is empty, two are one number, or one is a negative number.

    >>> person_numbers(["0", "7", "12"], "", [DISTRACTOR])
    {'0': 0, '7': 7, '12': 12}
    >>> person_numbers(["0", "7", "12"], "")
    {'0': 1, '7': 8, '12': 13}
    >>> person_numbers(["0.0", "eve", "adam"], "", [DISTRACTOR])
    {'adam': 1, 'eve': 2, '0.0': 0}
    """
    found = {name: number_in(name) for name in sorted(set(names), key=natural)}
    _check(found, where, nobody)
    known = {
        name: number
        for name, number in found.items()
        if number is not None and number <= _LARGEST_PID
    }
    others = {name: number for name, number in known.items() if number in nobody}
    people = [name for name in found if name not in others]
    if known.keys() >= set(people):
        first = max(0, 1 - min((known[name] for name in people), default=1))
        numbers = others | {name: known[name] + first for name in people}
    else:
        numbers = others | {name: i for i, name in enumerate(people, 1)}
    return {name: numbers[name] for name in found}


def refuse_two_spellings(names: Iterable[str], where: object) -> None:
    """Refuse names that are one number, as 0001 and 1: are they one person, or two?

    Raises:
        PipelineError: If there are such names.
    """
    spelled: dict[int, str] = {}
    for name in names:
        number = number_in(name)
        if number in spelled:
            raise PipelineError(
                f"{where}: {spelled[number]} and {name} are one number. If they mean the same, "
                "spell it one way; else rename one of them"
            )
        if number is not None:
            spelled[number] = name


def camera_names(about: Mapping[str, str], where: object, fix: str) -> dict[int, str]:
    """Return what the cameras of a dataset are called in its files, by `camid`.

    Args:
        about: What a table says about itself: `cameras` holds a number by name, as JSON.
        where: The table, for the errors.
        fix: What to do when it is damaged.

    Raises:
        PipelineError: If `cameras` is something else.

    >>> camera_names({"cameras": '{"C4": 3}'}, "", ""), camera_names({}, "", "")
    ({3: 'C4'}, {})
    """
    try:
        found = json.loads(about.get("cameras", "{}"))
        names = {number: name for name, number in found.items() if type(number) is int}
        sound = len(names) == len(found)
    except (ValueError, AttributeError, RecursionError):
        sound, names = False, {}
    if not sound:
        raise PipelineError(f"{where} does not say what its cameras are called. {fix}")
    return names


def camera_name(names: Mapping[int, str], camid: int) -> str:
    """Return what a camera is called, its number where it has no name.

    >>> camera_name({3: "C4"}, 3), camera_name({}, 3)
    ('C4', '3')
    """
    return names.get(int(camid), str(camid))


def _check(found: dict[str, int | None], where: object, nobody: Collection[int]) -> None:
    for name, number in found.items():
        if not name.strip():
            raise PipelineError(f"{where}: a person has no name. Give it one, or a number")
        if number is not None and number < 0 and number not in nobody:
            raise PipelineError(f"{where}: {name} is no person. Number people from 1")
    refuse_two_spellings(found, where)
