"""Who is who in a table of features from anywhere: numbers, or names that get numbers."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import PipelineError
from pipeline.names import (
    DISTRACTOR,
    JUNK,
    natural,
    number_in,
    person_numbers,
    refuse_two_spellings,
)

if TYPE_CHECKING:
    import pyarrow as pa

# What the columns of per_query.parquet hold.
_LARGEST = {"pid": 2**31 - 1, "camid": 2**15 - 1, "clothes": 2**31 - 1, "split_id": 2**7 - 1}


def ids(table: "pa.Table", name: str, where: str) -> tuple[np.ndarray, dict[str, int]]:
    """Return a column of ids as int64, and the number that each name was given.

    Whole numbers are taken as they are, also as text or as 7.0. Other texts are numbered: persons
    as everywhere (`pipeline.names`), the rest from 0 in natural order.

    Raises:
        PipelineError: If a number is no whole one or too large, or a name is empty.
    """
    import pyarrow as pa

    column = table[name]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _named(column.to_pylist(), name, where)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise PipelineError(f"{where}: {name} is of type {kind}. Give numbers or names")
    values = column.to_numpy()
    odd = values[~(np.isfinite(values) & (np.floor(values) == values))]
    if len(odd):
        raise PipelineError(f"{where}: {name} {odd[0]} is no whole number")
    largest = _LARGEST[name]
    odd = values[(values > largest) | (values < -largest)]
    if len(odd):
        raise PipelineError(
            f"{where}: {name} {odd[0]} is too large, the largest that there can be is {largest}"
        )
    return values.astype(np.int64), {}


def _named(texts: list[str], name: str, where: str) -> tuple[np.ndarray, dict[str, int]]:
    where = f"{where}: {name}"
    if name == "pid":
        numbers = person_numbers(texts, where, [DISTRACTOR, JUNK])
    else:
        known = sorted(set(texts), key=natural)
        refuse_two_spellings(known, where)
        found = {text: number_in(text) for text in known}
        is_number = all(
            number is not None and abs(number) <= _LARGEST[name] for number in found.values()
        )
        numbers = found if is_number else {text: i for i, text in enumerate(known)}
    changed = {text: number for text, number in numbers.items() if number != number_in(text)}
    return np.array([numbers[text] for text in texts], np.int64), numbers if changed else {}
