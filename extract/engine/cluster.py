"""Run chunks of work on Dask: a cluster by its address, or worker processes started here."""

import asyncio
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import dask
from distributed import CancelledError, Client, LocalCluster, as_completed, get_worker
from distributed.comm import CommClosedError
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker

from extract.engine.scheduler import CONNECT_S, call, first_line
from pipeline import console
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.params.knobs import RuntimeParams

# Two chunks per worker: one at work, one waiting, whatever the size of the dataset.
IN_FLIGHT = 2
# How often to look for a finished chunk, how often whether the cluster lives, and how long to do
# without a worker.
PAUSE_S = 0.02
LOOK_S = 2.0
WITHOUT_WORKER_S = 180
# Deaths of workers without a finished chunk between them: more is no accident.
DEATHS = 5
# Whoever reaches a Dask port can run code: by default only this machine does.
LOOPBACK = "127.0.0.1"

# glibc reads these when a process starts. By default, and more so by Dask's, a worker would give
# the memory of every batch back, and have it filled with zeros again for the next one.
MALLOC = {
    "MALLOC_ARENA_MAX": 1,
    "MALLOC_MMAP_THRESHOLD_": 2**32,
    "MALLOC_TRIM_THRESHOLD_": 2**33,
}


class Work(Protocol):
    """What a stage does: sent once to each worker, where it loads its model."""

    def load(self, rank: int, threads: int) -> Callable[[Any], "pa.Table"]:
        """Return the function from a chunk's input to its rows.

        Args:
            rank: The worker's number, which picks the GPU.
            threads: CPU threads it may use.
        """


@dataclass(frozen=True)
class Chunk:
    """One task.

    Attributes:
        number: Which chunk it is.
        frames: How many rows it makes.
        path: The file it becomes.
        input: What the worker needs to know to make it.
        bad: How many of its frames are missing or unreadable, when it is made.
    """

    number: int
    frames: int
    path: Path
    input: Any
    bad: int = 0


