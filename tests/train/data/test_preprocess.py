import torch

from train.data.preprocess import ClipPreprocessor

MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]


def test_bytes_and_floats_of_the_same_picture_are_the_same():
    prepare = ClipPreprocessor(MEAN, STD)
    frames = torch.randint(0, 256, (2, 4, 3, 8, 4), dtype=torch.uint8)
    from_bytes, from_floats = (
        prepare({"inputs": {"frames": x}})["inputs"]["frames"] for x in (frames, frames / 255)
    )
    torch.testing.assert_close(from_bytes, from_floats)
    expected = (frames[:, :, 2] / 255 - 0.3) / 2.0
    torch.testing.assert_close(from_bytes[:, :, 2], expected)


def test_batches_without_frames_pass_as_they_are():
    batch = {"inputs": {"xyz": torch.randn(2, 4, 17, 3)}, "labels": torch.tensor([1, 0])}
    torch.testing.assert_close(ClipPreprocessor(MEAN, STD)(batch), batch)
