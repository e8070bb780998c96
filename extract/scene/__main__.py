"""Render a street in which several people walk, as a video with true boxes.

Run:   python -m extract.scene --out street.mp4
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import cli, console
from pipeline.errors import PipelineError

Out = Annotated[
    Path, typer.Option("--out", "-o", help="A video (.mp4, .avi), or a folder of pictures.")
]
Camera = Annotated[
    int, typer.Option(min=0, help="Another one sees the same people somewhere else.")
]


def main(
    out: Out,
    people: Annotated[int, typer.Option(min=1, max=200, help="How many walk through.")] = 6,
    seconds: Annotated[float, typer.Option(min=0.2, help="How long, 15 frames each.")] = 12.0,
    camera: Camera = 0,
    seed: Annotated[int, typer.Option(min=0, help="Who walks.")] = 0,
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Render people who walk through a street, before and behind each other.

    Beside the video comes a text file of its name, in the format of MOTChallenge: who is where in
    every frame (frame, person, x, y, width, height, 1, 1, share that is seen).

    Example: python -m extract.scene --out street.mp4 --people 8
    """
    cli.set_output(verbose, quiet)
    from extract.scene.film import Scene
    from extract.scene.write import write
    from pipeline.lock import locked

    if out.suffix not in ("", ".mp4", ".avi"):
        raise PipelineError(f"{out} is no video this writes. Call it .mp4 or .avi, or a folder")
    scene = Scene(seed, camera, people, round(seconds * 15))
    with locked(out):
        boxes, count = write(scene, out)
    amount = f"{scene.frames} frames, {people} people, {count} boxes in {boxes}"
    then = f"python -m extract.tracks --video {out} --boxes {boxes} --out data/raw/mine"
    console.summary(out, amount, then)


if __name__ == "__main__":
    cli.run(main)
