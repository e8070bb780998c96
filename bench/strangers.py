"""Is the share of strangers that a search prints true? Asked of the test people of a run.

Some of them stand for the people held out of training, whose distances a model notes; how many of
the others come as near as it says is counted. Nobody here was trained on.

Run it:   python -m bench.strangers
"""

from typing import Annotated

import numpy as np
import typer

from pipeline import console, paths
from pipeline.cli import run
from pipeline.errors import PipelineError

DRAWS, PRINTED = 200, (1 / 3, 1 / 5, 1 / 10, 1 / 20, 1 / 30)


def counted(
    features: np.ndarray, pids: np.ndarray, held_out: int, rng: np.random.Generator
) -> list[float]:
    """Return the share of pairs of other people at the distance of each printed share.

    Args:
        features: Unit features `(N, C)`.
        pids: Whose they are, `(N,)`.
        held_out: Number of people to ask.
        rng: Draws them.
    """
    from train.run.strangers import nearness

    asked = np.isin(pids, rng.choice(np.unique(pids), held_out, replace=False))
    noted = nearness(features[asked], pids[asked])
    others, theirs = features[~asked], pids[~asked]
    first, second = np.triu_indices(len(theirs), 1)
    apart = theirs[first] != theirs[second]
    distance = 1 - np.sum(others[first[apart]] * others[second[apart]], axis=1)
    shares = -np.log(noted["shares"])
    at = np.interp(-np.log(PRINTED), shares, noted["distances"])
    return [float((distance <= one).mean()) for one in at]


def main(
    name: Annotated[
        str, typer.Option("--run", help="Whose features, of data/features/.")
    ] = "walkers",
    held_out: Annotated[int, typer.Option(min=2, help="People to ask.")] = 12,
) -> None:
    """Print a table: what is said of strangers, and what is true of others."""
    import pyarrow.parquet as pq

    from pipeline.distances import normalised

    file = paths.features_file(name)
    if not file.exists():
        raise PipelineError(f"{file} is missing. Run: dvc repro embed@{name}")
    table = pq.read_table(file, columns=["pid", "feature"])
    table = table.filter(np.array(table["pid"]) > 0)
    features = normalised(np.stack(table["feature"].to_numpy()))
    pids, rng = table["pid"].to_numpy(), np.random.default_rng(0)
    found = np.array([counted(features, pids, held_out, rng) for _ in range(DRAWS)])
    rows = [
        (
            f"1 in {1 / share:.0f}",
            f"1 in {1 / column.mean():.0f}",
            *np.percentile(column, [5, 95]).round(3),
        )
        for share, column in zip(PRINTED, found.T, strict=True)
    ]
    console.table(
        f"{held_out} people of {name} asked, {DRAWS} times",
        ("printed", "true of others, mean", "5 % of draws", "95 %"),
        rows,
    )


if __name__ == "__main__":
    run(main)
