"""Read rendered walkers: the layout of MARS, and beside it what is true of each tracklet.

    bbox_train/, bbox_test/, info/          as in MARS
    truth.parquet                           a row for each frame; of it are read: tracklet, outfit
                                            and, where a world has them, spectrum, platform,
                                            altitude_m, distance_m, angle_deg

An outfit becomes `clothes`. The rules are those of MARS.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from extract.datasets import mars
from extract.tracklets import ParserInput, Tracklet
from pipeline.files import tables
from pipeline.schema import INDEX, VIEW

SOURCE = "Run: python -m extract.walkers"
FACTS = replace(mars.FACTS, source=SOURCE, published={})


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the rendered split, without junk."""
    facts = _facts(reading)
    for tracklet in mars.read(reading):
        yield tracklet._replace(**facts.get(tracklet.tracklet, {}))


def _facts(reading: ParserInput) -> dict[str, dict[str, Any]]:
    path = reading.file("truth.parquet", SOURCE)
    there = tables.read_schema(path, SOURCE).names
    columns = {"outfit": "clothes"} | {name: name for name in VIEW if name in there}
    kinds = {name: INDEX.field(column).type for name, column in columns.items()}
    kinds["tracklet"] = INDEX.field("tracklet").type
    rows = tables.read_as(path, kinds, SOURCE).to_pylist()
    return {row["tracklet"]: {columns[name]: row[name] for name in columns} for row in rows}
