"""What is published says what it is, of which data, how good, and under which licence."""

import base64
import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from evaluate.describe import Describer
from evaluate.publish.__main__ import main
from evaluate.publish.folder import CARD, CONFIG, WEIGHTS, config_of
from evaluate.publish.hub import send
from pipeline.errors import PipelineError
from pipeline.params.config import merge
from pipeline.stage import start
from tests.evaluate.publish.taken import MODEL, make_project, note, take
from tests.models import publish
from train.trained import Trained
from train.weights.checkpoint import load

NAMES = {CONFIG, WEIGHTS, CARD}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Return a project with a scored model."""
    folder = tmp_path_factory.mktemp("scored")
    with contextlib.chdir(folder):
        make_project(folder)
    return folder


@pytest.fixture
def project(scored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(scored, tmp_path, dirs_exist_ok=True)


def change(knobs: dict) -> None:
    file = Path("params.yaml")
    file.write_text(yaml.safe_dump(merge(yaml.safe_load(file.read_text()), knobs)))


def test_the_command_writes_a_folder_and_replaces_it(project, capsys):
    for _ in range(2):
        main("tiny", out=Path("away"))
        assert {file.name for file in Path("away").iterdir()} == NAMES
        assert "written  away" in capsys.readouterr().out
        # Even if the model, which DVC may have linked, cannot be written.
        assert os.access("away/model.safetensors", os.W_OK)
        MODEL.chmod(0o444)
    assert (project / "away" / WEIGHTS).read_bytes() == MODEL.read_bytes()
    assert not list(project.glob(".away*"))


def test_a_folder_says_to_nobody_where_weights_lay(project):
    about = load(MODEL)[1]["about"]
    about["model"]["visual"]["weights"] = "/home/anna/w.pth"
    note(model=about["model"])
    trained = Trained.of(start("publish", "tiny"))
    assert "anna" in json.dumps(trained.config)
    assert "anna" not in config_of("tiny", trained, "rrs").model_dump_json()


def test_the_card_says_what_was_scored_by_which_rules(project):
    take(Path("away"))
    scores = json.loads(Path("reports/tiny/scores.json").read_text())
    read = ModelCard.load("away/README.md")
    found = {one.metric_type: one.metric_value for one in read.data.eval_results}
    assert found["mAP"] == pytest.approx(100 * scores["mAP"], abs=0.01)
    assert found["rank1"] == pytest.approx(100 * scores["rank1"], abs=0.01)
    low, high = (100 * scores["interval95"]["mAP"][end] for end in ("low", "high"))
    assert f"| this model | {100 * scores['mAP']:.1f} [{low:.1f}, {high:.1f}] |" in read.text
    assert f"colours of the clothes alone | {100 * scores['baselines']['colour']['mAP']:.1f}" in (
        read.text
    )
    assert scores["protocol"] in read.text
    assert "12 people whom training never saw, 1 in 100 lies as near" in read.text
    assert "resized to 128 x 64" in read.text
    assert "is no surveillance product" in read.text


def test_a_licence_is_that_of_data_and_weights(project):
    take(Path("away"))
    # A dataset that is not rendered by this project has terms of its own.
    assert ModelCard.load("away/README.md").data.license == "other"
    assert "trained on `tiny`: the terms of that dataset hold" in Path("away/README.md").read_text()
    change({"runs": {"tiny": {"start": "data/weights/clip_vit_b16"}}})
    change({"runs": {"tiny": {"encoder": "conv_stem"}}})
    shutil.copytree(Path(__file__).parents[3] / "conf/weights", "conf/weights")
    take(Path("away"))
    assert "started from `clip_vit_b16`: MIT; trained on" in Path("away/README.md").read_text()
    take(Path("away"), licence="CC BY-NC 4.0")
    assert "CC BY-NC 4.0. The code" in Path("away/README.md").read_text()


def test_scores_of_another_model_are_not_put_on_the_card(project):
    publish("tiny", "stage2.seed=1")
    with pytest.raises(PipelineError, match=r"scores.json is of another model .* repro score@tiny"):
        take(Path("away"))
    Path("reports/tiny/scores.json").unlink()
    with pytest.raises(PipelineError, match=r"scores.json is missing. Run: dvc repro score@tiny"):
        take(Path("away"))
    assert not Path("away").exists()
    assert not list(project.glob(".away*"))


def test_a_model_of_frames_in_random_order_is_none_to_take(project):
    publish("tiny", "stage2.shuffle_frames=true")
    with pytest.raises(PipelineError, match="trained on frames in random order"):
        take(Path("away"))


def test_other_files_are_not_replaced(project):
    Path("away").mkdir()
    Path("away/thesis.tex").write_text("years")
    with pytest.raises(PipelineError, match=r"away holds other files \(thesis.tex\)"):
        take(Path("away"))
    take(Path("new"))
    shutil.copy("away/thesis.tex", "new")
    with pytest.raises(PipelineError, match=r"new holds other files \(thesis.tex\)"):
        take(Path("new"))
    assert Path("new/thesis.tex").read_text() == "years"


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as takes files: it keeps them in a local folder."""

    folder: Path
    seen: list[dict]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.seen.append(json.loads(body))
            name = f"{self.seen[-1]['organization']}/{self.seen[-1]['name']}"
            self.answer({"url": f"http://{self.headers['Host']}/{name}", "name": name})
        elif "/preupload/" in self.path:
            files = [one["path"] for one in json.loads(body)["files"]]
            modes = [{"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in files]
            self.answer({"files": modes})
        elif "/commit/" in self.path:
            self.commit([json.loads(line) for line in body.splitlines()])
        else:
            self.answer({}, 200)

    def commit(self, operations: list[dict]) -> None:
        for one in operations:
            if one["key"] == "file":
                target = self.folder / one["value"]["path"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(base64.b64decode(one["value"]["content"]))
        url = f"http://{self.headers['Host']}/anna/walk/commit/{'0' * 40}"
        self.answer({"commitOid": "0" * 40, "commitUrl": url, "hookOutput": ""})

    def answer(self, content: dict, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[type[Hub]]:
    """Start a hub of this machine's own."""
    handler = type("Handler", (Hub,), {"folder": tmp_path / "hub", "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", url)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("public", [False, True])
def test_a_hub_gets_the_folder_as_it_is(project, hub, capsys, public):
    main("tiny", out=Path("away"), hub="anna/walk", public=public)
    assert "anna/walk" in capsys.readouterr().out
    assert {file.name for file in hub.folder.iterdir()} == NAMES
    for name in NAMES:
        assert (hub.folder / name).read_bytes() == Path("away", name).read_bytes()
    assert [one.get("visibility") for one in hub.seen] == ["public" if public else "private"]
    assert Describer.load(hub.folder).trained.clip_frames == 4


def test_a_hub_that_takes_nothing_is_one_line(project, hub, monkeypatch):
    monkeypatch.setattr(hub, "do_POST", lambda self: self.answer({"error": "no"}, 401))
    monkeypatch.setattr(hub, "do_GET", lambda self: self.answer({"error": "no"}, 401), False)
    take(Path("away"))
    with pytest.raises(PipelineError, match=r"the hub does not take anna/walk .*hf auth login"):
        send(Path("away"), "anna/walk", False)
    with pytest.raises(PipelineError, match="the hub does not take a/b/c"):
        send(Path("away"), "a/b/c", False)
