"""What is behind a run, whatever its lines are called."""

import pytest

from evaluate.report.behind import made_before, trainings
from pipeline.params.config import load
from tests.conftest import ROOT

RECIPE = "recipe:params.yaml"
MORE = [
    "datasets.mine={format:folder,source:x,pose2d:rtmpose_m,pose3d:other,counts:none}",
    "kinect.biwi={format:biwi,source:x,counts:none}",
    "weights=[walkers_pose,rtmpose_m,clip_vit_b16]",
    f"pretraining.first={{train:mine,encoder:conv_stem,start:data/weights/clip_vit_b16,{RECIPE}}}",
    "runs.second={train:walkers,test:mine,model:csip,start:models/first/stage1.safetensors,"
    f"{RECIPE}}}",
    "runs.third={train:walkers,test:walkers,model:csip,start:models/second/stage2.safetensors,"
    f"{RECIPE}}}",
    f"runs.bones={{train:biwi,test:biwi,model:skeleton,encoder:none,start:x,{RECIPE}}}",
    "runs.a={train:walkers,test:walkers,model:csip,encoder:none,start:models/b/stage2.safetensors,"
    f"{RECIPE}}}",
    "runs.b={train:walkers,test:walkers,model:csip,encoder:none,start:models/a/stage2.safetensors,"
    f"{RECIPE}}}",
]


@pytest.fixture
def params():
    return load(MORE, path=ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("walkers", ["stage1@walkers", "stage2@walkers"]),
        ("second", ["stage1@first", "stage2@second"]),
        ("third", ["stage1@first", "stage2@second", "stage2@third"]),
        ("bones", ["stage2@bones"]),
        ("a", ["stage2@b", "stage2@a"]),
    ],
)
def test_the_trainings_behind_a_run_are_found_by_what_it_starts_from(params, run, expected):
    assert ["@".join(one) for one in trainings(params, run)] == expected


def test_all_that_is_made_before_a_report_is_of_its_datasets_trainings_and_itself(params):
    found = made_before(params, "second")
    assert found[0] == ("walkers", "walkers")
    weights = {name for stage, name in found if stage == "weights"}
    # `other` is none of params.yaml: nobody makes it.
    assert weights == {"rtmpose_m", "walkers_pose", "clip_vit_b16"}
    for stage in ("index", "pose2d", "silhouettes", "pose3d", "shards"):
        assert {name for one, name in found if one == stage} == {"mine", "walkers"}
    # Nothing is learnt from what is said of those who are only looked for.
    taught = params.runs["second"].train
    assert [name for stage, name in found if stage == "captions"] == [taught]
    assert found[-4:] == [
        ("stage1", "first"), ("stage2", "second"), ("embed", "second"), ("score", "second"),
    ]  # fmt: skip
    assert len(set(found)) == len(found)


def test_skeletons_alone_have_no_poses_behind_them(params):
    assert made_before(params, "bones") == [
        ("kinect", "biwi"), ("stage2", "bones"), ("embed", "bones"), ("score", "bones"),
    ]  # fmt: skip
