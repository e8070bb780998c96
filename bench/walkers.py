"""Compare the renderer of walkers with the same faces filled by Pillow.

Run it:   python -m bench.walkers
"""

import numpy as np

from bench.measure import Json, case, finish, seconds
from pipeline.cli import run

CLIPS, FRAMES, RUNS = 8, 20, 3


def film_clips() -> None:
    """Render and encode 160 frames in this process, on one core."""
    from extract.walkers.clip import film
    from extract.walkers.frame import scene
    from extract.walkers.person import distractor

    for seed in range(CLIPS):
        rng = np.random.default_rng(seed)
        film(distractor(rng), scene(0, seed % 4), np.arange(FRAMES), rng)


def film_with_pillow() -> None:
    """Do the same with Pillow in the place of OpenCV's polygons."""
    from unittest.mock import patch

    from PIL import Image, ImageDraw

    def fill(canvas: np.ndarray, corners: np.ndarray, colours: np.ndarray) -> None:
        image = Image.fromarray(canvas)
        draw = ImageDraw.Draw(image)
        for corner, colour in zip(corners, colours.astype(int).tolist(), strict=True):
            draw.polygon([tuple(xy) for xy in corner.tolist()], fill=tuple(colour))
        canvas[:] = np.asarray(image)

    with patch("extract.walkers.clip.fill", fill):
        film_clips()


def main(json_file: Json = None) -> None:
    """Compare the renderer of walkers with the same faces filled by Pillow."""
    import cv2

    cv2.setNumThreads(1)
    film_clips()
    film_with_pillow()
    ours, opponent = [], []
    for _ in range(RUNS):
        ours.append(CLIPS * FRAMES / seconds(film_clips))
        opponent.append(CLIPS * FRAMES / seconds(film_with_pillow))
    cases = {"render, one core": case(ours, opponent, "frames/s", more_is_better=True)}
    finish("walkers", cases, json_file)


if __name__ == "__main__":
    run(main)
