"""What the benchmarks share: run two ways of doing one thing in turn, and print the ratio."""

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, TypedDict

import numpy as np
import typer

from pipeline import console

Json = Annotated[
    Path | None, typer.Option("--json", help="Also write {case: {ours, opponent, ratio, ...}}.")
]
Work = Callable[[], object]
PAGE = Path("docs/performance.md")
# The run and dataset whose numbers the pages show.
DEFAULT = "walkers"


class Case(TypedDict):
    """One line of a benchmark. A ratio above 1 means that ours is better."""

    ours: float
    opponent: float
    ratio: float
    unit: str
    runs: int
    spread: float


def seconds(work: Work) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare_seconds(ours: Work, opponent: Work, runs: int = 3, opponent_runs: int = 0) -> Case:
    """Time two calls in turn, so that both meet the same disturbances.

    Args:
        ours: What this project does.
        opponent: What a user would run instead.
        runs: How often each runs; the medians are compared.
        opponent_runs: How often the opponent runs, if it is too slow for `runs`.

    Returns:
        Medians in seconds, with `spread` the range of our runs relative to their median.
    """
    ours()  # imports, thread pools and the first touch of memory are not what is compared
    mine, theirs = [], []
    for run in range(runs):
        mine.append(seconds(ours))
        if run < (opponent_runs or runs):
            theirs.append(seconds(opponent))
    return case(mine, theirs, "s")


def compare_peak_memory(ours: Work, opponent: Work) -> Case:
    """Run two functions of a module in a process each and compare their peak memory in GB."""
    return case([_peak_gb(ours)], [_peak_gb(opponent)], "GB")


def case(ours: list[float], opponent: list[float], unit: str, more_is_better: bool = False) -> Case:
    """Make a line of the table from the measurements of both sides."""
    mine, theirs = statistics.median(ours), statistics.median(opponent)
    return {
        "ours": mine,
        "opponent": theirs,
        "ratio": mine / theirs if more_is_better else theirs / mine,
        "unit": unit,
        "runs": len(ours),
        "spread": (max(ours) - min(ours)) / mine,
    }


def finish(title: str, cases: dict[str, Case], json_file: Path | None) -> None:
    """Print the table, and write it as JSON if a file is named."""
    rows = [
        (
            name,
            f"{found['ours']:.3g} {found['unit']}",
            f"{found['opponent']:.3g} {found['unit']}",
            f"{found['ratio']:.2f}",
            found["runs"],
            f"{found['spread']:.0%}",
        )
        for name, found in cases.items()
    ]
    console.table(title, ("case", "ours", "opponent", "ratio", "runs", "spread"), rows)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(cases, indent=2) + "\n", encoding="utf-8")


def machine() -> str:
    """Name this machine by its cores and processor."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), model)
    return f"{len(os.sched_getaffinity(0))} cores, {model}"


def rewrite(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between the markers of `name` in a page of docs/."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def clustered_features(
    rows: int, channels: int, persons: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return normalised features that crowd around persons, with pid and camid of every row.

    The noise is such that a MARS-sized search has an mAP of about 0.85, as good models have.
    """
    rng = np.random.default_rng(seed)
    pid = rng.integers(1, persons + 1, rows)
    camid = rng.integers(0, 6, rows)
    centres = rng.standard_normal((persons + 1, channels), dtype=np.float32)
    features = centres[pid] + 2.1 * rng.standard_normal((rows, channels), dtype=np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True), pid, camid


def _peak_gb(work: Work) -> float:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(work, sender))
    process.start()
    sender.close()
    peak = receiver.recv()
    process.join()
    return peak


def _report_peak(work: Work, sender: Connection) -> None:
    work()
    # ru_maxrss would also count the parent's memory at the time of the fork.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = int(status.split("VmHWM:")[1].split()[0])
    sender.send(kilobytes * 1024 / 1e9)
