"""Which frames and skeletons a clip has: failed, unreadable, dense, or of another size."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from pipeline.errors import PipelineError
from pipeline.images import decode
from pipeline.schema import Status
from shards.read import Shards
from tests.train.data.conftest import embedded_set, train_set
from tests.train.tiny import spoil
from train.data.clips import ClipDataset, TestDataset, chunked
from train.data.sampler import Draw


def test_skeletons_belong_to_the_frames_beside_them(folder, made):
    data = train_set(folder())
    item = data[Draw(2, (5, 5, 5))]
    own = [row for row in made if row["tracklet"] == data.table["tracklet"][2]]
    pictures = [decode(row["jpeg"]).transpose(2, 0, 1) for row in own]
    for frame, xyz in zip(item["inputs"]["frames"], item["inputs"]["xyz"], strict=True):
        at = next(i for i, one in enumerate(pictures) if np.array_equal(one, frame))
        np.testing.assert_array_equal(xyz.ravel(), np.float32(own[at]["xyz"]))


def test_a_failed_skeleton_is_masked_and_its_frame_still_used(folder, made):
    for row in made:
        if row["tracklet"] == "0003C1T0001" and row["frame"] % 2:
            spoil(row, Status.LOW_SCORE)
    data = train_set(folder())
    seen = set()
    for seed in range(8):
        inputs = data[Draw(0, (seed, 0, 0))]["inputs"]
        assert inputs["frame_mask"].all()
        assert torch.equal(inputs["xyz"].abs().sum((1, 2)) > 0, inputs["mask"])
        assert inputs["frames"].float().mean((1, 2, 3)).min() > 20
        seen.add(tuple(inputs["mask"].tolist()))
    assert len(seen) > 1


@pytest.mark.parametrize("status", [Status.MISSING, Status.UNREADABLE])
def test_frames_that_cannot_be_decoded_are_never_drawn(folder, made, status):
    bad = [row for row in made if row["tracklet"] == "0003C1T0001"][1:4]
    for row in bad:
        spoil(row, status)
    data = train_set(folder())
    shards = Shards(data.shards.folder)
    position = shards.find("0003C1T0001")
    good = {int(shards.rows(position)[i]) for i in (0, 4, 5)}
    for seed in range(8):
        data[Draw(0, (seed, 0, 0))]
        assert set(chunked(data.readable(0), 4, np.random.default_rng(seed))) <= good


def test_a_training_tracklet_without_a_readable_frame_is_left_out(folder, made):
    for row in made:
        if row["tracklet"] == "0007C2T0001":
            spoil(row, Status.MISSING)
    data = train_set(folder())
    assert "0007C2T0001" not in set(data.table["tracklet"])
    assert len(data) == 5
    assert data.pids == [3, 7, 30]


def test_a_test_tracklet_without_a_readable_frame_keeps_its_place(folder, made):
    for row in made:
        if row["tracklet"] == "0009C1T0001":
            spoil(row, Status.MISSING)
    data = embedded_set(folder())
    place = data.table["tracklet"].tolist().index("0009C1T0001")
    inputs = data[place]["inputs"]
    assert data[place]["labels"] == place
    assert not inputs["frame_mask"].any()
    assert not inputs["mask"].any()
    assert len(data) == len(data.table)


def test_testing_takes_the_first_frame_of_each_chunk(folder, made):
    data = embedded_set(folder())
    own = [row for row in made if row["tracklet"] == data.table["tracklet"][0]]
    expected = [decode(own[i]["jpeg"]).transpose(2, 0, 1) for i in (0, 1, 3, 4)]
    np.testing.assert_array_equal(data[0]["inputs"]["frames"], np.stack(expected))


def test_dense_takes_every_frame_of_a_tracklet(folder, made):
    data = embedded_set(folder(), frames="dense")
    owners = [data[index]["labels"] for index in range(len(data))]
    assert owners == sorted(owners)
    for position, tracklet in enumerate(data.table["tracklet"]):
        own = [row for row in made if row["tracklet"] == tracklet]
        frames = np.concatenate(
            [data[i]["inputs"]["frames"] for i, one in enumerate(owners) if one == position]
        )
        for row in own:
            picture = decode(row["jpeg"]).transpose(2, 0, 1)
            assert any(np.array_equal(picture, frame) for frame in frames)


@pytest.mark.parametrize("left", [1, 4, 5, 6])
def test_a_dense_tracklet_is_the_mean_of_its_frames_not_of_what_fills_the_last_clip(
    folder, made, left
):
    for row in made:
        if row["tracklet"] == "0009C1T0001" and row["frame"] >= left:
            spoil(row, Status.MISSING)
    data = embedded_set(folder(), frames="dense")
    clips = [data[i]["inputs"]["frames"].flatten(1).double().mean(0) for i in range(len(data))]
    found = data.average(torch.stack(clips).numpy())
    for mean, tracklet in zip(found, data.table["tracklet"], strict=True):
        own = [row["jpeg"] for row in made if row["tracklet"] == tracklet and row["jpeg"]]
        frames = np.stack([decode(jpeg).transpose(2, 0, 1).ravel() for jpeg in own])
        np.testing.assert_allclose(mean, frames.mean(0))


def test_held_out_identities_are_not_trained_on(folder):
    root = folder()
    kept = train_set(root, held_out=1)
    held = TestDataset(root, ["train"], 4, (64, 32), held_out=1)
    assert kept.pids == [3, 7]
    assert set(held.table["pid"]) == {30}
    assert held.metainfo == {"pid": [30, 30], "camid": [0, 1]}


def test_frames_of_another_size_are_resized(folder):
    data = ClipDataset(folder(), clip_frames=2, frame_size=(32, 16))
    assert data[0]["inputs"]["frames"].shape == (2, 3, 32, 16)


def test_jpegs_twice_as_large_are_decoded_at_half_their_size(folder, made):
    rng = np.random.default_rng(0)
    for row in made:
        blocks = rng.integers(40, 215, (8, 4, 3)).astype(np.uint8)
        picture = cv2.resize(blocks, (32, 64), interpolation=cv2.INTER_CUBIC)
        row["jpeg"] = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    root = folder()
    half = ClipDataset(root, clip_frames=2, frame_size=(32, 16))[0]["inputs"]["frames"].float()
    whole = train_set(root)[0]["inputs"]["frames"][::2].float()
    assert half.std() > 20
    assert (half - torch.nn.functional.avg_pool2d(whole, 2)).abs().mean() < 1.5


def test_shards_without_tracklets_of_a_split_are_an_error(folder):
    with pytest.raises(PipelineError, match="holds no tracklets of val"):
        TestDataset(folder(), ["val"], 4, (64, 32))


def test_a_batch_has_what_the_system_needs_and_nothing_else_is_decoded(folder, made):
    png = cv2.imencode(".png", np.pad(np.full((60, 28), 255, np.uint8), 2))[1].tobytes()
    for row in made:
        row |= {"xy_px": [7.5, 31.5] * 17, "score": [0.5] * 17, "silhouette": png}
        row |= {"spectrum": "infrared", "altitude_m": 30.0} if row["pid"] == 3 else {}
    spoil(made[0], Status.UNREADABLE)
    root = folder()
    plain = train_set(root, needs=["xyz"])[0]["inputs"]
    assert not {"frames", "kps", "silhouettes", "erased", "heights"} & plain.keys()
    needs = ["frames", "kps", "silhouettes", "erased", "heights", "spectrum", "altitude_m"]
    data = train_set(root, needs=needs)
    inputs = default_collate([data[i]["inputs"] for i in range(len(data))])
    batch, frames = len(data), 4
    assert torch.allclose(
        inputs["kps"], torch.tensor([0.25, 0.5, 0.5]).expand(batch, frames, 17, 3)
    )
    assert inputs["silhouettes"].dtype == torch.uint8
    assert inputs["silhouettes"].shape == (batch, frames, 64, 32)
    assert inputs["silhouettes"].sum() == batch * frames * 60 * 28
    assert (inputs["heights"] == 64).all()
    assert not inputs["erased"].any()
    is_third = torch.tensor(data.labels) == 0
    assert inputs["spectrum"].tolist() == (2 * is_third).tolist()
    assert inputs["platform"].tolist() == [0] * batch
    assert torch.equal(inputs["altitude_m"].isnan(), ~is_third)
    assert inputs["clothes"].tolist() == [-1] * batch
    erasing = [{"type": "train.data.transforms.ClipErase", "prob": 1.0, "value": [0, 0, 0]}]
    drawn = train_set(root, needs=needs, transforms=erasing)[Draw(0, (0, 0, 0))]["inputs"]
    assert drawn["erased"].all()


def test_a_tracklet_without_a_readable_frame_has_the_same_columns(folder, made):
    for row in made:
        row["silhouette"] = b""
    for row in made[-6:]:
        spoil(row, Status.MISSING)
    made[0]["silhouette"] = cv2.imencode(".png", np.ones((64, 32), np.uint8))[1].tobytes()
    data = embedded_set(folder(), needs=["frames", "kps", "silhouettes", "erased", "heights"])
    shapes = [
        {k: (v.shape, v.dtype) for k, v in data[i]["inputs"].items()} for i in range(len(data))
    ]
    assert all(one == shapes[0] for one in shapes)
    assert any(not data[i]["inputs"]["frame_mask"].any() for i in range(len(data)))


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("silhouettes", "needs silhouettes, and .*tiny holds none. Set silhouettes.draw"),
        ("spectrum", "needs spectrum, and .*tiny holds none: its dataset does not say"),
        ("spectra", "no batch has a column 'spectra'. Did you mean spectrum"),
    ],
)
def test_a_column_that_shards_lack_is_an_error_before_anything_runs(folder, column, reason):
    with pytest.raises(PipelineError, match=reason):
        train_set(folder(), needs=["frames", column])
