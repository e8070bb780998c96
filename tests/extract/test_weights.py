import errno
import hashlib
import http.server
import os
import threading
from pathlib import Path

import pytest

from extract import weights
from extract.engine import spec
from pipeline.errors import PipelineError
from tests.conftest import ROOT

CONTENT = bytes(range(256)) * 2000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, honours Range, and breaks off once after `broken_after` bytes."""

    broken_after = None
    ranges: list = []  # noqa: RUF012

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.ranges.append(start)
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end, type(self).broken_after = self.broken_after, None
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def url():
    Server.broken_after, Server.ranges = None, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/model.pth"
        server.shutdown()


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Write conf/weights/toy.yaml and run the stage on it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/weights").mkdir(parents=True)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())

    def call(source="download", **file):
        lines = [f"source: {source}", "licence: none", "files:", "  - name: model.pth"]
        lines += [f"    {key}: {value}" for key, value in file.items()]
        (tmp_path / "conf/weights/toy.yaml").write_text("\n".join(lines) + "\n")
        weights.main("toy", quiet=True)
        return tmp_path / "data/weights/toy/model.pth"

    return call


SHA = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_is_fetched_and_its_hash_checked(fetch, url):
    assert fetch(url=url, sha256=f"'{SHA}'").read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_ended(fetch, url):
    Server.broken_after = 100_000
    with pytest.raises(PipelineError, match="Put that file at"):
        fetch(url=url)
    assert fetch(url=url, sha256=f"'{SHA[:8]}'").read_bytes() == CONTENT
    assert Server.ranges == [0, 100_000]


def test_work_and_data_may_lie_on_two_disks(fetch, url, monkeypatch):
    def within_a_disk(rename):
        def call(source, target):
            if "work" in Path(source).parts and "work" not in Path(target).parts:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            rename(source, target)

        return call

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, within_a_disk(getattr(os, name)))
    assert fetch(url=url, sha256=f"'{SHA}'").read_bytes() == CONTENT
    assert not list(Path("work").rglob("*.part"))


def test_a_wrong_hash_leaves_nothing_behind(fetch, url, tmp_path):
    with pytest.raises(PipelineError, match="does not have the sha256 00000000"):
        fetch(url=url, sha256="'00000000'")
    assert not list(tmp_path.rglob("model.pth*"))


def test_offline_the_message_says_which_file_to_put_where(fetch):
    with pytest.raises(PipelineError, match=r"Put that file at data/weights/toy/model.pth by hand"):
        fetch(url="http://127.0.0.1:9/model.pth")


def test_a_file_put_there_by_hand_is_used(fetch, tmp_path):
    file = tmp_path / "data/weights/toy/model.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    assert fetch(url="http://127.0.0.1:9/x", sha256=f"'{SHA}'").read_bytes() == CONTENT


def test_local_weights_are_linked(fetch, tmp_path):
    (tmp_path / "elsewhere.pth").write_bytes(CONTENT)
    link = fetch(source="local", path=tmp_path / "elsewhere.pth", sha256=f"'{SHA[:12]}'")
    assert link.is_symlink()
    assert link.read_bytes() == CONTENT


def test_an_unknown_model_is_answered_with_the_nearest_name(fetch, url):
    fetch(url=url)
    with pytest.raises(
        PipelineError, match=r"conf/weights/toi.yaml is missing. Did you mean toy\?"
    ):
        spec.load("toi")


def test_a_misspelt_key_is_named(fetch):
    with pytest.raises(PipelineError, match=r"toy.yaml: files.0.sha: extra inputs"):
        fetch(sha="abc")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf/weights").glob("*.yaml")), ids=lambda f: f.stem
)
def test_the_specs_of_this_project_name_configs_that_exist(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    weights_spec = spec.load(file.stem)
    for part in ("estimator", "lifter"):
        if getattr(weights_spec, part) and weights_spec.source == "download":
            assert weights_spec.config(part).is_file()
            names = {entry.name: entry for entry in weights_spec.files}
            assert (
                names[weights_spec.part(part).checkpoint].sha256
                in weights_spec.part(part).checkpoint
            )
