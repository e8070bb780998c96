"""Read the Kinect Gait Biometry Dataset (Kinect V1, 20 joints).

Where: the authors, by way of ResearchGate (Andersson and Araujo, "Person Identification Using
Anthropometric and Gait Data from Kinect Sensor", AAAI 2015).

    kinect gait raw dataset/Person001/1.txt      a walk of one person: 20 lines per frame
                                                 joint;x;y;z, in metres

164 persons, five walks of most. There is no official split: of each person two walks, drawn by
chance, are the gallery, another is the query and the rest is for training; where there are only
three walks, one of each. `index.split_id` is the seed; public code draws without one, so its
numbers belong to a split that nobody knows.

The first and the last ten frames of a walk are left out; there is no tracking state. Sequences do
not overlap, in training neither.

Known faults: person 15 has three walks, others four or six. Joints come from the head down, right
before left; the public preprocessing puts the right side where Kinect V1's order has the left,
which a symmetric graph does not notice. Here they stand where their names belong.
"""

from collections.abc import Iterator

import numpy as np

from extract.kinect import CUT, FRAMES, Recording, deal, read_skeletons
from extract.tracklets import DatasetFacts, ParserInput, list_folders
from pipeline.names import listed, natural
from pipeline.skeleton import KINECT20

SOURCE = "Give the folder that holds 'kinect gait raw dataset' (docs/datasets.md)."
FACTS = DatasetFacts(
    source=SOURCE,
    published={"train_pids": 164},
    same_camera_counts=True,
    random_splits=10,
    shared_people="usual",
)
JOINTS = KINECT20
TRAIN_STEP = FRAMES
FOLDER = "kinect gait raw dataset"
PREFIX = "Person"
# Line of each joint of the layout. The file's order is head, shoulder centre, shoulders, elbows,
# wrists, hands, spine, hip centre, hips, knees, ankles, feet; right before left.
_LINES = [11, 10, 1, 0, 3, 5, 7, 9, 2, 4, 6, 8, 13, 15, 17, 19, 12, 14, 16, 18]


def recordings(reading: ParserInput) -> Iterator[Recording]:
    """Yield one recording per walk."""
    root = reading.file(FOLDER, SOURCE)
    names = [name for name in list_folders(root) if name.startswith(PREFIX)]
    pids = reading.number_people(name.removeprefix(PREFIX) for name in names)
    people = {pids[name.removeprefix(PREFIX)]: name for name in names}
    dealt = {}
    for pid, name in sorted(people.items()):
        walks = sorted((file.name for file in listed(root / name, "*.txt")), key=natural)
        if not walks:
            reading.missing.append(f"{FOLDER}/{name}/ (no *.txt)")
        dealt[pid] = deal(
            list(enumerate(walks, 1)), reading.split_id, pid, lambda count: 2 if count > 3 else 1
        )
    for split in ("gallery", "query", "train"):
        for pid, parts in dealt.items():
            for number, walk in parts[split]:
                file = f"{FOLDER}/{people[pid]}/{walk}"
                xyz = read_skeletons(reading.root / file, ";", (1, 2, 3), len(JOINTS.joints))
                kept = np.arange(len(xyz), dtype=np.int32)[CUT:-CUT]
                name = f"{pid:04}_{number:02}"
                files = [file] * len(kept)
                yield Recording(name, pid, 0, split, files, kept, xyz[kept][:, _LINES])
