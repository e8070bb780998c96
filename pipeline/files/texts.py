"""Files of text, whoever wrote them: plain lines, CSV, JSON, YAML."""

import codecs
import csv
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, did_you_mean
from pipeline.files.reading import reading

# The longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What every scores.json says.
SCORES: dict[str, Any] = {
    **dict.fromkeys(("mAP", "rank1", "rank5", "rank10", "rank20", "mINP"), int | float),
    **dict.fromkeys(("queries", "queries_scored", "gallery"), int),
    **dict.fromkeys(("dataset", "protocol"), str),
}
_DELIMITERS = (",", ";", "\t")


def read(path: Path, fix: str) -> str:
    """Return the text of a file: UTF-8, what its mark says, else UTF-16 or Latin-1.

    Raises:
        PipelineError: If the file is missing or no text.
    """
    with reading(path, "text", fix):
        return _decoded(path.read_bytes())


def _decoded(data: bytes) -> str:
    r"""Return bytes as text.

    >>> _decoded("é".encode("utf-16")), _decoded("é\n".encode("utf-16-le")), _decoded(b"\xe9")
    ('é', 'é\n', 'é')
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding)
    if b"\0" in data:
        # Every other byte of Western text in UTF-16 is zero.
        encoding = "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
        if len(data) % 2 or data.count(0) < len(data) // 4:
            raise ValueError("it holds zero bytes")
        found = data.decode(encoding)
        if "\0" in found:
            raise ValueError("it holds zero bytes")
        return found
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def lines(path: Path, fix: str) -> list[str]:
    """Return the lines of a file, whatever ends them; empty ones stay, so that numbers are right.

    Raises:
        PipelineError: If the file is missing or no text.
    """
    found = read(path, fix).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return found[:-1] if not found[-1] else found


def read_number(path: Path) -> float | None:
    """Return the number that a file of notes holds; None where it holds none, or is not there."""
    try:
        number = float(read(path, ""))
    except (PipelineError, ValueError):
        return None
    return number if 0 < number < 1e12 else None


def read_json(path: Path, fix: str) -> Any:
    """Return what a JSON file holds.

    Raises:
        PipelineError: If the file is missing or no JSON.
    """
    text = read(path, fix)
    with reading(path, "JSON", fix):
        return json.loads(text)


def read_yaml(path: Path, fix: str) -> Any:
    """Return what a YAML file holds.

    Raises:
        PipelineError: If the file is missing or no YAML.
    """
    import yaml

    text = read(path, fix)
    with reading(path, "YAML", fix):
        return yaml.safe_load(text)


def mapping(path: Path, found: Any, fix: str) -> dict[str, Any]:
    """Return what was read, which must be names with values.

    Raises:
        PipelineError: If it is something else.
    """
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise PipelineError(f"{path} does not hold names with values. {fix}")
    return found


def read_csv(path: Path, columns: Collection[str], fix: str) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a table with a header, each with the number of its line.

    The cells may be separated by commas, semicolons or tabs. Empty lines are left out.

    Args:
        path: The file.
        columns: Those that it must have; more may be there.
        fix: What to do.

    Raises:
        PipelineError: If the file is missing, no table, lacks a column, or a row has more or fewer
            cells than the header.
    """
    text = lines(path, fix)
    header = next((line for line in text if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    with reading(path, "CSV table", fix):
        parsed = csv.reader(text, delimiter=delimiter, strict=True)
        rows = [(parsed.line_num, row) for row in parsed if any(cell.strip() for cell in row)]
    names = [name.strip() for name in rows[0][1]] if rows else []
    for column in columns:
        if column not in names:
            raise PipelineError(f"{path} has no column {column}. {did_you_mean(column, names)}")
    if len(set(names)) < len(names):
        raise PipelineError(f"{path}: a column stands twice in its header. {fix}")
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise PipelineError(
                f"{path}:{number}: {len(row)} cells, and the header has {len(names)}. {fix}"
            )
    return [
        (number, dict(zip(names, (cell.strip() for cell in row), strict=True)))
        for number, row in rows[1:]
    ]


def read_scores(path: Path, fix: str) -> dict[str, Any]:
    """Return what a scores.json holds.

    Raises:
        PipelineError: If the file is missing or damaged, or lacks a number that all scores have.
    """
    found = mapping(path, read_json(path, fix), fix)
    for key, kind in SCORES.items():
        if not isinstance(found.get(key), kind) or isinstance(found[key], bool):
            raise PipelineError(f"{path} does not say {key}. {fix}")
    return found
