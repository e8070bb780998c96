"""Train every part of the method in three rendered worlds, and write the tables of docs/results.md.

The other systems too, each in the world that shows what it is for (`bench.day_one`).

Run:     python -m bench.results
Go on:   the same command; what docs/results.json holds is not trained again

Each cell is a DVC experiment, so that what a world has in common (frames, joints, shards, stage 1)
is made once. Experiments run in clones of the project (work/results/).
"""

import hashlib
import json
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Lock
from typing import Annotated, Any

import typer

from bench import day_one
from bench.cells import (
    BASELINE,
    COLOUR,
    ONCE,
    RUN,
    STAGES,
    TARGET,
    VARIANTS,
    WORLDS,
    Cell,
    groups,
    key,
    overrides,
)
from bench.clones import Clone
from bench.measure import machine, rewrite
from bench.probe import told_from
from pipeline import console, paths
from pipeline.cli import run

PAGE, FOUND = Path("docs/results.md"), Path("docs/results.json")
# Of a table, at most.
SEEDS = 10

# `mAP`, `mINP`, `rank1`, and `version`: the digest of the code and the knobs that made them.
Scores = dict[str, Any]


def load() -> dict[str, Scores]:
    """Return what was found so far, by `world / variant / seed`, whatever version found it."""
    return json.loads(FOUND.read_text()) if FOUND.exists() else {}


def version(cell: Cell) -> str:
    """Return a digest of the code and the knobs that decide the scores of a cell."""
    from pipeline.code.hashes import digest
    from pipeline.params.config import load as load_params

    world, variant, seed = cell
    if variant == COLOUR:
        cell = (world, BASELINE, seed)
    params = load_params(overrides(cell))
    knobs = params.model_dump(mode="json")
    del knobs["runtime"]
    decides = {stage: digest(stage, RUN, params) for stage in STAGES} | {"knobs": knobs}
    text = json.dumps(decides, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def present(found: dict[str, Scores], seeds: int) -> dict[str, Scores]:
    """Return what was found by the code and the knobs of today."""
    cells = [cell for group in groups(seeds) for cell in group]
    cells += [(world, COLOUR, seed) for world in WORLDS for seed in range(seeds)]
    versions = {key(cell): version(cell) for cell in cells}
    return {
        at: scores for at, scores in found.items() if scores.get("version") == versions.get(at, "")
    }


def run_cell(clone: Clone, cell: Cell) -> dict[str, Scores]:
    """Run the experiment of a cell; return its scores, and those of its colour baseline.

    Raises:
        PipelineError: If it failed.
    """
    name = "results-" + "".join(c if c.isalnum() else "-" for c in key(cell))
    metrics = clone.experiment(name, overrides(cell), TARGET)
    world, variant, seed = cell
    more = {}
    if world in day_one.WORLDS:
        views = clone.published(name, "by_view.json")
        told = None
        # Where both are tested there is something to tell.
        if "spectrum" in metrics:
            told = told_from([clone.output(name, paths.features_file(RUN))])["feature"]
        more = {"also": day_one.also(metrics, views, told)}
    found = {cell: metrics}
    # Colours are averaged over the frames of a clip, so those of longer clips differ a little.
    if variant == BASELINE:
        found[world, COLOUR, seed] = metrics["baselines"]["colour"]
    names = ("mAP", "mINP", "rank1")
    return {
        key(at): {name: scores[name] for name in names} | more | {"version": version(at)}
        for at, scores in found.items()
    }


def table(found: dict[str, Scores]) -> str:
    """Return the Markdown table: mAP and Rank-1 of every variant in every world."""
    lines = [
        "| | " + " | ".join(WORLDS) + " |",
        "|---|" + "---:|" * len(WORLDS),
    ]
    for variant in (COLOUR, *VARIANTS):
        cells = [_summary(found, world, variant) for world in WORLDS]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tried(found: dict[str, Scores]) -> str:
    """Return the Markdown table of what else was tried, beside the variant with the same seed."""
    lines = ["| tried | in | world | with it | without |", "|---|---|---|---:|---:|"]
    for name, (world, base, _) in ONCE.items():
        with_it, without = (_one(found.get(key((world, variant, 0)))) for variant in (name, base))
        lines.append(f"| {name} | {base} | {world} | {with_it} | {without} |")
    return "\n".join(lines)


def _one(scores: Scores | None) -> str:
    return f"{100 * scores['mAP']:.1f} ({100 * scores['rank1']:.1f})" if scores else "not run"


def _summary(found: dict[str, Scores], world: str, variant: str) -> str:
    start = f"{world} / {variant} / "
    runs = [scores for at, scores in sorted(found.items()) if at.startswith(start)]
    if not runs:
        return "not run"
    values = {name: [100 * scores[name] for scores in runs] for name in ("mAP", "rank1")}
    mean = {name: f"{statistics.mean(own):.1f}" for name, own in values.items()}
    if len(runs) == 1:
        return f"{mean['mAP']} ({mean['rank1']}), one run"
    return f"{mean['mAP']} ± {statistics.stdev(values['mAP']):.1f} ({mean['rank1']})"


def write(found: dict[str, Scores], total: int) -> None:
    """Keep the scores, and put the tables between their markers in docs/results.md.

    Args:
        found: Scores of the present version.
        total: How many there are to be.
    """
    with paths.write_atomic(FOUND) as temporary:
        temporary.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    rewrite("results", f"{said(found, total)}\n\n{table(found)}", PAGE)
    rewrite("tried", tried(found), PAGE)
    rewrite("day_one", day_one.table(found, SEEDS), PAGE)


def said(found: dict[str, Scores], total: int) -> str:
    """Return what the page says of its numbers."""
    return (
        f"Measured on {machine()}. Of {total} runs, {len(found)} are of the present code and "
        "knobs; others are left out until they are made again."
    )


Seeds = Annotated[int, typer.Option(help="Seeds of training.")]
Jobs = Annotated[int, typer.Option(help="Experiments that run side by side.")]
Only = Annotated[str, typer.Option(help="Only cells whose name contains this.")]


def main(seeds: Seeds = 3, jobs: Jobs = 2, only: Only = "") -> None:
    """Train all variants in all worlds, and write docs/results.md."""
    found = present(load(), seeds)
    all_groups = groups(seeds)
    wanted = [
        [cell for cell in group if only in key(cell) and key(cell) not in found]
        for group in all_groups
    ]
    total = sum(map(len, all_groups)) + seeds * len(WORLDS)
    missing = sum(map(len, wanted))
    with console.progress(missing, "runs", "results") as meter:
        _train(wanted, jobs, found, lambda: (write(found, total), meter.advance()))
    write(found, total)
    console.summary(PAGE, f"{missing} runs", "git diff docs/results.md")


def _train(
    wanted: list[list[Cell]], jobs: int, found: dict[str, Scores], keep: Callable[[], object]
) -> None:
    """Train the cells of each group one after the other, some groups side by side."""
    clones: Queue[Clone] = Queue()
    for number in range(jobs):
        clones.put(Clone("results", number))
    lock = Lock()

    def train(group: list[Cell]) -> None:
        clone = clones.get()
        try:
            for cell in group:
                scores = run_cell(clone, cell)
                with lock:
                    found.update(scores)
                    keep()
        finally:
            clones.put(clone)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(train, wanted))


if __name__ == "__main__":
    run(main)
