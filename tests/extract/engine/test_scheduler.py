"""Schedulers that are missing, foreign, or die; workers that die: each ends, soon, with a line."""

import re
import socket
import subprocess
import time

import pytest

from pipeline.errors import PipelineError
from tests.conftest import ROOT
from tests.extract.engine.test_cluster import (
    PATIENCE_S,
    chunks,
    extract,
    finish,
    free_port,
    make_big,
    started,
    wait_until,
)
from tests.stages import make

pytestmark = pytest.mark.slow


def on_scheduler(project, address):
    project.knobs["runtime"]["scheduler"] = address
    project.set(project.knobs)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:{port}", "tcp://no-such-host.invalid:8786", "127.0.0.1", "tcp://x"]
)
def test_an_address_without_a_scheduler_is_refused_at_once_in_one_line(project, address):
    project.add(1)
    address = address.format(port=free_port())
    on_scheduler(project, address)
    began = time.monotonic()
    with pytest.raises(PipelineError, match=r"no Dask scheduler answers at") as refused:
        make("pose2d", "fake")
    assert time.monotonic() - began < 10
    assert address in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_answers_and_is_no_scheduler_is_refused_soon(project):
    project.add(1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        on_scheduler(project, f"tcp://127.0.0.1:{other.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(PipelineError, match=r"no Dask scheduler answers at"):
            make("pose2d", "fake")
    assert time.monotonic() - began < 30


def dask(project, what, *arguments, **environment):
    line = (f"distributed.cli.dask_{what}", *arguments, "--no-dashboard")
    return started(project.folder, *line, **environment)


def test_a_scheduler_that_dies_in_the_middle_ends_the_run_and_loses_nothing(make_project):
    big, undisturbed = make_big(make_project()), make_big(make_project())
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    on_scheduler(big, address)
    with (
        dask(big, "scheduler", "--host", "127.0.0.1", "--port", str(port)) as scheduler,
        dask(big, "worker", address, "--nthreads", "1", "--nworkers", "1"),
        extract(big) as process,
    ):
        wait_until(lambda: chunks(big) >= 2, process)
        scheduler.kill()
        began = time.monotonic()
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - began < 60
    assert process.returncode == 1
    last = output.strip().splitlines()[-1]
    assert last.startswith(f"error: the Dask scheduler at {address} is gone"), output
    assert "Traceback" not in output
    kept = {file.name: file.stat().st_ino for file in big.folder.glob("work/pose2d/fake/*/chunk-*")}
    assert len(kept) >= 2
    on_scheduler(big, None)
    for project in (big, undisturbed):
        with extract(project) as process:
            finish(process)
    assert big.hashes("pose2d") == undisturbed.hashes("pose2d")


def fated(folder, when, deaths):
    """Return work whose workers die: so many times, while they load or at their chunk 1."""

    class Fated:
        def load(self, rank, threads):
            import os
            import time

            import pyarrow as pa

            def die(now):
                lives = len(list(folder.glob("death*")))
                if now == when and lives < deaths:
                    # Time for the nanny to hear that it is there: else that gives it up.
                    time.sleep(3 if now != "load" else 0)
                    (folder / f"death{lives}").touch()
                    os._exit(1)

            def make(number):
                die(number)
                return pa.table({"status": pa.array([0] * (number + 1), pa.int8())})

            die("load")
            return make

    return Fated()


@pytest.mark.parametrize(("when", "deaths"), [("load", 1), (1, 2), ("load", 99), (1, 99)])
def test_dying_workers_are_replaced_a_few_times(tmp_path, when, deaths):
    from extract.engine import cluster
    from pipeline.params.config import load

    runtime = load(path=ROOT / "params.yaml").runtime
    runtime = runtime.model_copy(update={"workers": 1, "device": "cpu"})
    work = [cluster.Chunk(i, i + 1, tmp_path / f"chunk{i}", i) for i in range(4)]
    began = time.monotonic()

    def run():
        with (
            cluster.connect(runtime) as client,
            cluster.loaded(client, "fated", fated(tmp_path, when, deaths)),
        ):
            return sorted(chunk.number for chunk in cluster.run(client, "fated", work))

    if deaths < 99:
        assert run() == [0, 1, 2, 3]
        assert len(list(tmp_path.glob("death*"))) == deaths
    else:
        with pytest.raises(
            PipelineError,
            match=r"died one after the other|killed every worker|no worker has been left",
        ):
            run()
    assert time.monotonic() - began < 300


def test_a_local_cluster_listens_to_this_machine_alone(project):
    import psutil

    from extract.engine import cluster
    from pipeline.params.config import load

    runtime = load().runtime.model_copy(update={"workers": 1, "device": "cpu", "scheduler": None})
    mine = psutil.Process()
    before = {one.laddr for one in mine.net_connections("inet") if one.status == "LISTEN"}
    with cluster.connect(runtime):
        listening = [
            one.laddr
            for process in [mine, *mine.children(recursive=True)]
            for one in process.net_connections("inet")
            if one.status == "LISTEN" and one.laddr not in before
        ]
    # Scheduler, dashboard, nanny, worker.
    assert len(listening) >= 4
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_no_processes_at_all_do_the_same_work(make_project):
    made = []
    for workers in (0, 1):
        project = make_project()
        for _ in range(3):
            project.add(40, files=5)
        project.knobs["runtime"]["workers"] = workers
        project.set(project.knobs)
        for stage in ("pose2d", "pose3d"):
            with extract(project, stage) as process:
                finish(process)
        made.append([project.hashes(stage) for stage in ("pose2d", "pose3d")])
    assert made[0] == made[1]


def test_tls_keeps_those_out_who_have_no_certificate(own_workers, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=dask", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    page = (ROOT / "docs/cluster.md").read_text()
    names = re.findall(r"export (DASK_\w+)=(\S+)", page)
    assert len(names) == 8
    secrets = {name: value.replace("/secret", str(tmp_path)) for name, value in names}
    own_workers.add(40, files=5)
    port = free_port()
    address = f"tls://127.0.0.1:{port}"
    on_scheduler(own_workers, address)
    line = ("--host", "127.0.0.1", "--port", str(port), "--protocol", "tls")
    with (
        dask(own_workers, "scheduler", *line, **secrets),
        dask(own_workers, "worker", address, "--nthreads", "1", **secrets),
    ):
        with extract(own_workers) as stranger:
            output, _ = stranger.communicate(timeout=PATIENCE_S)
        assert stranger.returncode == 1
        assert "error: params.yaml: no Dask scheduler answers" in output.strip().splitlines()[-1]
        module = ("extract.pose2d", "--dataset", "fake")
        with started(own_workers.folder, *module, **secrets) as friend:
            finish(friend)
    assert own_workers.hashes("pose2d")
