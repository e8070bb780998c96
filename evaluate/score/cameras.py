"""What cameras are called, in the scores of each pair of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import schema
from pipeline.names import camera_name, camera_names

if TYPE_CHECKING:
    from pipeline.params.config import Params


def cameras_of(
    params: "Params", index: Path | None, names: dict[str, dict[str, int]]
) -> dict[int, str]:
    """Return what cameras are called, by `camid`.

    Args:
        params: The knobs.
        index: Of the dataset, which says how its files call them; None for a table from elsewhere.
        names: Names in the table of features that were given numbers; those of cameras come first.

    Raises:
        PipelineError: If the index is missing or damaged.
    """
    if index is None or "camid" in names:
        return {number: name for name, number in names.get("camid", {}).items()}
    rebuild = params.rebuild("index", index.stem)
    found = schema.check(index, schema.INDEX, rebuild)
    return camera_names(schema.metadata(found), index, f"Run: {rebuild}")


def with_cameras(pair: dict[str, Any], cameras: dict[int, str]) -> dict[str, Any]:
    """Return the scores of a pair of cameras with what both are called."""
    sides = ("query", "gallery")
    return pair | {f"{one}_camera": camera_name(cameras, pair[f"{one}_camid"]) for one in sides}


def told_names(names: dict[str, dict[str, int]], cameras: dict[int, str]) -> dict[str, str]:
    """Return what ranked lists say of persons and cameras that have names elsewhere."""
    told = {f"{key}_names": json.dumps(known) for key, known in names.items()}
    numbers = {name: camid for camid, name in cameras.items()}
    return told | ({"cameras": json.dumps(numbers)} if numbers else {})
