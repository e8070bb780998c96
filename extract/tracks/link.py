"""Link boxes of single frames to tracks, by Roboflow's `trackers`.

The package asks for opencv-python, which must not stand beside the headless build: it and
supervision are installed with --no-deps (requirements-openmmlab.txt).
"""

from itertools import groupby

import numpy as np

from extract.tracks.boxes import Box
from pipeline.errors import PipelineError, did_you_mean

# By the names of --tracker.
TRACKERS = {"bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker", "sort": "SORTTracker"}
INSTALL = "python -m pip install --no-deps -r requirements-openmmlab.txt"


def link(boxes: list[Box], fps: float, tracker: str = "bytetrack") -> list[Box]:
    """Return the boxes that belong to a track, with its number from 1; nobody is made up in gaps.

    A track is known from its second box in a row: its first one is left out with the false alarms.

    Args:
        boxes: In pixels, sorted by frame.
        fps: Frames per second: how long somebody may be out of sight is a second.
        tracker: One of TRACKERS.

    Raises:
        PipelineError: If there is no such tracker, or the package is missing.
    """
    import warnings

    if tracker not in TRACKERS:
        raise PipelineError(f"--tracker {tracker} is not known. {did_you_mean(tracker, TRACKERS)}")
    try:
        import supervision
        import trackers
    except ModuleNotFoundError as error:
        raise PipelineError(f"{error.name} is not installed. Run: {INSTALL}") from None
    # How far apart the middles are tells people who walk past each other better than overlap alone.
    options = {"iou": trackers.DIoU()} if tracker == "bytetrack" else {}
    made = getattr(trackers, TRACKERS[tracker])(frame_rate=fps, **options)
    by_frame = {frame: list(group) for frame, group in groupby(boxes, lambda box: box.frame)}
    found = []
    for frame in range(max(by_frame, default=-1) + 1):
        here = by_frame.get(frame, [])
        xywh = np.array([box[2:6] for box in here], np.float32).reshape(-1, 4)
        detections = supervision.Detections(
            xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
            confidence=np.array([box.score for box in here], np.float32),
            class_id=np.arange(len(here)),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tracked = made.update(detections)
        for row, track in zip(tracked.class_id, tracked.tracker_id, strict=True):
            if track >= 0:
                found.append(here[row]._replace(track=str(track + 1)))
    return sorted(found, key=lambda box: (box.frame, int(box.track)))
