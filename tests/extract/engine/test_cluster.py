"""Real processes, really killed."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from extract.engine.cluster import _share_machine
from pipeline.errors import PipelineError
from tests.conftest import ROOT
from tests.stages import make

PATIENCE_S = 300

pytestmark = pytest.mark.slow


@contextmanager
def started(folder, module, *arguments, **environment):
    """Run a command of the project in `folder`, and kill it when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def extract(project, stage="pose2d"):
    return started(project.folder, f"extract.{stage}", "--dataset", "fake")


def finish(process):
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    return output


def chunks(project):
    return len(list(project.folder.glob("work/pose2d/fake/*/chunk-*.parquet")))


def wait_until(condition, process=None):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def make_big(project):
    """Fill a project with 12 chunks of frames, two of them bad."""
    for number in range(12):
        project.add(1000, split="train" if number < 7 else "gallery", files=40)
    (project.root / "train/0003/0007.jpg").write_bytes(b"")
    (project.root / "gallery/0010/0001.jpg").unlink()
    project.knobs["pose2d"]["max_bad_frames"] = 0.1
    project.set(project.knobs)
    return project


@pytest.fixture
def big(own_workers):
    return make_big(own_workers)


@pytest.fixture(scope="module")
def undisturbed(make_project):
    """Hashes of the tables of a run on the same frames that nobody disturbed."""
    project = make_big(make_project())
    with extract(project) as process:
        finish(process)
    return project.hashes("pose2d")


def test_a_run_killed_five_times_ends_byte_equal_to_an_undisturbed_one(big, undisturbed):
    rng = random.Random(0)
    with extract(big) as process:
        time.sleep(rng.uniform(0, 3))  # before there is anything
        process.send_signal(signal.SIGKILL)
    for _ in range(4):
        before = chunks(big)
        with extract(big) as process:
            wait_until(lambda before=before: chunks(big) > before, process)
            time.sleep(rng.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
        assert not big.folder.joinpath("data/pose2d/fake").exists()
    assert chunks(big) >= 4
    with extract(big) as process:
        finish(process)
    assert big.hashes("pose2d") == undisturbed


def workers_of(process):
    """Return the process ids of Dask's workers."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            line = stat.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if parent == process.pid and b"spawn_main" in line:
            found.append(int(stat.parent.name))
    return found


def test_a_worker_that_dies_is_replaced_and_the_result_is_the_same(big, undisturbed):
    with extract(big) as process:
        wait_until(lambda: chunks(big) >= 2, process)
        os.kill(random.Random(0).choice(workers_of(process)), signal.SIGKILL)
        finish(process)
    assert big.hashes("pose2d") == undisturbed


def test_workers_started_by_hand_on_a_scheduler_do_the_same_work(own_workers):
    for _ in range(4):
        own_workers.add(600, files=20)
    with extract(own_workers) as process:
        finish(process)
    alone = own_workers.hashes("pose2d")
    (own_workers.folder / "data/pose2d/fake/train-00000.parquet").unlink()
    address = f"tcp://127.0.0.1:{free_port()}"
    own_workers.knobs["runtime"]["scheduler"] = address
    own_workers.set(own_workers.knobs)
    dask = "distributed.cli.dask_worker"
    with (
        started(
            own_workers.folder, "distributed.cli.dask_scheduler",
            "--port", address.rpartition(":")[2], "--no-dashboard",
        ),
        started(own_workers.folder, dask, address, "--nthreads", "1", "--no-dashboard"),
        started(own_workers.folder, dask, address, "--nthreads", "1", "--no-dashboard"),
        extract(own_workers) as process,
    ):  # fmt: skip
        finish(process)
    assert own_workers.hashes("pose2d") == alone


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_full_disk_is_one_clear_error_and_loses_nothing(big, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        big.folder.joinpath("work").symlink_to(disk)
        with extract(big) as process:
            output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert output.strip().splitlines()[-1].startswith("error: the disk is full")
        assert chunks(big) > 0
        kept = chunks(big)
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        with extract(big) as process:
            wait_until(lambda: chunks(big) > kept, process)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


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


def test_a_scheduler_that_dies_in_the_middle_ends_the_run_and_loses_nothing(big, undisturbed):
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
    with extract(big) as process:
        finish(process)
    assert big.hashes("pose2d") == undisturbed


def fated(folder, when, deaths):
    """Return work whose workers die: so many times, while they load or at their chunk 1."""

    class Fated:
        def load(self, rank, threads):
            import os

            import pyarrow as pa

            def die(now):
                lives = len(list(folder.glob("death*")))
                if now == when and lives < deaths:
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
        with pytest.raises(PipelineError, match=r"died one after the other|killed every worker"):
            run()
    assert time.monotonic() - began < 240


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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_workers_keep_the_memory_of_a_batch_for_the_next(project):
    from extract.engine import cluster
    from pipeline.params.config import load

    def pages_fetched():
        """Fill a large array twice, as batches do; count the pages the second one asks for."""
        import resource
        from threading import Thread

        counts = []

        def fill():
            for _ in range(2):
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                bytearray(100_000_000)[::4096] = b"x" * len(range(0, 100_000_000, 4096))
                counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

        thread = Thread(target=fill)
        thread.start()
        thread.join()
        return counts[-1]

    runtime = load().runtime.model_copy(update={"workers": 1, "device": "cpu", "scheduler": None})
    with cluster.connect(runtime) as client:
        (count,) = client.run(pages_fetched).values()
    assert count < 2_000


@pytest.mark.parametrize(("workers", "cores"), [(2, 8), (4, 2), (1, 3)])
def test_workers_share_the_cores(project, monkeypatch, workers, cores):
    from pipeline.params.config import load

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    runtime = load().runtime.model_copy(update={"workers": workers, "device": "cpu"})
    processes, threads = _share_machine(runtime)
    assert processes == workers
    assert processes * threads <= max(cores, workers)
