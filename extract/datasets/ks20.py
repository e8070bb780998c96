"""Read KS20 VisLab Multi-View Kinect skeletons (Kinect V2, 25 joints), as text.

Where: VisLab, Instituto Superior Tecnico, Lisbon (Nambiar et al., "Context-Aware Person
Re-Identification in the Wild via Fusion of Gait and Anthropometric Features", FG 2017). It is
distributed as MATLAB files; the text form below is what TranSG's preprocessing reads.

    frontal/gc1_body1_<time>*             a file per frame, 25 lines: joint,x,y,z,...
    left_diagonal/, left_lateral/, right_diagonal/, right_lateral/

20 persons (bodies 1 to 24 with gaps), three occasions (gc1 to gc3), five views. There is no
official split: of each person one occasion, drawn by chance, is the gallery and another the query,
in all views; the third is for training. `index.split_id` is the seed, where the public code draws
without one. The view is the camera, and is not looked at in ranking.

No frame is left out, and there is no tracking state. Training sequences start at every frame, as in
`extract.datasets.biwi`; no sequence crosses from one recording to the next.

Known faults: names sort as text, so that the public preprocessing takes time 10 for earlier than 9.
It also looks at the occasion of the *next* recording to decide what a recording is for, and drops
the last one of each view.
"""

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from extract.kinect import Recording, deal, read_skeletons
from extract.tracklets import DatasetFacts, ParserInput
from pipeline.errors import PipelineError
from pipeline.names import natural
from pipeline.skeleton import KINECT25

SOURCE = "Give the folder that holds frontal, left_diagonal, ... (docs/datasets.md)."
VIEWS = ("frontal", "left_diagonal", "left_lateral", "right_diagonal", "right_lateral")
FACTS = DatasetFacts(
    source=SOURCE,
    published={"train_pids": 20},
    same_camera_counts=True,
    random_splits=10,
    camera=VIEWS.__getitem__,
    shared_people="usual",
)
JOINTS = KINECT25
TRAIN_STEP = 1
NAME = re.compile(r"^gc(\d+)_body(\d+)_(\d+)")


def recordings(reading: ParserInput) -> Iterator[Recording]:
    """Yield one recording per person, occasion and view."""
    files = [
        (camid, match)
        for camid, view in enumerate(VIEWS)
        for file in reading.file(view, SOURCE).iterdir()
        if (match := NAME.match(file.name))
    ]
    pids = reading.number_people(match[2] for _, match in files)
    found: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    for camid, match in files:
        found[pids[match[2]], int(match[1]), camid].append(match.string)
    if not found:
        raise PipelineError(f"{reading.root} holds no files gcN_bodyN_<time>. {SOURCE}")
    occasions: dict[int, set[int]] = defaultdict(set)
    for pid, occasion, _ in found:
        occasions[pid].add(occasion)
    dealt = {
        pid: deal(sorted(own), reading.split_id, pid, lambda count: 1)
        for pid, own in sorted(occasions.items())
    }
    for split in ("gallery", "query", "train"):
        for pid, parts in dealt.items():
            for occasion in parts[split]:
                for camid in range(len(VIEWS)):
                    if names := found.get((pid, occasion, camid)):
                        yield _read(reading, split, pid, occasion, camid, names)


def _read(
    reading: ParserInput, split: str, pid: int, occasion: int, camid: int, names: list[str]
) -> Recording:
    files = [f"{VIEWS[camid]}/{name}" for name in sorted(names, key=natural)]
    xyz = [
        read_skeletons(reading.root / file, ",", (1, 2, 3), len(JOINTS.joints))[0] for file in files
    ]
    name = f"{pid:02}_gc{occasion}_{camid}"
    numbers = np.arange(len(files), dtype=np.int32)
    return Recording(name, pid, camid, split, files, numbers, np.array(xyz))
