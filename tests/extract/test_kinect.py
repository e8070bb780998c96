"""The readers of BIWI, IAS-Lab, KGBD and KS20, on generated trees."""

import numpy as np
import pytest

from extract.index import find_parser
from extract.tracklets import ParserInput
from pipeline.errors import PipelineError
from tests import fake_kinect
from tests.fake_kinect import MAKERS, walk


def read(name, root, split_id=0):
    reading = ParserInput(root, split_id)
    return list(find_parser(name).recordings(reading)), reading


def parts(recordings):
    return {(one.split, one.pid) for one in recordings}


@pytest.mark.parametrize("name", MAKERS)
def test_recordings_come_sorted_by_split_person_and_name(name, tmp_path):
    found, _ = read(name, MAKERS[name](tmp_path, people=(10, 9, 2)))
    keys = [(one.split, one.pid, one.name) for one in found]
    assert keys == sorted(keys)
    assert len({one.name for one in found}) == len(found)
    assert parts(found) == {(s, p) for s in ("gallery", "query", "train") for p in (2, 9, 10)}


def test_biwi_joints_are_those_of_the_files_without_the_ends(tmp_path):
    found, _ = read("biwi", fake_kinect.biwi(tmp_path, frames=30))
    walking = next(one for one in found if (one.split, one.pid) == ("query", 2))
    np.testing.assert_allclose(walking.xyz, walk(2, 30, occasion=2)[10:20], atol=1e-6)
    assert walking.frame_numbers.tolist() == list(range(10, 20))
    assert walking.files[0] == "Testing/Walking/002/000010-a_skel.txt"


def test_still_is_the_gallery_of_walking_and_b_that_of_a(tmp_path):
    for name, gallery, query in (
        ("biwi", "Testing/Still", "Testing/Walking"),
        ("ias_lab", "TestingB", "TestingA"),
    ):
        found, _ = read(name, MAKERS[name](tmp_path / name))
        folders = {one.split: one.files[0].rsplit("/", 2)[0] for one in found}
        assert folders == {"gallery": gallery, "query": query, "train": "Training"}


def test_frames_with_an_untracked_joint_are_left_out_before_the_ends_are_cut(tmp_path):
    root = fake_kinect.biwi(tmp_path, people=(4,), frames=30)
    fake_kinect.tracked(root / "Training/004", walk(4, 30, 0), untracked=(0, 12, 13, 29))
    found, reading = read("biwi", root)
    train = next(one for one in found if one.split == "train")
    good = [i for i in range(30) if i not in (0, 12, 13, 29)]
    assert train.frame_numbers.tolist() == good[10:-10]
    assert reading.counted["rejected_frames"] == 4


def test_the_end_of_ias_lab_training_is_kept(tmp_path):
    found, _ = read("ias_lab", fake_kinect.ias_lab(tmp_path, people=(1,), frames=30))
    lengths = {one.split: len(one.files) for one in found}
    assert lengths == {"gallery": 10, "query": 10, "train": 20}


def test_the_first_of_two_skeletons_in_a_file_counts(tmp_path):
    root = fake_kinect.biwi(tmp_path, people=(1,), frames=30)
    file = root / "Training/001/000015-a_skel.txt"
    file.write_text(file.read_text() + (root / "Training/001/000016-a_skel.txt").read_text())
    found, _ = read("biwi", root)
    train = next(one for one in found if one.split == "train")
    np.testing.assert_allclose(train.xyz[5], walk(1, 30, 0)[15], atol=1e-6)


def test_a_folder_0_is_no_distractor(tmp_path):
    found, reading = read("biwi", fake_kinect.biwi(tmp_path, people=(0, 1)))
    assert {one.pid for one in found} == {1, 2}
    assert reading.notes["persons"] == '{"000": 1, "001": 2}'


def test_kgbd_joints_stand_where_their_names_say(tmp_path):
    found, _ = read("kgbd", fake_kinect.kgbd(tmp_path, frames=30))
    for one in found:
        number = int(one.name[-2:])
        np.testing.assert_allclose(one.xyz, walk(one.pid, 30, number)[10:20], atol=1e-6)


