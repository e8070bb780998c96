"""Can a straight line tell from a feature which spectrum a tracklet was seen in?

A feature that is one person's by day and by night says nothing of it: half of the tracklets are
told right. What scikit-learn's logistic regression learns on some people is asked of others, so
that no person is known by anything else.

Run it:   python -m bench.probe --run walkers
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.measure import DEFAULT
from pipeline import console, paths
from pipeline.cli import run
from pipeline.errors import PipelineError

FOLDS, LIMIT = 5, 4000


def told(features: np.ndarray, spectra: np.ndarray, pids: np.ndarray) -> float:
    """Return which share of tracklets is told right, the mean over spectra: .5 is by chance.

    Args:
        features: `(N, C)`.
        spectra: Names of two, `(N,)`.
        pids: Whose they are, `(N,)`: those of a person are never learnt from and asked both.

    Raises:
        PipelineError: If there are not two spectra, or one person alone was seen in one of them.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds = np.unique(spectra)
    people = min((len(np.unique(pids[spectra == one])) for one in kinds), default=0)
    if len(kinds) != 2 or people < 2:
        seen = ", ".join(map(str, kinds)) or "none"
        raise PipelineError(
            f"a probe compares two people or more in each of two spectra; spectra here: {seen}, "
            f"people in the rarer: {people}. Name a run of a dataset with both"
        )
    folds = StratifiedGroupKFold(min(FOLDS, people), shuffle=True, random_state=0)
    line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    said = cross_val_predict(line, features, spectra, groups=pids, cv=folds)
    return float(balanced_accuracy_score(spectra, said))


def told_from(files: list[Path]) -> dict[str, float]:
    """Return `told` of each feature of some tables, by its name.

    A tracklet that is query and in the gallery counts once. Of very many some are drawn.

    Args:
        files: Tables of features, of the same tracklets.

    Raises:
        PipelineError: If one is missing or damaged, or the spectra are not two.
    """
    from evaluate.score.features import read_features

    found = {}
    for file in files:
        table = read_features([file])
        names = table.views.get("spectrum", np.full(len(table), None))
        _, first = np.unique(table.tracklet, return_index=True)
        first = first[np.array([isinstance(names[i], str) for i in first], bool)]
        keep = np.sort(np.random.default_rng(0).permutation(first)[:LIMIT])
        pids, spectra = table.ids.pid[keep], names[keep].astype(str)
        found |= {name: told(values[keep], spectra, pids) for name, values in table.values.items()}
    return found


def main(
    name: Annotated[
        str, typer.Option("--run", help="Whose features, of data/features/.")
    ] = DEFAULT,
) -> None:
    """Print how well a straight line tells the spectra apart, from each feature of a run."""
    found = told_from([paths.features_file(name), paths.baselines_file(name)])
    rows = [(feature, f"{100 * share:.1f}") for feature, share in found.items()]
    console.table("Spectrum told from a feature (chance: 50)", ("feature", "right, %"), rows)


if __name__ == "__main__":
    run(main)
