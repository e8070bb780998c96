"""What the files of a dataset call its cameras."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def note_cameras(
    tracklets: Iterable[Any], cameras: dict[str, int], camera: Callable[[int], str]
) -> Iterator[Any]:
    """Pass tracklets on, noting what their cameras are called unless the parser did so itself.

    Args:
        tracklets: Each with a `camid`.
        cameras: Numbers by name, to add to.
        camera: Says the name of a number.
    """
    known = set(cameras.values())
    for tracklet in tracklets:
        # A parser knows its cameras only when it has begun to read.
        if tracklet.camid not in known and tracklet.camid not in cameras.values():
            cameras[camera(tracklet.camid)] = tracklet.camid
        known.add(tracklet.camid)
        yield tracklet


def told_cameras(cameras: Mapping[str, int]) -> dict[str, str]:
    """Return names of cameras as a table carries them; nothing where they are the numbers.

    >>> told_cameras({"C4": 3, "C1": 0}), told_cameras({"0": 0})
    ({'cameras': '{"C1": 0, "C4": 3}'}, {})
    """
    if all(name == str(camid) for name, camid in cameras.items()):
        return {}
    return {"cameras": json.dumps(dict(sorted(cameras.items(), key=lambda one: one[1])))}
