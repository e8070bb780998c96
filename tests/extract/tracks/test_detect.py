"""Detectors: what they find is what their library finds; what is missing is one line."""

import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from extract.engine import spec as specs
from extract.tracks import detect as room
from extract.tracks.__main__ import main
from extract.tracks.detect import build, detect
from extract.tracks.video import Looks, Video
from pipeline.errors import PipelineError
from tests.conftest import ROOT
from tests.disk import arrays, damage

SMALL = """
source: local
licence: none
detector: {model: ssdlite320_mobilenet_v3_large, checkpoint: weights.pth}
"""


def cut_in_half(file, rng):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf/weights", "conf/weights", ignore=lambda _, names: {"walkers_pose"})
    Path("conf/weights/small.yaml").write_text(SMALL)
    rng = np.random.default_rng(0)
    Path("street").mkdir()
    for i in range(10):
        image = cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (120, 90))
        cv2.imwrite(f"street/{i}.png", image)
    return tmp_path


@pytest.fixture
def weights(place) -> torch.nn.Module:
    """A detector of random weights, which finds people in noise now and then."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    model = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None)
    # Person is class 1; the others are made unlikely, so that some boxes pass the threshold.
    with torch.no_grad():
        for head in model.head.classification_head.module_list:
            head[1].weight.mul_(30)
            head[1].bias.view(-1, 91)[:, 2:] -= 9
    Path("data/weights/small").mkdir(parents=True)
    torch.save(model.state_dict(), "data/weights/small/weights.pth")
    return model.eval()


def test_people_are_those_that_torchvision_finds(weights):
    video = Video(Path("street"))
    found = detect(video, Looks(), "small", "cpu")
    assert len(found) > 10
    for number, name in enumerate(video.pictures):
        image = cv2.cvtColor(cv2.imread(str(Path("street", name))), cv2.COLOR_BGR2RGB)
        with torch.inference_mode():
            (one,) = weights([torch.from_numpy(image).permute(2, 0, 1) / 255])
        kept = (one["labels"] == 1) & (one["scores"] >= 0.2)
        x0, y0, x1, y1 = one["boxes"][kept].numpy().T
        expected = np.stack([x0, y0, x1 - x0, y1 - y0, one["scores"][kept].numpy()], 1)
        expected = expected[(expected[:, 2:4] > 0).all(1)]
        here = np.array([[*box[2:7]] for box in found if box.frame == number]).reshape(-1, 5)
        assert here.shape == expected.shape
        np.testing.assert_allclose(here, expected, atol=2e-2)


def test_stopped_and_asked_again_it_looks_at_what_is_left(weights, monkeypatch):
    monkeypatch.setattr(room, "_CHUNK", 4)
    whole = detect(Video(Path("street")), Looks(), "small", "cpu")
    shutil.rmtree("work")
    looked, write = [], room._write

    def stopping(file, frames, find):
        looked.extend(number for number, _ in frames)
        if len(looked) > 4 and not any("chunk-000001" in str(f) for f in Path().rglob("*.npy")):
            raise KeyboardInterrupt
        write(file, frames, find)

    monkeypatch.setattr(room, "_write", stopping)
    with pytest.raises(KeyboardInterrupt):
        detect(Video(Path("street")), Looks(), "small", "cpu")
    monkeypatch.setattr(room, "_write", lambda *a: (looked.extend(n for n, _ in a[1]), write(*a)))
    assert detect(Video(Path("street")), Looks(), "small", "cpu") == whole
    assert looked == [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 8, 9]
    monkeypatch.setattr(room, "build", None)
    assert detect(Video(Path("street")), Looks(), "small", "cpu") == whole


@pytest.mark.parametrize(
    "damage", [cut_in_half, damage.empty, damage.noise, damage.a_folder, damage.a_link_to_nothing,
               damage.a_page_of_the_web, arrays.npy_of_objects, arrays.npy_of_records],
)  # fmt: skip
def test_damaged_chunks_are_made_again(weights, monkeypatch, damage):
    monkeypatch.setattr(room, "_CHUNK", 4)
    whole = detect(Video(Path("street")), Looks(), "small", "cpu")
    damage(sorted(Path("work").rglob("chunk-*.npy"))[0], random.Random(0))
    assert detect(Video(Path("street")), Looks(), "small", "cpu") == whole


def test_only_frames_that_are_wanted_are_looked_at(weights):
    found = detect(Video(Path("street")), Looks(every=3, limit=8), "small", "cpu")
    assert {box.frame for box in found} <= {0, 3, 6}


def test_the_command_finds_links_and_cuts(weights, monkeypatch):
    """A detector that finds somebody who walks: the boxes become one tracklet."""

    def find(images):
        find.seen += len(images)
        return [np.array([[3.0 + i, 5, 30, 70, 0.9]], np.float32) for i, _ in enumerate(images)]

    find.seen = 0
    monkeypatch.setattr(room, "build", lambda *_: find)
    main([Path("street")], Path("mine"), detector="small", quiet=True)
    rows = Path("mine/frames.csv").read_text().splitlines()[1:]
    assert {row.split(",")[4] for row in rows} == {"street_1"}
    assert len(rows) >= 9
    assert find.seen == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fasterrcnn_mobilenet",
            r"fb6a3cc7.pth is missing. Run: python -m extract.weights --model",
        ),
        ("fasterrcnn_mobilnet", r"Did you mean fasterrcnn_mobilenet\?"),
        ("rtmpose_m", r"rtmpose_m.yaml has no detector. Known: fasterrcnn_mobilenet"),
    ],
)
def test_what_is_missing_is_one_line(place, name, message):
    with pytest.raises(PipelineError, match=message) as caught:
        main([Path("street")], Path("mine"), detector=name, quiet=True)
    assert "\n" not in str(caught.value)
    assert not Path("mine").exists()


def test_weights_of_another_model_are_one_line(weights):
    torch.save({"a": torch.zeros(1)}, "data/weights/small/weights.pth")
    with pytest.raises(PipelineError, match="does not hold the weights of ssdlite320"):
        build(specs.load("small"), "cpu")


def test_a_model_that_torchvision_does_not_know_is_one_line(weights):
    text = Path("conf/weights/small.yaml").read_text().replace("ssdlite320", "ssdlite32")
    Path("conf/weights/small.yaml").write_text(text)
    with pytest.raises(
        PipelineError, match=r"is no detector of torchvision\. Did you mean ssdlite320"
    ):
        build(specs.load("small"), "cpu")


def test_a_detector_of_transformers_finds_what_it_finds(place):
    transformers = pytest.importorskip("transformers", reason="transformers is an extra: rtdetr")
    torch.manual_seed(0)
    config = transformers.RTDetrConfig(
        d_model=16, encoder_hidden_dim=16, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=20,
        encoder_attention_heads=2, decoder_attention_heads=2, decoder_layers=1, encoder_layers=1,
        decoder_in_channels=[16, 16, 16], encoder_in_channels=[32, 64, 128],
        backbone_config=transformers.RTDetrResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1],
            layer_type="basic", out_features=["stage2", "stage3", "stage4"],
        ),
        id2label={0: "person", 1: "dog"}, label2id={"person": 0, "dog": 1},
    )  # fmt: skip
    model = transformers.RTDetrForObjectDetection(config).eval()
    folder = Path("data/weights/rtdetr_r18")
    model.save_pretrained(folder)
    processor = transformers.RTDetrImageProcessor()
    processor.save_pretrained(folder)
    image = cv2.imread("street/0.png")
    (found,) = build(specs.load("rtdetr_r18"), "cpu")([image])
    with torch.inference_mode():
        output = model(**processor(images=[image[..., ::-1].copy()], return_tensors="pt"))
    (one,) = processor.post_process_object_detection(output, 0.2, [image.shape[:2]])
    people = one["labels"] == 0
    assert len(found) == int(people.sum()) > 0
    np.testing.assert_allclose(found[:, 4], one["scores"][people].numpy(), atol=1e-5)
