"""Read the skeletons of BIWI RGBD-ID (Kinect V1, 20 joints).

Where: the Intelligent Autonomous Systems Lab, University of Padova (Munaro et al., "One-Shot
Person Re-Identification with a Consumer Depth Camera", 2014). Only the skeleton files are read.

    Training/<person>/*skel.txt           a file per frame, 20 lines
    Testing/Still/<person>/*skel.txt      joint,X,Y,Z,x,y,TrackingState,QualityFlag,...
    Testing/Walking/<person>/*skel.txt

50 persons in Training, some of them recorded again on another day, in other clothes, for Still and
Walking: test persons are training persons. Scored both ways: Walking against a gallery of Still
(published as BIWI-W), and Still against Walking (BIWI-S, `reversed` in scores.json); the training
set is never the gallery.

A frame with an untracked joint (TrackingState 0) is left out, then the first and the last ten.
Training sequences start at every frame; the public code takes steps of three from six starts, which
gives the same sequences, most of them twice.

Known faults: some files hold more than one skeleton: the first is the person.
"""

from collections.abc import Iterator

from extract.kinect import CUT, Recording, by_person
from extract.rules import BY_CLOTHES, REVERSED
from extract.tracklets import DatasetFacts, ParserInput
from pipeline.skeleton import KINECT20

SOURCE = "Give the folder that holds Training and Testing (docs/datasets.md)."
FACTS = DatasetFacts(
    source=SOURCE,
    published={"train_pids": 50},
    same_camera_counts=True,
    searches=(*BY_CLOTHES, REVERSED),
    shared_people="usual",
)
JOINTS = KINECT20
TRAIN_STEP = 1
_PARTS = {"gallery": "Testing/Still", "query": "Testing/Walking", "train": "Training"}
_CUT = dict.fromkeys(_PARTS, slice(CUT, -CUT))


def recordings(reading: ParserInput) -> Iterator[Recording]:
    """Yield one recording per person and part."""
    yield from by_person(reading, _PARTS, _CUT, JOINTS, SOURCE)
