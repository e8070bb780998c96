"""Sentences about tracklets, as a model that describes pictures would write them."""

import json
from pathlib import Path

import cv2
import numpy as np

from extract.walkers.person import Clothes, Face
from extract.walkers.plan import PlannedTracklet
from pipeline import paths
from pipeline.params.knobs import WalkersParams

# Words for colours, and what they mean in BGR.
COLOURS = {
    "black": (28, 27, 27), "dark grey": (70, 68, 66), "grey": (120, 118, 116),
    "light grey": (176, 176, 178), "white": (232, 232, 232), "navy": (88, 46, 28),
    "blue": (150, 80, 40), "light blue": (200, 160, 110), "red": (36, 36, 160),
    "dark red": (40, 30, 96), "green": (60, 110, 50), "olive": (58, 92, 92),
    "brown": (40, 70, 110), "beige": (120, 160, 196), "yellow": (44, 190, 222),
    "orange": (32, 112, 224), "pink": (150, 110, 214), "purple": (120, 58, 110),
}  # fmt: skip
_WORDINGS = (
    "A person in a {top} {garment}, {bottom} {trousers} and {shoe} shoes, with {hair}{bag}{hat}.",
    "Someone with {hair} wears {bottom} {trousers}, a {top} {garment} and {shoe} shoes{bag}{hat}.",
    "{garment}: {top}, {trousers}: {bottom}, shoes: {shoe}; {hair}{bag}{hat}.",
)
_CHOICES = {
    "garment": ("shirt", "jacket", "coat"),
    "trousers": ("trousers", "shorts", "skirt"),
    "hair": ("no hair", "short hair", "long hair", "a bun"),
    "bag": ("", ", a backpack", ", a shoulder bag", ", a hand bag"),
    "hat": ("", ", a cap"),
}


def write_captions(path: Path, planned: list[PlannedTracklet], knobs: WalkersParams) -> None:
    """Write a JSON line for each tracklet: `tracklet`, `source` and `text`."""
    with paths.write_atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for tracklet in planned:
            rng = tracklet.caption_rng(knobs)
            person = tracklet.dressed(knobs)
            text = sentence(words(person.clothes, person.face), knobs.caption_errors, rng)
            line = {"tracklet": tracklet.name, "source": "walkers", "text": text}
            file.write(json.dumps(line) + "\n")


def words(clothes: Clothes, face: Face) -> dict[str, str]:
    """Return the words that are true of somebody.

    >>> rng = np.random.default_rng(0)
    >>> sorted(words(Clothes.sample(rng), Face.sample(rng)))
    ['bag', 'bottom', 'garment', 'hair', 'hat', 'shoe', 'top', 'trousers']
    """
    garment = "coat" if clothes.hem > 0.3 else "shirt" if clothes.front == "logo" else "jacket"
    trousers = "skirt" if clothes.skirt else "shorts" if clothes.leg < 1 else "trousers"
    hair = {"bald": "no hair", "short": "short hair", "long": "long hair", "bun": "a bun"}
    bag = {"none": "", "backpack": ", a backpack"}
    return {
        "top": colour_word(clothes.top),
        "garment": garment,
        "bottom": colour_word(clothes.bottom),
        "trousers": trousers,
        "shoe": colour_word(clothes.shoe),
        "hair": hair[face.style],
        "bag": bag.get(clothes.bag, f", a {clothes.bag} bag"),
        "hat": ", a cap" if clothes.hat else "",
    }


def sentence(true: dict[str, str], errors: float, rng: np.random.Generator) -> str:
    """Return a sentence of the words, each of them wrong with the probability `errors`."""
    said = {}
    for name, word in true.items():
        others = [other for other in _CHOICES.get(name, tuple(COLOURS)) if other != word]
        said[name] = str(rng.choice(others)) if rng.random() < errors else word
    text = str(rng.choice(_WORDINGS)).format(**said)
    return text[0].upper() + text[1:]


def colour_word(colour: np.ndarray) -> str:
    """Return the word whose colour looks nearest to a BGR one (CIE 1976 distance).

    >>> colour_word(np.array([30, 30, 30]))
    'black'
    """
    known = _lab(np.array(list(COLOURS.values()), float))
    distance = np.linalg.norm(known - _lab(colour[None]), axis=1)
    return list(COLOURS)[int(distance.argmin())]


def _lab(colours: np.ndarray) -> np.ndarray:
    scaled = np.clip(colours / 255, 0, 1).astype(np.float32)[None]
    return cv2.cvtColor(scaled, cv2.COLOR_BGR2LAB)[0]
