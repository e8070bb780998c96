"""Read the skeletons of IAS-Lab RGBD-ID (Kinect V1, 20 joints).

Where: the Intelligent Autonomous Systems Lab, University of Padova (Munaro et al., "3D
Reconstruction of Freely Moving Persons for Re-Identification with a Depth Sensor", ICRA 2014).

    Training/<person>/*skel.txt       a file per frame, 20 lines
    TestingA/<person>/*skel.txt       joint,X,Y,Z,x,y,TrackingState,QualityFlag,...
    TestingB/<person>/*skel.txt

11 persons, the same in all parts; A shows other clothes than Training, B another room. Scored both
ways: A against a gallery of B (published as IAS-A), and B against A (IAS-B, `reversed` in
scores.json).

A frame with an untracked joint (TrackingState 0) is left out, then the first ten, and in the test
parts the last ten too. Training sequences start at every frame, as in `extract.datasets.biwi`.

Known faults: the public preprocessing numbers people in the order in which the file system lists
their folders, so its labels of the three parts agree by luck. Here the folder's name is the person.
"""

from collections.abc import Iterator

from extract.kinect import CUT, Recording, by_person
from extract.rules import BY_CLOTHES, REVERSED
from extract.tracklets import DatasetFacts, ParserInput
from pipeline.skeleton import KINECT20

SOURCE = "Give the folder that holds Training, TestingA and TestingB (docs/datasets.md)."
FACTS = DatasetFacts(
    source=SOURCE,
    published={"train_pids": 11},
    same_camera_counts=True,
    searches=(*BY_CLOTHES, REVERSED),
    shared_people="usual",
)
JOINTS = KINECT20
TRAIN_STEP = 1
_PARTS = {"gallery": "TestingB", "query": "TestingA", "train": "Training"}
_CUT = {"gallery": slice(CUT, -CUT), "query": slice(CUT, -CUT), "train": slice(CUT, None)}


def recordings(reading: ParserInput) -> Iterator[Recording]:
    """Yield one recording per person and part."""
    yield from by_person(reading, _PARTS, _CUT, JOINTS, SOURCE)
