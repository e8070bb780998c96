"""Which tracklets the rendered dataset holds: who, where, in which clothes, with which faults."""

from dataclasses import dataclass

import numpy as np

from extract.walkers.camera import Camera
from extract.walkers.person import Body, Clothes, Face, Gait, Person
from extract.walkers.worlds import SESSIONS, Effects, View, in_infrared, view
from pipeline.names import DISTRACTOR, JUNK
from pipeline.params.knobs import WalkersParams

# What a generator is for; the first number after the seed.
_LAYOUT, _BODY, _GAIT, _CLOTHES, _FACE, _CAMERA, _TRACKLET, _QUERY = range(8)
_KIT, _INFRARED, _SESSION, _FAULTS, _CAPTION = range(8, 13)


@dataclass(frozen=True)
class PlannedTracklet:
    """One tracklet to render.

    Attributes:
        pid: Person, 0 for a distractor, -1 for junk.
        camid: Camera, 0-based.
        number: Number of the tracklet, which runs on over the cameras of one person.
        split: `train` or `test`.
        frame_numbers: 1-based numbers of the frames, ascending, `(T,)`.
        identity: Which gait.
        body: Which body.
        outfit: Which clothes.
        face: Which face and hair.
    """

    pid: int
    camid: int
    number: int
    split: str
    frame_numbers: np.ndarray
    identity: int
    body: int
    outfit: int
    face: int

    @property
    def folder(self) -> str:
        """Name of the person's folder: four digits, or `00-1` for junk."""
        return "00-1" if self.pid == JUNK else f"{self.pid:04d}"

    @property
    def name(self) -> str:
        """Name of the tracklet, with which the names of its crops begin."""
        return f"{self.folder}C{self.camid + 1}T{self.number:04d}"

    @property
    def crops(self) -> list[str]:
        """File names of the crops."""
        return [f"{self.name}F{frame:03d}.jpg" for frame in self.frame_numbers]

    def person(self, knobs: WalkersParams) -> Person:
        """Return who walks, as the tracklet's camera sees them."""
        person = self.dressed(knobs)
        if self.is_infrared(knobs):
            return in_infrared(person, self._rng(knobs, _INFRARED, self.outfit))
        return person

    def dressed(self, knobs: WalkersParams) -> Person:
        """Return who walks, by day."""
        seed, clothes = knobs.seed, Clothes.sample(self._rng(knobs, _CLOTHES, self.outfit))
        if knobs.kits:
            kit = Clothes.sample(self._rng(knobs, _KIT, self.outfit % knobs.kits))
            clothes = clothes.in_kit(kit)
        return Person(
            Body.sample(np.random.default_rng([seed, _BODY, self.body])),
            Gait.sample(np.random.default_rng([seed, _GAIT, self.identity])),
            clothes,
            Face.sample(np.random.default_rng([seed, _FACE, self.face])),
        )

    def rng(self, seed: int) -> np.random.Generator:
        """Return the generator of path, box errors and noise: no other tracklet touches it."""
        key = [seed, _TRACKLET, self.pid - JUNK, self.camid, self.number]
        return np.random.default_rng(key)

    def is_infrared(self, knobs: WalkersParams) -> bool:
        """Return whether its camera sees infrared."""
        return self.camid >= knobs.cameras - knobs.spectrum

    def is_aerial(self, knobs: WalkersParams) -> bool:
        """Return whether its camera flies."""
        return self.camid >= knobs.cameras - knobs.aerial

    def scene_key(self, knobs: WalkersParams) -> tuple[int, ...]:
        """Return the seed of the camera and its street; one that flies has several of each."""
        key = (knobs.seed, _CAMERA, self.camid)
        if not self.is_aerial(knobs):
            return key
        return *key, int(self._own_rng(knobs, _SESSION).integers(SESSIONS))

    def effects(self, knobs: WalkersParams) -> Effects:
        """Return what the world does to the clip."""
        rng = self._own_rng(knobs, _FAULTS)
        return Effects(
            rng=rng,
            bad_frames=rng.random(len(self.frame_numbers)) < knobs.bad_frames,
            is_infrared=self.is_infrared(knobs),
            at_own_size=self.is_aerial(knobs),
            with_silhouettes=knobs.silhouettes,
        )

    def view(self, knobs: WalkersParams, camera: Camera) -> View:
        """Return from where and in which light the tracklet was seen."""
        return view(camera, self.is_infrared(knobs), self.is_aerial(knobs))

    def caption_rng(self, knobs: WalkersParams) -> np.random.Generator:
        """Return the generator of the words about the tracklet."""
        return self._own_rng(knobs, _CAPTION)

    def _own_rng(self, knobs: WalkersParams, purpose: int) -> np.random.Generator:
        return self._rng(knobs, purpose, self.pid - JUNK, self.camid, self.number)

    @staticmethod
    def _rng(knobs: WalkersParams, *key: int) -> np.random.Generator:
        return np.random.default_rng([knobs.seed, *key])


