"""MoveNet on real people: twelve in four photographs of COCO, cut out by their true boxes.

How `min_score` was fitted is written here too.
"""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from extract.engine import spec
from extract.movenet import convert
from extract.pose2d.estimator import Estimator
from extract.pose_metrics import oks
from pipeline import images
from tests.conftest import ROOT

# How much of a person's box is left, from either side, from above or from below.
SHARES = (0.25, 0.4, 0.55, 0.7, 0.85)
RIGHT_OKS = 0.5


@dataclass
class Person:
    """A crop, and where the 17 joints are in it: a pixel, and whether they are marked."""

    crop: np.ndarray
    xy: np.ndarray
    marked: np.ndarray
    area: float

    def cut(self, share: float, side: str) -> "Person":
        """Leave that share of the picture at its top, bottom, left or right."""
        height, width = self.crop.shape[:2]
        rows, columns = round(height * share), round(width * share)
        left, top = 0, 0
        if side in ("top", "bottom"):
            top, columns = (0 if side == "top" else height - rows), width
        else:
            left, rows = (0 if side == "left" else width - columns), height
        crop = np.ascontiguousarray(self.crop[top : top + rows, left : left + columns])
        return Person(crop, self.xy - [left, top], self.marked, self.area)


@pytest.fixture(scope="module")
def people(real_data):
    folder = real_data / "people"
    listed = json.loads((folder / "test_coco.json").read_text())
    photos = {one["id"]: images.read(folder / one["file_name"])[0] for one in listed["images"]}
    found = []
    for one in listed["annotations"]:
        if not one["num_keypoints"]:
            continue
        photo = photos[one["image_id"]]
        x, y, width, height = one["bbox"]
        left, top = round(x), round(y)
        joints = np.array(one["keypoints"], float).reshape(17, 3)
        crop = photo[top : round(y + height), left : round(x + width)]
        found.append(Person(crop, joints[:, :2] - [left, top], joints[:, 2] > 0, one["area"]))
    return found


@pytest.fixture(scope="module")
def checkpoints(real_data, tmp_path_factory):
    thunder = tmp_path_factory.mktemp("thunder") / "pose2d.safetensors"
    convert.main(real_data / "weights/movenet-thunder.json", thunder, quiet=True)
    return {
        "movenet_lightning": ROOT / "data/weights/movenet_lightning/pose2d.safetensors",
        "movenet_thunder": thunder,
        "walkers_pose": ROOT / "data/weights/walkers_pose/pose2d.safetensors",
    }


@pytest.fixture(scope="module")
def estimator(checkpoints):
    def build(model, **options):
        return Estimator(ROOT / f"conf/weights/{model}/pose2d.py", checkpoints[model], **options)

    return build


def joints_of(estimator, people):
    """Return joints `(N, 17, 2)` in pixels of the crops, and scores `(N, 17)`."""
    sizes = np.array([one.crop.shape[1::-1] for one in people])
    return estimator([estimator.crop(one.crop) for one in people], sizes)


def similarity(people, xy):
    """Return the OKS of each person."""
    truth = np.stack([one.xy for one in people])
    marked = np.stack([one.marked for one in people])
    return oks(xy, truth, marked, np.array([one.area for one in people]))


@pytest.mark.parametrize(
    ("model", "options", "least"),
    [
        ("movenet_lightning", {}, 0.76),
        ("movenet_lightning", {"flip_test": True}, 0.78),
        ("movenet_thunder", {}, 0.83),
        ("movenet_thunder", {"flip_test": True}, 0.83),
    ],
)
def test_joints_of_real_people_are_found(people, estimator, model, options, least):
    """Measured: docs/pose_models.md."""
    assert len(people) == 12
    xy, _ = joints_of(estimator(model, **options), people)
    found = similarity(people, xy)
    truth, marked = (np.stack([getattr(one, key) for one in people]) for key in ("xy", "marked"))
    assert marked.sum() == 181
    height = np.array([len(one.crop) for one in people], float)
    distance = np.linalg.norm(xy - truth, axis=-1)[marked] / np.repeat(height, marked.sum(1))
    print(model, options, found.mean().round(3), [(distance <= w).mean() for w in (0.05, 0.1)])
    assert found.mean() >= least


def test_bfloat16_finds_them_as_well(people, estimator):
    one = estimator("movenet_lightning")
    one.precision = "bfloat16"
    assert similarity(people, joints_of(one, people)[0]).mean() >= 0.76


def test_the_estimator_of_rendered_people_does_not(people, estimator):
    """Why the default of real people is another."""
    assert similarity(people, joints_of(estimator("walkers_pose"), people)[0]).mean() < 0.5


@pytest.mark.parametrize("model", ["movenet_lightning", "movenet_thunder"])
def test_min_score_is_what_whole_people_and_parts_of_them_say(people, estimator, model):
    """`min_score` keeps 19 of 20 poses that are right, of whole people and of their parts.

    A pose is right if its OKS is .5 or more, joints outside the picture included. The bars below
    say what that catches.
    """
    parts = [
        one.cut(share, side)
        for one in people
        for share in SHARES
        for side in ("top", "bottom", "left", "right")
    ]
    every = people + parts
    xy, score = joints_of(estimator(model), every)
    right, mean = similarity(every, xy) >= RIGHT_OKS, score.mean(1)
    kept = spec.load(model).part("estimator").min_score
    fitted = np.quantile(mean[right], 0.05)
    print(model, fitted, (mean[~right] < kept).mean(), right.mean())
    assert kept == pytest.approx(fitted, abs=0.006)
    assert (mean[~right] < kept).mean() > 0.75
    assert (mean[: len(people)] >= kept).mean() > 0.9
