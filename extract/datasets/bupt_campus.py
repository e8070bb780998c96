"""Read BUPTCampus: people seen in visible and in infrared light, in pairs of one walk.

Where: the authors of "Video-based Visible-Infrared Person Re-Identification with Auxiliary Samples"
(Du et al., IEEE TIFS 2023), for research on request.

    DATA/1/RGB/LS3/1_RGB_LS3_1_1.jpg         person, modality, camera, tracklet, frame
    data_paths.json                          frames, by person, modality, camera and tracklet
    train.txt, query.txt, gallery.txt        one tracklet per line: person modality camera tracklet
    train_auxiliary.txt                      seen by one camera alone; `case: auxiliary` adds them

1,074 persons are trained on and 1,076 tested; 930 more are auxiliary. FakeIR, made of the visible
frames, is left out. The authors leave nothing of the own camera out. Infrared is searched in
visible, which is the headline, and the way back.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from extract.rules import BY_SPECTRUM
from extract.tracklets import DatasetFacts, ParserInput, Tracklet, last_number
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files import texts
from pipeline.files.reading import reading as reading_file

SOURCE = "Ask its authors for the frames and lists (docs/datasets.md)."
FACTS = DatasetFacts(
    source=SOURCE,
    published={"train_pids": 1074, "gallery_pids": 1076},
    same_camera_counts=True,
    searches=(replace(BY_SPECTRUM[0], name=""), *BY_SPECTRUM),
)
SPECTRA = {"RGB": "visible", "IR": "infrared"}
AUXILIARY = "auxiliary"
Line = tuple[str, str, str, str]


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the official split."""
    if reading.case not in (None, AUXILIARY):
        raise PipelineError(
            f"{reading.root} has no case {reading.case!r}. "
            + did_you_mean(reading.case, [AUXILIARY])
        )
    more = ["train_auxiliary"] if reading.case else []
    lists = {"gallery": ["gallery"], "query": ["query"], "train": ["train", *more]}
    found = {
        split: [one for name in own for one in _lines(reading, name)]
        for split, own in lists.items()
    }
    path = reading.file("data_paths.json", SOURCE)
    with reading_file(path, "JSON mapping of frames", SOURCE):
        frames: dict[str, Any] = dict(json.loads(texts.read(path, SOURCE)))
    every = [one for own in found.values() for one in own]
    pids = reading.number_people(person for person, *_ in every)
    cameras = {name: i for i, name in enumerate(sorted({camera for _, _, camera, _ in every}))}
    reading.notes["cameras"] = json.dumps(cameras)
    for split, own in found.items():
        # A tracklet may be a query and in the gallery: searches across spectra never meet it.
        made = [
            Tracklet(
                f"{split}_{'_'.join(one)}", pids[one[0]], cameras[one[2]], split,
                *_frames(reading, frames, one), spectrum=SPECTRA[one[1]],
            )
            for one in own
        ]  # fmt: skip
        yield from sorted(made, key=lambda one: one.key)


def _lines(reading: ParserInput, name: str) -> list[Line]:
    """Return person, modality, camera and tracklet of the lines of a list, without FakeIR."""
    path = reading.file(f"{name}.txt", SOURCE)
    found = []
    for number, line in enumerate(texts.read(path, SOURCE).splitlines(), 1):
        fields = line.split()
        if not fields or fields[1:2] == ["FakeIR"]:
            continue
        if len(fields) != 4 or fields[1] not in SPECTRA:
            raise PipelineError(
                f"{path}:{number}: expected person, RGB or IR, camera and tracklet, found "
                f"{line!r}. {SOURCE}"
            )
        person, modality, camera, tracklet = fields
        found.append((person, modality, camera, tracklet))
    return found


def _frames(reading: ParserInput, known: dict[str, Any], line: Line) -> tuple[list[str], list[int]]:
    """Return the paths and numbers of a tracklet's frames."""
    names: Any = known
    for key in line:
        names = names.get(key) if isinstance(names, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PipelineError(
            f"{reading.root}/data_paths.json has no frames of {' '.join(line)}, which a list "
            f"names: they do not belong together. {SOURCE}"
        )
    person, modality, camera, _ = line
    # However much of the path the file writes, frames lie in one place.
    names = [name.replace("\\", "/").rpartition("/")[2] for name in names]
    folder = f"DATA/{person}/{modality}/{camera}"
    numbers = [last_number(name, i + 1) for i, name in enumerate(names)]
    return [f"{folder}/{name}" for name in names], numbers
