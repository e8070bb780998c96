"""What was said about tracklets, as numbers: of words, or what a text encoder made of them."""

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.files import checked
from pipeline.schema import CAPTIONS
from train.data.columns import OF_CAPTIONS

if TYPE_CHECKING:
    import pandas as pd

# Words of a sentence that are looked at, and how many numbers there are for words beside 0: none.
LENGTH, NUMBERS = 48, 8192
_FIX = "Run: python -m extract.captions"


def numbered(text: str) -> list[int]:
    """Return the numbers of the words of a sentence.

    They come from the letters alone, so that no list of words has to be kept: of some thousand
    words a few share a number.

    >>> a, red, coat, again, also_red = numbered("A red coat, a RED")
    >>> a == again, red == also_red, red == coat
    (True, True, False)
    """
    words = re.findall(r"[^\W_]+", text.lower())
    return [1 + crc32(word.encode()) % (NUMBERS - 1) for word in words[:LENGTH]]


class Captions:
    """The sentences about the tracklets of a data set."""

    def __init__(self, file: Path, tracklets: Collection[str], needs: Collection[str]) -> None:
        """Read them.

        Args:
            file: A table of `extract.captions`.
            tracklets: Names, in the order of the data set.
            needs: Which of `words` and `text` to give.

        Raises:
            PipelineError: If the file is damaged, or says nothing of any of the tracklets.
        """
        self._needs = frozenset(needs) & frozenset(OF_CAPTIONS)
        rows = checked.read(file, CAPTIONS, f"{_FIX} --dataset {file.stem}").to_pylist()
        if "text" in self._needs:
            rows = [row for row in rows if row["embedding"]]
        own = set(tracklets)
        said = defaultdict(list)
        for row in rows:
            if row["tracklet"] in own:
                said[row["tracklet"]].append(row)
        if not said:
            raise PipelineError(
                f"the system needs {' and '.join(sorted(self._needs))}, and {file} says "
                f"nothing of these tracklets{_advice(self._needs)}"
            )
        self._said = [said.get(name, []) for name in tracklets]
        self._channels = len(rows[0]["embedding"] or ())

    def __call__(self, position: int, rng: np.random.Generator | None) -> dict[str, Tensor]:
        """Return one sentence about a tracklet: the first, or a random one.

        Args:
            position: Of the tracklet.
            rng: Chooses; None takes the first.
        """
        own = self._said[position]
        row = None
        if own:
            row = own[0 if rng is None or len(own) == 1 else rng.integers(len(own))]
        found = {}
        if "words" in self._needs:
            numbers = numbered(row["text"]) if row else []
            found["words"] = torch.tensor(numbers + [0] * (LENGTH - len(numbers)))
        if "text" in self._needs:
            values = row["embedding"] if row else [0.0] * self._channels
            found["text"] = torch.tensor(values, dtype=torch.float32)
        return found


def captions_of(file: str | None, table: "pd.DataFrame", needs: Collection[str]) -> Captions | None:
    """Return the sentences about the tracklets of a table, None where nobody needs them.

    Raises:
        PipelineError: If there are none.
    """
    if not set(needs) & set(OF_CAPTIONS):
        return None
    if file is None:
        raise PipelineError("the system needs sentences about tracklets, and is told of none")
    return Captions(Path(file), table["tracklet"].tolist(), needs)


def _advice(needs: Collection[str]) -> str:
    what = " with an embedding each" if "text" in needs else ""
    return f". Put captions.jsonl{what} beside its frames ({_FIX} --help), or name another system"
