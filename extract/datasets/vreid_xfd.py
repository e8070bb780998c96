"""Read the unpacked trees of VReID-XFD (DetReIDX) and AG-VPReID, seen from drones and the ground.

Where: the challenge pages of VReID-XFD (Kaggle, `detreidxv1`) and AG-VPReID.

    train/0024/0024_5453/*.jpg
    case1_aerial_to_ground/{query,gallery}/0024/0024_5453/*.jpg    case2_ground_to_aerial,
                                                                   case3_aerial_to_aerial

`case` of the dataset in params.yaml chooses the test folder. A frame's name holds fields between
`_`, counted from 0: fewer than eight mean the ground (camera 0); else fields 6, 7 and 8 are
altitude and distance in metres and the angle in degrees, and the last but one is the session:
session 1 is camera 1, any other is camera 2. A tracklet is as its first frame says. The official
scorer takes every tracklet for a camera of its own, so nothing of the query's own camera is left
out, and so do we. It reports the trapezoid AP (`mAP_trapezoid`) while the training code next to it
prints the standard one. Test persons are anonymous on Kaggle; no counts are asserted.
"""

import re
from collections.abc import Iterator
from typing import Any

from extract.tracklets import DatasetFacts, ParserInput, Tracklet, from_folder, list_folders
from pipeline.errors import PipelineError, did_you_mean

SOURCE = "Get the challenge's archive (docs/datasets.md)."
# Files have no names of cameras: these say which is meant.
CAMERAS = ("ground", "aerial, session 1", "aerial, other sessions")
FACTS = DatasetFacts(source=SOURCE, same_camera_counts=True, camera=CAMERAS.__getitem__)
AERIAL_FIELDS = 8
MEASURED = ("altitude_m", "distance_m", "angle_deg")


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the training tracklets and those of one test case."""
    cases = [name for name in list_folders(reading.root) if name.startswith("case")]
    case = reading.case or (cases[0] if cases else "case1_aerial_to_ground")
    if reading.case and reading.case not in cases:
        raise PipelineError(
            f"{reading.root} has no test case {reading.case!r}. {did_you_mean(reading.case, cases)}"
        )
    folders = {"gallery": f"{case}/gallery", "query": f"{case}/query", "train": "train"}
    people = {
        split: list_folders(reading.file(folder, SOURCE)) for split, folder in folders.items()
    }
    pids = reading.number_people(name for names in people.values() for name in names)
    for split, folder in folders.items():
        for person in sorted(people[split], key=pids.__getitem__):
            for tracklet in list_folders(reading.root / folder / person):
                path = f"{folder}/{person}/{tracklet}"
                found = from_folder(reading, path, f"{split}_{tracklet}", pids[person], 0, split)
                if found:
                    yield found._replace(**_view(found.frames[0]))


def _view(path: str) -> dict[str, Any]:
    """Return what the name of a frame says of how it was seen: the columns of an index."""
    fields = path.rpartition("/")[2].rpartition(".")[0].split("_")
    if len(fields) < AERIAL_FIELDS:
        return {"camid": 0, "platform": "ground"}
    # Of a shorter name the session is one of the fields that would be a number.
    numbers = dict(zip(MEASURED, fields[6:-2], strict=False))
    found = {name: _number(text) for name, text in numbers.items()}
    return found | {"camid": 1 if fields[-2] == "1" else 2, "platform": "aerial"}


def _number(text: str) -> float | None:
    """Return a number, whatever unit stands behind it; None where there is none.

    >>> _number("80"), _number("5.8m"), _number("x")
    (80.0, 5.8, None)
    """
    found = re.match(r"\d+(\.\d+)?", text)
    return float(found[0]) if found else None
