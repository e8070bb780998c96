"""Draw the README's two pictures from what `make repro` built.

Run from the project's folder:   python docs/pictures.py
"""

import shutil
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

sys.path.insert(0, str(Path(__file__).parent.parent))

from pipeline import images, paths
from shards import draw
from shards.read import Shards
from shards.sheets import skeleton_on_frame, span_of, spread

DATASET = "walkers"
RANKED = paths.report_dir(DATASET) / "ranked"
CELL = (256, 128)
DARK, LIGHT, LINE = "#1e2026", "#e6e8ec", "#7d8590"


def rows_of_a_good_tracklet(shards: Shards) -> np.ndarray:
    """Return four frames of the query whose joints the estimator is surest of."""
    queries = shards.tracklets.index[shards.tracklets.split == "query"]
    surest = max(queries, key=lambda i: float(np.mean(shards.score[shards.rows(i)])))
    return spread(shards.rows(surest), 4)


def strip(pictures: list[np.ndarray]) -> np.ndarray:
    """Lay pictures of one height side by side."""
    return draw.tiled([[draw.fitted(picture, CELL) for picture in pictures]])


def pipeline_picture(shards: Shards) -> None:
    """Draw frames, 2D joints, 3D joints, the stored table and the model as one row of steps."""
    rows = rows_of_a_good_tracklet(shards)
    span = span_of(shards.xyz[rows])
    frames = [images.decode(jpeg) for jpeg in shards.jpeg(rows)]
    joints_2d = [skeleton_on_frame(shards, row) for row in rows[:2]]
    joints_3d = [draw.figure(shards.xyz[row], "front", CELL, span) for row in rows[:2]]
    # The query, and the first two ranks that count.
    ranked = cv2.imread(str(RANKED / "best.png"))[20:236, :, ::-1]
    ranked = np.concatenate([ranked[:, :112], ranked[:, 236:466]], axis=1)
    ranked = draw.fitted(ranked, (256, 264))
    table = "one row a frame:\njpeg\nxy_px   score\nxyz\nstatus\npid   camid"
    model = "skeleton  +  image\ncontrastive\n\nPFU  +  SGTM\nfine-tuning"
    steps = [
        ("frames", "extract.index", strip(frames[:2])),
        ("2D joints", "extract.pose2d", strip(joints_2d)),
        ("3D joints", "extract.pose3d", strip(joints_3d)),
        ("Parquet shards", "shards.write", table),
        ("CSIP-ReID", "train.stage1, train.stage2", model),
        ("features, scores", "evaluate.embed, .score", ranked),
    ]
    figure, axes = plt.subplots(1, len(steps), figsize=(16, 3.6), facecolor=DARK)
    for ax, (title, command, content) in zip(axes, steps, strict=True):
        _draw_step(ax, title, command, content)
    figure.subplots_adjust(left=0.01, right=0.99, wspace=0.16, bottom=0.14, top=0.86)
    for left, right in pairwise(axes):
        x0, x1 = left.get_position().x1, right.get_position().x0
        figure.text(
            (x0 + x1) / 2, 0.5, "\u2192", color=LIGHT, fontsize=18, ha="center", va="center"
        )
    figure.savefig("docs/pipeline.png", dpi=75, facecolor=DARK)


def _draw_step(ax: Axes, title: str, command: str, content: "np.ndarray | str") -> None:
    """Draw a picture or a text, with what it is above and what makes it below."""
    ax.set_title(title, color=LIGHT, fontsize=14, pad=10)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_facecolor(DARK)
    ax.set_xlabel(command, color=LINE, family="monospace", fontsize=10, labelpad=8)
    for spine in ax.spines.values():
        spine.set_color(LINE)
    if isinstance(content, str):
        style = {"color": LIGHT, "ha": "center", "va": "center", "fontsize": 11}
        ax.text(0.5, 0.5, content, linespacing=1.6, **style)
        ax.set_box_aspect(256 / 264)
    else:
        ax.imshow(content)


def main() -> None:
    """Draw both pictures."""
    pipeline_picture(Shards(paths.shards_dir(DATASET)))
    shutil.copy(RANKED / "median.png", "docs/ranked.png")


if __name__ == "__main__":
    main()
