"""Which clips make a batch, as a function of seed and epoch alone."""

from collections.abc import Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

import numpy as np
from mmengine.dist import get_dist_info

from pipeline import console
from pipeline.errors import PipelineError
from train.registry import DATA_SAMPLERS

if TYPE_CHECKING:
    import pandas as pd


class Draw(NamedTuple):
    """One item to load: which tracklet, and the key of every random choice made for it.

    Augmentation depends on the key only, so a batch has the same bytes whatever the number of
    workers, and also after a resume.
    """

    index: int
    key: tuple[int, int, int]


class Labelled(Protocol):
    """A data set that knows the label of every tracklet."""

    labels: Sequence[int]


class Viewed(Labelled, Protocol):
    """A data set that also knows how every tracklet was seen."""

    table: "pd.DataFrame"


@DATA_SAMPLERS.register_module()
class PKSampler:
    """Yield batches of P identities with K tracklets each, so every anchor has a positive.

    The tracklets of an identity are shuffled and cut into groups of K; a group that is short is
    filled with other tracklets of the identity, and only then with the same ones again (other
    frames of them are drawn). A batch takes the groups of P different identities. All ranks make
    the same plan; rank r loads its share of the clips of every batch.

    Args:
        dataset: Has `labels`.
        identities: P, over all processes.
        clips: K.
        seed: The run's seed.
        rank: Of this process; asked of torch.distributed when None.
        world: Number of processes; asked of torch.distributed when None.
        balance: Split the K tracklets of an identity evenly over the values of this column of the
            data set's `table`. Those that are rarer come again, with other frames; an identity
            that has one value alone is drawn as ever, and how many are so is said.

    Raises:
        PipelineError: If there are fewer identities than P, or P * K does not divide by `world`.

    >>> class Toy:
    ...     labels = [0, 0, 1, 1, 2, 2]
    >>> sampler = PKSampler(Toy, identities=2, clips=2, seed=0)
    >>> len(sampler), sorted(Toy.labels[draw.index] for draw in sampler)[:2]
    (4, [0, 0])
    """

    def __init__(
        self,
        dataset: "Labelled | Viewed",
        identities: int,
        clips: int,
        seed: int,
        rank: int | None = None,
        world: int | None = None,
        balance: Literal["spectrum", "platform"] | None = None,
    ) -> None:
        """Count the groups of every identity; the number of batches follows."""
        self.rank, self.world = get_dist_info()
        if rank is not None:
            self.rank = rank
        if world is not None:
            self.world = world
        labels = np.asarray(dataset.labels)
        self._tracklets = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if len(self._tracklets) < identities:
            raise PipelineError(
                f"a batch takes {identities} identities, but the data hold "
                f"{len(self._tracklets)}. Lower stage1.identities and stage2.identities"
            )
        if identities * clips % self.world:
            raise PipelineError(
                f"{identities} identities with {clips} clips each do not divide over {self.world} "
                "processes. Change identities or clips of the stage, or the number of processes"
            )
        self.identities, self.clips, self.seed, self.epoch = identities, clips, seed, 0
        self._sides = [[own] for own in self._tracklets]
        if balance is not None:
            table = cast("Viewed", dataset).table
            self._sides = _sides(self._tracklets, table[balance].to_numpy(object), balance)
        self._groups = np.array([-(-len(own) // clips) for own in self._tracklets])
        self.batches = _most_batches(self._groups, identities)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose plan is yielded next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of items this process loads in an epoch."""
        return self.batches * self.identities * self.clips // self.world

    def __iter__(self) -> Iterator[Draw]:
        """Yield this process's items of the epoch."""
        plan = self._plan(np.random.default_rng((self.seed, self.epoch)))
        per_batch = plan.shape[1]
        share = per_batch // self.world
        for batch, row in enumerate(plan):
            for place in range(self.rank * share, (self.rank + 1) * share):
                position = batch * per_batch + place
                yield Draw(int(row[place]), (self.seed, self.epoch, position))

    def _plan(self, rng: np.random.Generator) -> np.ndarray:
        """Return `(batches, P * K)` tracklets."""
        groups = [
            self._cut(sides[0], rng) if len(sides) == 1 else self._cut_evenly(sides, rng)
            for sides in self._sides
        ]
        left = self._groups.copy()
        batches = []
        for _ in range(self.batches):
            # Identities with most groups left go first, or the last batches would lack partners.
            order = np.lexsort((rng.random(len(left)), -left))[: self.identities]
            left[order] -= 1
            chosen = rng.permutation(order)
            batches.append(np.concatenate([groups[one][left[one]] for one in chosen]))
        return np.stack(batches)[rng.permutation(self.batches)]

    def _cut(self, own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return `(groups, K)` tracklets of one identity."""
        shuffled = rng.permutation(own)
        missing = -len(own) % self.clips
        # Those at the front are not in the last group unless the identity has fewer than K.
        return np.concatenate([shuffled, np.resize(shuffled, missing)]).reshape(-1, self.clips)

    def _cut_evenly(self, sides: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Return `(groups, K)` tracklets of one identity, as many of each side as of another."""
        groups = -(-sum(map(len, sides)) // self.clips)
        # What is left when K does not divide goes to each side in turn.
        turns = rng.permutation(len(sides))
        places = np.arange(groups * self.clips).reshape(groups, -1)
        side_of = turns[places % len(sides)]
        made = np.empty_like(side_of)
        for side, own in enumerate(sides):
            made[side_of == side] = _in_rounds(own, int((side_of == side).sum()), rng)
        return made


def _in_rounds(own: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return so many tracklets in random order; none comes again before all have come."""
    rounds = [rng.permutation(own) for _ in range(-(-count // len(own)))]
    return np.concatenate([*rounds, own[:0]])[:count]


def _sides(tracklets: list[np.ndarray], values: np.ndarray, balance: str) -> list[list[np.ndarray]]:
    """Return the tracklets of each identity, parted by what a column says of them."""
    found = []
    for own in tracklets:
        said = np.array([str(value) for value in values[own]])
        found.append([own[said == value] for value in np.unique(said)])
    alone = sum(len(sides) == 1 for sides in found)
    if alone:
        console.warn(
            f"{alone:,} of {len(found):,} identities have one {balance} alone: their clips are "
            "not balanced"
        )
    return found


def _most_batches(groups: np.ndarray, identities: int) -> int:
    """Return how many batches of distinct identities the groups can fill.

    `b` batches exist if and only if the identities, each used at most `b` times, fill them.
    """
    upper = int(groups.sum()) // identities
    feasible = (b for b in range(upper, 0, -1) if np.minimum(groups, b).sum() >= identities * b)
    return next(feasible)


@DATA_SAMPLERS.register_module()
class ShareSampler:
    """Yield every item once, in order; rank r takes each `world`-th.

    Args:
        dataset: What is to be read.
        seed: Not used; the Runner passes it to any sampler.
    """

    def __init__(self, dataset: Sized, seed: int | None = None) -> None:
        """Ask torch.distributed for the rank."""
        self._rank, self._world = get_dist_info()
        self._total = len(dataset)

    def __len__(self) -> int:
        """Return the number of items this process loads."""
        return len(range(self._rank, self._total, self._world))

    def __iter__(self) -> Iterator[int]:
        """Yield this process's items."""
        yield from range(self._rank, self._total, self._world)
