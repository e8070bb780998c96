"""Show what the visual encoder of a trained model looks at in the frames of a tracklet.

Run:   python -m evaluate.attention --run walkers --tracklet 0001C1T0001
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import cli, console, paths
from pipeline.stage import start

if TYPE_CHECKING:
    import numpy as np


def main(
    run: cli.Run,
    tracklet: Annotated[str, typer.Option(help="Whose frames.")],
    overrides: cli.Overrides = None,
    frames: Annotated[int, typer.Option(min=1, help="How many of them.")] = 8,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The picture.")] = None,
    trial: cli.Try = "",
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Draw which parts of a tracklet's frames make the model's description of it.

    Warm places are those whose token resembles the class token, which describes the whole frame.
    The picture goes to work/attention/TRACKLET.png.

    Example: python -m evaluate.attention --run walkers --tracklet 0001C1T0001
    """
    cli.set_output(verbose, quiet)
    stage = start("attention", run, overrides, trial=trial)
    from evaluate.describe import Describer
    from pipeline.errors import PipelineError
    from pipeline.paths import file_name
    from shards import draw
    from shards.read import Shards
    from shards.sheets import spread

    shards = Shards(stage.read(paths.shards_dir(stage.dataset)))
    rows = spread(shards.rows(shards.find(tracklet)), frames)
    found = zip(rows.tolist(), shards.jpeg(rows), strict=True)
    pictures = [shards.decoded(row, jpeg) for row, jpeg in found if jpeg is not None]
    if not pictures:
        raise PipelineError(f"{tracklet} has no readable frame")
    heat = Describer.of_run(stage).resemblance(pictures)
    size = (2 * pictures[0].shape[0], 2 * pictures[0].shape[1])
    above = [draw.fitted(picture, size) for picture in pictures]
    below = [
        draw.fitted(overlay(picture, one), size)
        for picture, one in zip(pictures, heat, strict=True)
    ]
    file = out or paths.WORK / "attention" / f"{file_name(tracklet)}.png"
    with paths.write_atomic(file) as temporary:
        temporary.write_bytes(draw.png(draw.tiled([above, below])))
    console.say(f"written  {file}")


def overlay(frame: "np.ndarray", heat: "np.ndarray") -> "np.ndarray":
    """Lay heat over a frame: cold is blue, warm is red.

    Args:
        frame: `(H, W, 3)` RGB.
        heat: `(h, w)` of any size and range; its own smallest and largest values are the ends.
    """
    import cv2
    import numpy as np

    height, width = frame.shape[:2]
    span = max(float(np.ptp(heat)), 1e-9)
    grey = np.round(255 * (heat - heat.min()) / span).astype(np.uint8)
    grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_CUBIC)
    colours = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(frame, 0.55, colours, 0.45, 0)


if __name__ == "__main__":
    cli.run(main)
