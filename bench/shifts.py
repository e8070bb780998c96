"""Score a trained model where the gallery looks otherwise than the pictures it was trained on.

The queries stay as they are; every gallery tracklet is made darker, blurred, smaller, partly bad or
half hidden on its way into the model. Embedding and scoring are those of the product.

Run it:   python -m bench.shifts
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from bench.measure import DEFAULT, Json, rewrite
from bench.results import PAGE
from pipeline import cli, console, paths
from pipeline.stage import start

if TYPE_CHECKING:
    from train.data.clips import TestDataset

Shift = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
GREY = 128
BAD_SHARE, COVERED = 0.4, (0.6, 0.9)


def gamma(exponent: float) -> Shift:
    """Return the shift that raises brightness to a power: above 1 is darker."""
    from train.data.transforms import tone_table

    table = tone_table(gamma=exponent)
    return lambda frames, _, __: table[frames]


def blurred(share: float) -> Shift:
    """Return a Gaussian blur whose deviation is a share of the height."""
    return _each(lambda frame: cv2.GaussianBlur(frame, (0, 0), share * len(frame)))


def shrunk(height: int) -> Shift:
    """Return the shift to frames that many pixels high, and back to their size."""
    return _each(lambda frame: _low(frame, height))


def bad(frames: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Spoil four frames in ten: half are 8 pixels high, half covered by somebody else."""
    height = frames.shape[1]
    found = frames.copy()
    for i in np.flatnonzero(rng.random(len(frames)) < BAD_SHARE):
        if rng.random() < 0.5:
            found[i] = _low(frames[i], 8)
        else:
            hidden = round(rng.uniform(*COVERED) * height)
            found[i, height - hidden :] = others[i, height - hidden :]
    return found


def hidden(start: float, stop: float) -> Shift:
    """Return the shift that paints the rows between two shares of the height grey."""

    def paint(frame: np.ndarray) -> np.ndarray:
        painted = frame.copy()
        painted[round(start * len(frame)) : round(stop * len(frame))] = GREY
        return painted

    return _each(paint)


def _each(change: Callable[[np.ndarray], np.ndarray]) -> Shift:
    return lambda frames, _, __: np.stack([change(frame) for frame in frames])


def _low(frame: np.ndarray, height: int) -> np.ndarray:
    size = frame.shape[1::-1]
    small = (max(1, round(size[0] * height / size[1])), height)
    # A model that sees fewer rows than that loses nothing.
    if height >= size[1]:
        return frame
    small = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


def shifts() -> dict[str, Shift]:
    """Return all shifts by name."""
    return {
        "as it is": lambda frames, _, __: frames,
        "gamma 0.5": gamma(0.5),
        "gamma 2": gamma(2.0),
        "blurred, deviation 1/64 of the height": blurred(1 / 64),
        "64 pixels high": shrunk(64),
        "32 pixels high": shrunk(32),
        "16 pixels high": shrunk(16),
        "4 frames in 10 blurred or covered": bad,
        "upper half hidden": hidden(0.0, 0.5),
        "lower half hidden": hidden(0.5, 1.0),
    }


class Shifted:
    """Clips with shifted frames, each by a generator of its own.

    Args:
        data: The clips as they are.
        shift: Takes and returns frames `(T, H, W, 3)`, uint8; others to cover them with, of the
            tracklet half the data set away; and a generator.
    """

    def __init__(self, data: "TestDataset", shift: Shift) -> None:
        """Take both."""
        self.table, self.average = data.table, data.average
        self._data, self._shift = data, shift

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Load a clip and shift it."""
        import torch

        item = self._data[index]
        frames, others = (
            one["inputs"]["frames"].permute(0, 2, 3, 1).numpy()
            for one in (item, self._data[(index + len(self) // 2) % len(self)])
        )
        shifted = self._shift(frames, others, np.random.default_rng(index))
        made = torch.from_numpy(np.ascontiguousarray(shifted)).permute(0, 3, 1, 2)
        return item | {"inputs": item["inputs"] | {"frames": made}}


def main(run: cli.Run = DEFAULT, overrides: cli.Overrides = None, json_file: Json = None) -> None:
    """Shift the gallery in ten ways, score each, and write the table of docs/results.md.

    With overrides, as embed.neck=before, or for another run the table is printed only.
    """
    from evaluate.embed import Embedding, tracklet_columns
    from evaluate.score.features import Features
    from evaluate.score.protocol import make_search
    from evaluate.score.run import find_rules
    from pipeline.distances import CosineDistances
    from pipeline.ranking import Ids
    from train.describe import describe, tracklet_features

    stage = start("shifts", run, overrides)
    embedding = Embedding(stage)
    describe_batch, data = describe(embedding.trained.model()), embedding.data
    values = {}
    with console.progress(len(shifts()), "shifts", "embed") as meter:
        for name, shift in shifts().items():
            shifted, workers = Shifted(data, shift), stage.params.runtime.workers
            values[name] = tracklet_features(shifted, describe_batch, workers)["feature"]
            meter.advance()
    index = stage.read(paths.index_file(stage.dataset))
    table = tracklet_columns(data, index, stage.rebuild("index")).to_pydict()
    tracklet, split = (np.array(table[name], object) for name in ("tracklet", "split"))
    ids = Ids(table["pid"], table["camid"], tracklet=tracklet)
    features = Features(split, ids, np.zeros(len(ids)), values)
    search = make_search(features, find_rules(stage.params, index))
    found = {}
    for name in values:
        dist = CosineDistances(search.query.values["as it is"], search.gallery.values[name])
        scores = search.score(dist, 20).summary()
        found[name] = {key: round(100 * scores[key], 1) for key in ("mAP", "rank1")}
    rows = [(name, f"{one['mAP']:.1f}", f"{one['rank1']:.1f}") for name, one in found.items()]
    console.table("A gallery that looks otherwise", ("gallery", "mAP", "Rank-1"), rows)
    if json_file:
        json_file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if run == DEFAULT and not stage.trial:
        lines = ["| gallery | mAP | Rank-1 |", "|---|---:|---:|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        rewrite("shifts", "\n".join(lines), PAGE)


if __name__ == "__main__":
    cli.run(main)