def tracklets(knobs: WalkersParams) -> list[PlannedTracklet]:
    """Plan the dataset, sorted by the names of the crops.

    The faults of real tracklets are in it: persons that some cameras never saw, gaps in tracklet
    numbers, tracklets that do not start at frame 1, frames lost within a tracklet.
    """
    rng = np.random.default_rng([knobs.seed, _LAYOUT])
    people = knobs.identities_train + knobs.identities_test
    # Real person ids have gaps, and those of train and test are interleaved.
    pids = np.sort(rng.choice(np.arange(1, 3 * people // 2 + 2), people, replace=False))
    rng.shuffle(pids)
    body = rng.permutation(people) % (knobs.bodies or people)
    outfit = rng.permutation(people) % (knobs.wardrobe or people)
    planned = []
    for identity, pid in enumerate(pids.tolist()):
        split = "train" if identity < knobs.identities_train else "test"
        who = (identity, int(body[identity]), int(outfit[identity]))
        planned += _one_person(knobs, rng, pid, split, who)
    for index in range(knobs.distractors + knobs.junk):
        planned.append(_nobody(knobs, rng, people + index, index < knobs.distractors))
    return sorted(planned, key=lambda tracklet: (tracklet.split == "test", tracklet.name))


def queries(planned: list[PlannedTracklet], seed: int) -> list[int]:
    """Choose one query per person and camera; return positions among the test tracklets."""
    rng = np.random.default_rng([seed, _QUERY])
    groups: dict[tuple[int, int], list[int]] = {}
    cameras: dict[int, set[int]] = {}
    for row, tracklet in enumerate(t for t in planned if t.split == "test"):
        if tracklet.pid > DISTRACTOR:
            groups.setdefault((tracklet.pid, tracklet.camid), []).append(row)
            cameras.setdefault(tracklet.pid, set()).add(tracklet.camid)
    # As in MARS, a person seen by one camera only has no query.
    chosen = [int(rng.choice(rows)) for (pid, _), rows in groups.items() if len(cameras[pid]) > 1]
    return sorted(chosen)


def _one_person(
    knobs: WalkersParams, rng: np.random.Generator, pid: int, split: str, who: tuple[int, int, int]
) -> list[PlannedTracklet]:
    identity, body, outfit = who
    cameras = np.flatnonzero(rng.random(knobs.cameras) > 0.1)
    if len(cameras) < 2:
        cameras = np.sort(rng.choice(knobs.cameras, 2, replace=False))
    changed = rng.random(knobs.cameras) < 0.5
    people = knobs.identities_train + knobs.identities_test
    number, planned = 0, []
    for camid in cameras.tolist():
        worn = outfit
        if knobs.change_clothes and changed[camid]:
            worn = (outfit + 1) % knobs.wardrobe if knobs.wardrobe else outfit + people
        for _ in range(knobs.tracklets):
            number += 1 + int(rng.random() < 0.08)
            frames = _frame_numbers(knobs, rng)
            planned.append(
                PlannedTracklet(pid, camid, number, split, frames, identity, body, worn, outfit)
            )
    return planned


def _nobody(
    knobs: WalkersParams, rng: np.random.Generator, identity: int, is_distractor: bool
) -> PlannedTracklet:
    frames = _frame_numbers(knobs, rng)
    pid = DISTRACTOR if is_distractor else JUNK
    # Distractors wear the uniform too: otherwise their clothes would give them away.
    outfit = int(rng.integers(knobs.wardrobe)) if knobs.wardrobe else 2 * identity
    body = int(rng.integers(knobs.bodies)) if knobs.bodies else identity
    camid = int(rng.integers(knobs.cameras))
    return PlannedTracklet(pid, camid, identity + 1, "test", frames, identity, body, outfit, outfit)


def _frame_numbers(knobs: WalkersParams, rng: np.random.Generator) -> np.ndarray:
    length = int(rng.integers(knobs.frames[0], knobs.frames[1] + 1))
    first = 1 + int(rng.integers(1, 80)) if rng.random() < 0.06 else 1
    numbers = first + np.arange(length)
    if rng.random() < 0.06 and length > 2:
        # The frames after a loss keep their own, later, numbers.
        numbers[rng.integers(1, length) :] += int(rng.integers(1, 4))
    return numbers
