"""CG-CLIP: captions teach the memory, and are gone at test."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import PipelineError
from tests.stages import make
from tests.train.test_every_model import (
    Training,
    built,
    clips,
    configured,
    features_of,
    labels_of,
    loss_of,
    prepared,
)
from tests.train.tiny import rows, write_project
from train.registry import MODELS
from train.run.setup import take_needs
from train.weights.checkpoint import load, published

RUN = [
    "runs.tiny.model=cg_clip",
    "runs.tiny.start=conf/encoder/conv_stem.yaml",
    "runs.tiny.encoder=conv_stem",
]


def terms_of(model, inputs, seed: int = 0):
    model.train()
    torch.manual_seed(seed)
    return model(prepared(model, inputs), labels_of(), mode="loss")


def test_without_captions_and_tokens_it_is_tf_clip_to_the_byte():
    theirs, needs, _ = built("tf_clip", without=["mixer"])
    ours, _, _ = built("cg_clip", without=["captions", "resampler"])
    ours.load_state_dict(theirs.state_dict())
    inputs = clips(needs)
    expected, found = terms_of(theirs, inputs), terms_of(ours, inputs)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(features_of(ours, inputs), features_of(theirs, inputs))


def test_a_data_set_of_which_nothing_is_said_leaves_the_memory_as_it_is():
    model, needs, _ = built("cg_clip")
    silent = Training(needs)
    silent.inputs["words"] = torch.zeros_like(silent.inputs["words"])
    assert not torch.equal(model.rows(), model.memory.rows)
    model.refresh(silent)
    assert torch.equal(model.rows(), model.memory.rows)
    found = terms_of(model, clips(needs) | {"words": torch.zeros(12, 48, dtype=torch.int64)})
    assert found["loss_caption"] == 0
    assert sum(v for n, v in found.items() if n.startswith("loss_")).isfinite()


def test_what_is_said_of_one_person_changes_one_row():
    model, _, _ = built("cg_clip")
    before = model.rows()
    model.said.said[1, 0, :3] = torch.tensor([77, 78, 79])
    assert (model.rows() != before).any(1).tolist() == [False, True, False]


def test_the_contrast_learns_which_words_go_with_whom():
    model, needs, _ = built("cg_clip")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    inputs, found = clips(needs), []
    for _ in range(12):
        found.append(terms_of(model, inputs)["loss_caption"].item())
        optimizer.zero_grad()
        loss_of(model, inputs, labels_of()).backward()
        optimizer.step()
    assert found[-1] < 0.8 * found[0]


def test_embeddings_take_the_place_of_words_where_the_file_says_so():
    encoder = {"type": "train.encoders.words.EmbeddingEncoder", "length": 512}
    config = configured("cg_clip", captions=encoder)
    take_needs(config)
    needs = set(config["train_dataloader"]["dataset"]["needs"])
    assert "text" in needs
    assert "words" not in needs
    model = MODELS.build(config["model"])
    model.refresh(Training(needs))
    assert model.said.has_caption.any()
    loss_of(model.train(), clips(needs), labels_of()).backward()
    assert model.captions.write.weight.grad.any()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_project(tmp_path, rows({"train": [1, 2, 5, 8]}))
    (folder / "data/raw/tiny").mkdir(parents=True)
    return folder


def test_a_run_without_captions_is_told_where_to_put_them(project):
    with pytest.raises(PipelineError, match=r"extract\.captions --dataset tiny|captions@tiny"):
        make("stage2", "tiny", *RUN)
    make("captions", "tiny")
    with pytest.raises(PipelineError, match=r"Put captions\.jsonl beside its frames"):
        make("stage2", "tiny", *RUN)


def test_a_run_learns_from_them_and_again_when_they_change(project):
    index = pq.read_table("data/index/tiny.parquet")["tracklet"].to_pylist()
    file = project / "data/raw/tiny/captions.jsonl"

    def trained(word: str) -> tuple[dict, dict]:
        lines = [{"tracklet": one, "text": f"{word} {one[:4]}"} for one in index]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        make("captions", "tiny")
        make("stage2", "tiny", *RUN, "stage2.epochs=1")
        made = Path("work/try/trial/models/tiny/stage2.safetensors")
        return load(made)[0], published(made)

    state, about = trained("person")
    assert about["clips"]["needs"] == ["camids", "frames"]
    assert state["said.said"].ne(0).any(2).sum() == len(index)
    other, _ = trained("walker")
    assert not torch.equal(state["said.said"], other["said.said"])
