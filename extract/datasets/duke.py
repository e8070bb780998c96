"""Read DukeMTMC-VideoReID.

Where: withdrawn by its owners; for those who have it (Wu et al., "Exploit the Unknown Gradually",
CVPR 2018). Non-commercial licence.

    {train,query,gallery}/0001/0009/0001_C6_F0099_X30823.jpg    also 0001C6F0099X30823.jpg

Person, tracklet, camera 1..8, frame in the tracklet, frame of the video; D instead of X marks a
distractor, who keeps an own person number. One frame in twelve was kept. Train: 702 persons,
2,196 tracklets. Test: 702 queries, 2,636 gallery tracklets of 1,110 persons, 408 of them
distractors.

Known faults: some tracklets start at F0002 and skip numbers, so names cannot be made up; one test
tracklet has a single frame.
"""

import re
from collections.abc import Iterator

from extract.tracklets import DatasetFacts, ParserInput, Tracklet, from_folder, list_folders
from pipeline.errors import PipelineError

SOURCE = "The dataset was withdrawn: docs/datasets.md."


def _camera(camid: int) -> str:
    """Return a camera as names of frames have it: C6."""
    return f"C{camid + 1}"


FACTS = DatasetFacts(
    source=SOURCE,
    published={
        "train_pids": 702,
        "train_tracklets": 2196,
        "query_pids": 702,
        "query_tracklets": 702,
        "query_frames": 111_848,
        "gallery_pids": 1110,
        "gallery_tracklets": 2636,
        "gallery_frames": 445_764,
    },
    camera=_camera,
)
NAME = re.compile(r"^(\d{4})_?C(\d)_?F(\d{4})_?[XD](\d+)\.\w+$")


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the three folders."""
    splits = ("gallery", "query", "train")
    people = {split: list_folders(reading.file(split, SOURCE)) for split in splits}
    pids = reading.number_people(name for names in people.values() for name in names)
    for split in splits:
        for person in sorted(people[split], key=pids.__getitem__):
            for tracklet in list_folders(reading.root / split / person):
                found = from_folder(
                    reading,
                    f"{split}/{person}/{tracklet}",
                    f"{split}_{person}_{tracklet}",
                    pids[person],
                    0,
                    split,
                )
                if found:
                    yield _with_camera(found)


def _with_camera(tracklet: Tracklet) -> Tracklet:
    matches = [NAME.match(frame.rpartition("/")[2]) for frame in tracklet.frames]
    cameras = {match and match[2] for match in matches}
    if None in cameras or len(cameras) > 1:
        raise PipelineError(
            f"{tracklet.frames[0]} and its neighbours are not frames of one camera, named "
            f"0001_C6_F0099_X30823.jpg. {SOURCE}"
        )
    numbers = [int(match[3]) for match in matches if match]
    return tracklet._replace(camid=int(cameras.pop()) - 1, frame_numbers=numbers)
