"""Extraction that is killed at any step ends with the same bytes when it is run again."""

import pytest

from tests.kills import every_step

HEAVY = ("tests.kills_of",)


@pytest.mark.slow
def test_pose2d_and_pose3d(make_project):
    project = make_project()
    for split in ("train", "query"):
        project.add(5, split=split)
    project.knobs["runtime"]["workers"] = 0
    project.set(project.knobs)
    killed = every_step(project.folder, "pose2d", "fake", ["data/pose2d/fake"], HEAVY)
    assert killed >= 8
    done = project.folder.parent / f"{project.folder.name}-kills/undisturbed"
    assert every_step(done, "pose3d", "fake", ["data/pose3d/fake"], HEAVY) >= 8
