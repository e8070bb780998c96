"""Read CCVID, where people change clothes.

Where: github.com/guxinqian/Simple-CCReID (Gu et al., "Clothes-Changing Person Re-identification
with RGB Modality Only", CVPR 2022). CC BY-NC-SA 4.0; faces must be masked where shown.

    session{1,2,3}/001_01/00001.jpg           person, camera 1..12
    {train,query,gallery}.txt                 "session1/001_01<TAB>001<TAB>u0_l0_s0_c0_a0"

The last column names the clothes and means something for one person only. Cameras of session 3
are others: 12 is added to their number. Train: 948 tracklets of 75 persons in 159 outfits. Test:
834 queries and 1,074 gallery tracklets of 151 persons; scored three ways (docs/protocol.md).
"""

from collections.abc import Iterator
from pathlib import Path

from extract.tracklets import DatasetFacts, ParserInput, Tracklet, from_folder
from pipeline.errors import PipelineError
from pipeline.files import texts
from pipeline.names import whole_number

SOURCE = "Ask the authors for CCVID (docs/datasets.md)."
SESSION_3_CAMERAS = 12


def _camera(camid: int) -> str:
    """Return a camera as names of folders have it: 04, or session3/04."""
    session, number = divmod(camid, SESSION_3_CAMERAS)
    return f"{'session3/' * (session == 1)}{number + 1:02}"


FACTS = DatasetFacts(
    source=SOURCE,
    published={
        "train_tracklets": 948,
        "train_pids": 75,
        "query_tracklets": 834,
        "query_pids": 151,
        "gallery_tracklets": 1074,
        "gallery_pids": 151,
    },
    camera=_camera,
)


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the three lists."""
    lines = {
        split: _lines(reading.file(f"{split}.txt", SOURCE))
        for split in ("gallery", "query", "train")
    }
    pids = reading.number_people(person for listed in lines.values() for person, *_ in listed)
    outfits = sorted({(pids[p], clothes) for listed in lines.values() for p, _, clothes in listed})
    number = {outfit: i for i, outfit in enumerate(outfits)}
    for split, listed in lines.items():
        named = sorted((pids[person], folder, clothes) for person, folder, clothes in listed)
        for pid, folder, clothes in named:
            camid = whole_number(folder.rpartition("_")[2], reading.root / folder) - 1
            if folder.startswith("session3"):
                camid += SESSION_3_CAMERAS
            name = folder.replace("/", "_")
            if found := from_folder(reading, folder, name, pid, camid, split):
                yield found._replace(clothes=number[pid, clothes])


def _lines(path: Path) -> list[tuple[str, str, str]]:
    """Return person, folder and clothes of every line."""
    lines = []
    for number, line in enumerate(texts.lines(path, SOURCE), 1):
        if not line.strip():
            continue
        try:
            folder, person, clothes = (cell.strip() for cell in line.split("\t"))
            whole_number(folder.rpartition("_")[2], f"{path}:{number}")
            lines.append((person, folder, clothes))
        except ValueError:
            raise PipelineError(
                f'{path}:{number}: {line[:80]!r} is not "<folder> <pid> <clothes>". {SOURCE}'
            ) from None
    return lines
