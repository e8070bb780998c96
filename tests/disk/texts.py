"""Texts that another editor, or a person in a hurry, could have written: JSON, YAML, lines."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

VALUES = [
    None, [], {}, "", "x", "../x", 0, -1, 7.5, 10**30, float("nan"), float("inf"), True, [None],
    {"a": None}, [[1]], "NaN", "7", 40_000, "\0", "é",
]  # fmt: skip


def _places(node: Any, above: tuple = ()) -> Iterator[tuple]:
    """Yield the way to every value, however deep."""
    yield above
    inside = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in inside:
        yield from _places(value, (*above, key))


def _holder(node: Any, place: tuple) -> Any:
    for key in place[:-1]:
        node = node[key]
    return node


def _changed(node: Any, rng: random.Random) -> tuple[Any, object]:
    """Give a value another one, take it away, or add one beside it."""
    place = rng.choice(list(_places(node)))
    value = rng.choice(VALUES)
    if not place:
        return rng.choice([value, [node], {"a": node}]), "all of it"
    holder, key = _holder(node, place), place[-1]
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = value
    elif kind == 2 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = value
    return node, (".".join(map(str, place)), kind, value)


def another_json(file: Path, rng: random.Random) -> object:
    node, said = _changed(json.loads(file.read_text()), rng)
    _write(file, json.dumps(node).encode())
    return said


def another_yaml(file: Path, rng: random.Random) -> object:
    node, said = _changed(yaml.safe_load(file.read_text()), rng)
    _write(file, yaml.safe_dump(node).encode())
    return said


def deep(file: Path, rng: random.Random) -> None:
    _write(file, b"[" * 3000 + b"]" * 3000)


def with_a_key_twice(file: Path, rng: random.Random) -> object:
    lines = file.read_text().splitlines(keepends=True)
    at = rng.randrange(len(lines)) if lines else 0
    _write(file, "".join(lines[:at] + lines[at : at + 1] * 2 + lines[at + 1 :]).encode())
    return at


def with_a_tab(file: Path, rng: random.Random) -> None:
    _write(file, file.read_text().replace("  ", "\t", 1).encode())


def with_an_odd_tag(file: Path, rng: random.Random) -> None:
    _write(file, b"!!python/object/apply:os.system ['true']\n")


def as_utf16(file: Path, rng: random.Random) -> None:
    _write(file, file.read_text().encode("utf-16"))


def with_a_mark(file: Path, rng: random.Random) -> None:
    _write(file, file.read_text().encode("utf-8-sig"))


def with_bytes_of_no_text(file: Path, rng: random.Random) -> object:
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice([b"\xff", b"\x00", b"\xe9", b"\x00" * 40, b"\x1b", b"\xc3"])
    _write(file, data)
    return at


def with_another_word(file: Path, rng: random.Random) -> object:
    """Change one cell of one line."""
    lines = file.read_text().splitlines()
    at = rng.randrange(len(lines)) if lines else 0
    if not lines:
        return at
    cut = next((one for one in ("\t", ",", " ") if one in lines[at]), " ")
    words = lines[at].split(cut)
    place = rng.randrange(len(words))
    words[place] = rng.choice(
        ["", "x", "-1", "0", "7.5", "99999999999", "NaN", '"', "a b", "../..", "1e400", "é"]
    )
    lines[at] = cut.join(words)
    _write(file, ("\n".join(lines) + "\n").encode())
    return at, lines[at]


def with_a_word_less(file: Path, rng: random.Random) -> object:
    lines = file.read_text().splitlines()
    at = rng.randrange(len(lines)) if lines else 0
    if lines:
        lines[at] = lines[at][: len(lines[at]) // 2]
    _write(file, ("\n".join(lines) + "\n").encode())
    return at


def with_a_word_more(file: Path, rng: random.Random) -> object:
    lines = file.read_text().splitlines()
    at = rng.randrange(len(lines)) if lines else 0
    if lines:
        lines[at] += rng.choice([",x", "\tx", " x", ",,,,,"])
    _write(file, ("\n".join(lines) + "\n").encode())
    return at


def without_a_line(file: Path, rng: random.Random) -> object:
    lines = file.read_text().splitlines(keepends=True)
    at = rng.randrange(len(lines)) if lines else 0
    _write(file, "".join(lines[:at] + lines[at + 1 :]).encode())
    return at


def with_empty_lines(file: Path, rng: random.Random) -> None:
    _write(file, b"\n\n" + file.read_bytes() + b"\n \n")


def with_lines_of_another_system(file: Path, rng: random.Random) -> None:
    _write(file, file.read_bytes().replace(b"\n", rng.choice([b"\r\n", b"\r"])))


def in_another_order(file: Path, rng: random.Random) -> None:
    lines = file.read_text().splitlines()
    rng.shuffle(lines)
    _write(file, ("\n".join(lines) + "\n").encode())


def _write(file: Path, data: bytes | bytearray) -> None:
    file.unlink()
    file.write_bytes(data)


_TEXT = [as_utf16, with_a_mark, with_bytes_of_no_text, with_lines_of_another_system]
JSON = [another_json, another_json, another_json, another_json, deep, *_TEXT]
YAML = [
    another_yaml, another_yaml, another_yaml, another_yaml, with_a_key_twice, with_a_tab,
    with_an_odd_tag, deep, *_TEXT,
]  # fmt: skip
LINES = [
    with_another_word, with_another_word, with_another_word, with_a_word_less, with_a_word_more,
    without_a_line, with_a_key_twice, with_empty_lines, in_another_order, *_TEXT,
]  # fmt: skip
