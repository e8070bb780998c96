"""Find a person in a gallery: by a tracklet, a folder of images, or boxes in a video.

Run:   python -m evaluate.search --run walkers --query 0001C1T0001
       python -m evaluate.search --run walkers --query street.mp4 --boxes walk.csv
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import cli, paths
from pipeline.errors import PipelineError
from pipeline.names import DISTRACTOR
from pipeline.paths import file_name
from pipeline.stage import start


def main(
    run: cli.Run,
    query: Annotated[str, typer.Option(help="A tracklet, a folder of images, or a video.")],
    overrides: cli.Overrides = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Where the person is in a video: frame,x,y,width,height.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many tracklets to show.")] = 10,
    gallery: Annotated[
        Path | None, typer.Option(help="Search this file in place of the test tracklets.")
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Put the query into the file given by --gallery.")
    ] = False,
    name: Annotated[str, typer.Option(help="Call it so; by default after its file.")] = "",
    pid: Annotated[
        int, typer.Option(min=DISTRACTOR, help="Who it is, if that is known; 0 if not.")
    ] = DISTRACTOR,
    camid: Annotated[int, typer.Option(min=0, help="Which camera saw it.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The picture.")] = None,
    trial: cli.Try = "",
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Rank the tracklets of a gallery by how much they look like a query.

    The ranking is exact. Its picture goes to work/search/NAME.png. A gallery of your own grows by
    --add, and need not exist before.

    Example: python -m evaluate.search --run walkers --query photos/ --top 5
    """
    cli.set_output(verbose, quiet)
    stage = start("search", run, overrides, trial=trial)
    if add and not gallery:
        raise PipelineError("--add needs a file to add to. Give --gallery FILE.parquet")
    from evaluate.search.gallery import Entry
    from evaluate.search.run import entry_of, search

    entry = entry_of(stage, query, boxes, Entry(name, pid, camid))
    picture = out or paths.WORK / "search" / f"{file_name(entry.name)}.png"
    search(stage, entry, top, picture, gallery, add)


if __name__ == "__main__":
    cli.run(main)
