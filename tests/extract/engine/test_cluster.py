"""Real processes, really killed."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from extract.engine.cluster import _share_machine
from tests.conftest import ROOT

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
        assert output.strip().splitlines()[-1].startswith("error: ")
        assert "No space left on device. Free some space" in output.strip().splitlines()[-1]
        assert chunks(big) > 0
        kept = chunks(big)
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        with extract(big) as process:
            wait_until(lambda: chunks(big) > kept, process)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


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


@pytest.mark.parametrize(("device", "processes"), [("auto", 4), ("cuda:1", 2), ("cpu", 3)])
def test_two_processes_share_a_gpu(project, monkeypatch, device, processes):
    import torch

    from pipeline.params.config import load

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    runtime = load().runtime.model_copy(update={"workers": 3, "device": device})
    assert _share_machine(runtime)[0] == processes