def test_kgbd_deals_two_walks_to_the_gallery_and_one_to_the_query_by_the_trial(tmp_path):
    root = fake_kinect.kgbd(tmp_path, people=range(1, 9))
    found, _ = read("kgbd", root)
    for person in range(1, 9):
        own = [one.split for one in found if one.pid == person]
        assert sorted(own) == ["gallery", "gallery", "query", "train", "train"]
    dealt = [[one.name for one in read("kgbd", root, split_id)[0]] for split_id in (0, 0, 1)]
    assert dealt[0] == dealt[1] != dealt[2]


@pytest.mark.parametrize(
    ("walks", "expected"),
    [(2, ["train"] * 2), (3, ["gallery", "query", "train"])],
)
def test_kgbd_people_with_few_walks_are_dealt_with(tmp_path, walks, expected):
    found, _ = read("kgbd", fake_kinect.kgbd(tmp_path, people=(15,), walks=walks))
    assert sorted(one.split for one in found) == expected


def test_ks20_deals_an_occasion_each_in_all_views_and_cuts_nothing(tmp_path):
    found, _ = read("ks20", fake_kinect.ks20(tmp_path))
    for person in (1, 2, 7):
        own = [one for one in found if one.pid == person]
        occasions = {split: set() for split in ("gallery", "query", "train")}
        for one in own:
            occasions[one.split].add(one.files[0].split("/")[1].split("_")[0])
            assert len(one.files) == 20
        assert sorted(map(len, occasions.values())) == [1, 1, 1]
        assert len(set.union(*occasions.values())) == 3
        assert sorted(one.camid for one in own) == sorted([0, 1, 2, 3, 4] * 3)


def test_ks20_frames_come_in_the_order_of_time_not_of_text(tmp_path):
    found, _ = read("ks20", fake_kinect.ks20(tmp_path, people=(2,)))
    one = next(one for one in found if one.camid == 1)
    setting = int(one.files[0].split("gc")[1][0])
    expected = walk(2, 20, 10 + setting, fake_kinect.KINECT25)
    np.testing.assert_allclose(one.xyz, expected, atol=1e-6)


def test_test_sequences_do_not_overlap_and_training_ones_start_at_every_frame(tmp_path):
    for name, steps in (("biwi", (1, 6)), ("ias_lab", (1, 6)), ("ks20", (1, 6)), ("kgbd", (6, 6))):
        parser = find_parser(name)
        found, _ = read(name, MAKERS[name](tmp_path / name, frames=45))
        for one in found:
            cut = one.tracklets(parser.TRAIN_STEP)
            step = steps[0] if one.split == "train" else steps[1]
            assert len(cut) == (len(one.files) - 6) // step + 1
            for i, tracklet in enumerate(cut):
                at = one.frame_numbers[i * step : i * step + 6].tolist()
                assert tracklet.frame_numbers == at
                assert len(tracklet.frames) == 6


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("biwi", "Testing/Still/002/000003-a_skel.txt"),
        ("kgbd", "kinect gait raw dataset/Person002/3.txt"),
        ("ks20", "left_lateral/gc2_body7_4.txt"),
    ],
)
@pytest.mark.parametrize(
    ("kept", "added", "message"),
    [
        (0, "", r"holds 0 lines; a skeleton has \d\d, one per joint"),
        (1, "", "holds 1 lines"),
        (19, "", "holds 19 lines"),
        (5, "joint\n", ":6: expected numbers in columns"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, name, file, kept, added, message):
    root = MAKERS[name](tmp_path)
    lines = (root / file).read_text().splitlines(keepends=True)
    (root / file).write_text("".join(lines[:kept]) + added)
    with pytest.raises(PipelineError, match=message) as caught:
        read(name, root)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("biwi", "Testing/Still"), ("ias_lab", "TestingB"), ("kgbd", "kinect gait raw dataset"),
        ("ks20", "frontal"),
    ],
)  # fmt: skip
def test_a_wrong_folder_says_what_should_be_there(tmp_path, name, missing):
    with pytest.raises(PipelineError, match=f"{missing} is missing. Give the folder that holds"):
        read(name, tmp_path)
