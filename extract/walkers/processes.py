"""The same work on many things, in processes that may die."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline import console
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from concurrent.futures import Executor

# Deaths without a finished job between them: more is no accident.
DEATHS = 3


def each(
    function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], workers: int
) -> Generator[tuple[int, Any]]:
    """Call a function with each tuple of arguments; what a process left that died is done again.

    Args:
        function: Of a module, so that other processes find it.
        jobs: Arguments.
        workers: Processes; 0 does all in this one.

    Yields:
        Number of the job and what the function returned, in the order in which they end.

    Raises:
        PipelineError: If processes die again and again.
    """
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    left, deaths = dict(enumerate(jobs)), 0
    if not workers:
        yield from ((i, function(*job)) for i, job in left.items())
        return
    while left:
        try:
            with _pool(min(workers, len(left))) as pool:
                futures = {pool.submit(function, *job): i for i, job in left.items()}
                for future in as_completed(futures):
                    result = future.result()
                    del left[futures[future]]
                    deaths = 0
                    yield futures[future], result
        except BrokenProcessPool:
            deaths += 1
            if deaths == DEATHS:
                raise PipelineError(
                    f"{DEATHS} times in a row a process died before it finished anything. They may "
                    "lack memory: lower runtime.workers, or set it to 0. What is finished is kept"
                ) from None
            console.warn(f"a process died: starting again with the {len(left)} jobs that are left")


@contextmanager
def _pool(workers: int) -> Generator["Executor"]:
    """Yield processes of their own start: a forked one could inherit a held lock."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
