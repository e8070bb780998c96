"""VReID-XFD: three cases, and what the names of frames say of how they were seen."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import PipelineError

AERIAL = "0024_a_b_c_d_e_{altitude}_20_30_{session}_1.jpg"
GROUND = "0025_1_2.jpg"
# Case, and whether its queries and its gallery are seen from the air.
CASES = {
    "case1_aerial_to_ground": (True, False),
    "case2_ground_to_aerial": (False, True),
    "case3_aerial_to_aerial": (True, True),
}


@pytest.fixture
def tree(tmp_path: Path, put: Callable) -> Path:
    put(tmp_path, ["train/0024/0024_5453/0024_1_2.jpg"])
    # Frames of one tracklet may differ: the first one counts.
    first, later = (AERIAL.format(altitude=one, session=2) for one in ("10", "90"))
    put(tmp_path, [f"train/0024/0024_9/{first}", f"train/0024/0024_9/{later}"])
    put(tmp_path, ["train/0024/0024_10/0024_a_b_c_d_e_1_7.jpg"])
    for number, (case, sides) in enumerate(CASES.items(), 1):
        for split, is_aerial in zip(("query", "gallery"), sides, strict=True):
            name = AERIAL.format(altitude="5.8m", session=1) if is_aerial else GROUND
            put(tmp_path, [f"{case}/{split}/0025/0025_{number}/{name}"])
    return tmp_path


@pytest.mark.parametrize(("case", "sides"), CASES.items())
def test_the_case_chooses_the_test_folders(tree, index, case, sides) -> None:
    found = index(tree, "vreid_xfd", case=case)["rows"]
    number = case[4]
    tested = [found[f"{split}_0025_{number}"] for split in ("query", "gallery")]
    assert sorted(found) == sorted(
        ["train_0024_5453", "train_0024_9", "train_0024_10"]
        + [f"{split}_0025_{number}" for split in ("query", "gallery")]
    )
    assert [row["platform"] for row in tested] == ["aerial" if a else "ground" for a in sides]
    assert [row["camid"] for row in tested] == [int(a) for a in sides]


def test_without_a_case_the_first_is_taken(tree, index) -> None:
    assert "gallery_0025_1" in index(tree, "vreid_xfd")["rows"]


def test_names_say_how_high_how_far_and_how_steeply(tree, index) -> None:
    found = index(tree, "vreid_xfd")["rows"]
    seen = ("platform", "altitude_m", "distance_m", "angle_deg", "camid")
    views = {name: tuple(row[key] for key in seen) for name, row in found.items()}
    assert views["train_0024_9"] == ("aerial", 10.0, 20.0, 30.0, 2)
    assert views["query_0025_1"] == ("aerial", pytest.approx(5.8), 20.0, 30.0, 1)
    assert views["train_0024_5453"] == ("ground", None, None, None, 0)
    # Too short to hold all of them: what is the session is no altitude.
    assert views["train_0024_10"] == ("aerial", None, None, None, 1)


def test_an_unknown_case_gets_a_suggestion(tree, index) -> None:
    with pytest.raises(PipelineError, match="Did you mean case1_aerial_to_ground"):
        index(tree, "vreid_xfd", case="case1_aerial_ground")
