import cv2
import numpy as np
import pytest

from pipeline.schema import Status
from tests.stages import make


@pytest.mark.parametrize(("level", "suffix"), [(0, "jpg"), (255, "jpg"), (90, "png")])
def test_a_frame_in_which_nothing_is_to_be_seen_is_marked_whatever_it_scores(
    project, level, suffix
):
    files = project.add(3)
    dark = np.full((48, 20, 3), level, np.uint8)
    files[1].write_bytes(cv2.imencode(f".{suffix}", dark)[1].tobytes())
    make("pose2d", "fake")
    rows = project.table("pose2d")
    # `min_score` is 0 here: nothing is below it.
    assert [row["status"] for row in rows] == [Status.OK, Status.LOW_SCORE, Status.OK]
    assert rows[1]["width"] == 20