@contextmanager
def connect(runtime: "RuntimeParams") -> Generator[Client]:
    """Connect to `runtime.scheduler`, or start worker processes: some per GPU, or so many as asked.

    Raises:
        PipelineError: If no scheduler answers at the address, or it goes away.
    """
    # What goes wrong is said here, in one line; each of Dask's loggers has a level of its own.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    if runtime.scheduler:
        client = call(runtime.scheduler)
        try:
            yield client
        except (CancelledError, OSError) as error:
            if client.status == "running":
                raise
            raise PipelineError(
                f"the Dask scheduler at {runtime.scheduler} is gone ({first_line(error)}). Start "
                "it and its workers again, then the same command: finished chunks are kept"
            ) from None
        finally:
            client.close(CONNECT_S)
        return
    workers, threads = _share_machine(runtime)
    before_start = dask.config.get("distributed.nanny.pre-spawn-environ") | MALLOC
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": before_start}),
        LocalCluster(
            n_workers=max(1, workers),
            threads_per_worker=threads,
            processes=workers > 0,
            memory_limit=runtime.memory_limit or 0,
            host=LOOPBACK if workers else None,
            # Any free port: two runs on one machine must not meet on the default one.
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        if find_spec("bokeh"):
            console.say(f"dashboard {cluster.dashboard_link}")
        yield client


def _share_machine(runtime: "RuntimeParams") -> tuple[int, int]:
    """Return worker processes to start, 0 for none beside this one, and CPU threads for each."""
    cores = len(os.sched_getaffinity(0))
    workers = runtime.workers
    # torch takes seconds to import: not where there can be no GPU.
    if workers and runtime.device != "cpu" and shutil.which("nvidia-smi"):
        from extract.engine import models

        workers = models.gpu_processes(runtime.device) or workers
    return workers, max(1, cores // max(1, workers))


class _Model(WorkerPlugin):
    """Holds the loaded model in a worker, also in one that replaces a dead one."""

    def __init__(self, name: str, work: Work) -> None:
        self.name, self._work = name, work

    async def setup(self, worker: Any) -> None:
        # In a thread: the worker must go on answering the scheduler while the model loads.
        rank = int(worker.name) if str(worker.name).isdigit() else 0
        self.make = await asyncio.to_thread(self._work.load, rank, worker.state.nthreads)
        # The model's buffers serve one chunk at a time; its threads are those of the worker.
        self.lock = threading.Lock()


def _make(plugin: str, chunk: Chunk) -> Chunk:
    from extract.engine.chunks import write_chunk

    model = get_worker().plugins[plugin]
    with model.lock:
        table = model.make(chunk.input)
    write_chunk(chunk.path, table)
    bad = sum(status in (1, 2) for status in table["status"].to_pylist())
    return Chunk(chunk.number, table.num_rows, chunk.path, None, bad)


@contextmanager
def loaded(client: Client, name: str, work: Work) -> Generator[None]:
    """Load the model of `work` in every worker, and in those that join or replace another.

    Args:
        client: A connected client.
        name: Names this work among others on the cluster: different work, different name.
        work: What the workers are to do.
    """
    try:
        client.register_plugin(_Model(name, work))
    except CommClosedError:
        if client.status != "running":
            raise
        # A worker died while it loaded: the one that takes its place loads by itself.
    try:
        yield
    finally:
        if client.status == "running":
            with suppress(CommClosedError):
                client.unregister_worker_plugin(name)


def run(client: Client, name: str, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Make chunks on the workers; only a few are in flight at any time.

    Args:
        client: A connected client.
        name: The work that was loaded.
        chunks: What to make.

    Yields:
        Finished chunks, in no particular order.

    Raises:
        PipelineError: If a chunk kills every worker that takes it, or workers die again and again.
    """
    waiting, futures = iter(chunks), as_completed(loop=client.loop)
    watch = _Watch(client)
    try:
        _fill(client, name, waiting, futures)
        while futures.count():
            if not futures.has_ready():
                watch.look()
                time.sleep(PAUSE_S)
                continue
            for future in futures.next_batch(block=False):
                yield _result(future)
            watch.has_progress = True
            _fill(client, name, waiting, futures)
    finally:
        futures.clear()


def _fill(client: Client, name: str, waiting: Iterator[Chunk], futures: as_completed) -> None:
    """Keep `IN_FLIGHT` chunks per worker under way; workers may join at any time."""
    room = IN_FLIGHT * max(1, len(client.nthreads())) - futures.count()
    for _ in range(room):
        chunk = next(waiting, None)
        if chunk is None:
            return
        futures.add(client.submit(_make, name, chunk, key=f"{name}-{chunk.number}"))


class _Watch:
    """Notices that a cluster will not get any further."""

    def __init__(self, client: Client) -> None:
        self._client, self._is_told = client, False
        self._had_workers = bool(client.nthreads())
        self._looked = self._seen = time.monotonic()
        self._deaths, self.has_progress = self._count_deaths(), False

    def _count_deaths(self) -> int:
        return sum(
            event.get("action") == "remove-worker" and not event.get("expected")
            for _, event in self._client.get_events("all")
        )

    def look(self) -> None:
        """Look from time to time whether there is hope.

        Raises:
            PipelineError: If there is none.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked, deaths = now, self._count_deaths()
        if self.has_progress:
            self._deaths, self.has_progress = deaths, False
        if deaths - self._deaths > DEATHS:
            raise PipelineError(
                f"{DEATHS} workers died one after the other and finished nothing. They may lack "
                "memory: lower runtime.workers or runtime.batch_frames. Finished chunks are kept"
            )
        if self._client.nthreads():
            self._had_workers, self._seen = True, now
        elif self._had_workers and now - self._seen > WITHOUT_WORKER_S:
            raise PipelineError(
                f"no worker has been left for {WITHOUT_WORKER_S} s. Start some, then the same "
                "command: finished chunks are kept"
            )
        elif not self._had_workers and not self._is_told:
            console.warn("the Dask scheduler has no workers yet: waiting for the first")
            self._is_told = True


def _result(future: Any) -> Chunk:
    try:
        return future.result()
    except KilledWorker as error:
        raise PipelineError(
            f"chunk {error.task} killed every worker that took it. Give workers more memory "
            "(runtime.memory_limit) or smaller batches (runtime.batch_frames)"
        ) from None
