"""Find a person in a gallery: by a tracklet, a folder of images, or boxes in a video.

Run:   python -m evaluate.search --run walkers --query 0001C1T0001
       python -m evaluate.search --run walkers --query street.mp4 --boxes walk.csv
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import cli, console, paths
from pipeline.errors import PipelineError
from pipeline.names import DISTRACTOR
from pipeline.stage import Stage, start

if TYPE_CHECKING:
    from evaluate.search.gallery import Entry, Gallery


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
    from dataclasses import replace

    from evaluate.ranked import Album
    from evaluate.search.gallery import Entry, Gallery
    from pipeline.lock import locked

    entry = _describe(stage, query, boxes, Entry(name, pid, camid))
    picture = out or paths.WORK / "search" / f"{entry.name}.png"
    if gallery is None:
        _show(Gallery.of_run(stage), entry, top, picture)
        return
    # In another gallery it is known by the name it is given here.
    entry = replace(entry, own="")
    model, album = _model(stage), Album.of_stage(stage)
    if not add:
        _show(Gallery.read(gallery, model, album), entry, top, picture)
        return
    # Beside the gallery: two projects may share it.
    with locked(gallery, gallery.with_name(f".{gallery.name}.lock")):
        known = Gallery.read(gallery, model, album)
        grown = known.add(entry)
        _show(known, entry, top, picture)
        grown.write(gallery)
    console.say(f"added    {entry.name} to {gallery}, {len(grown)} tracklets")


def _model(stage: Stage) -> str:
    """Return what tells the trained model, and how it describes, from others."""
    from extract.engine.spec import sha256

    weights = stage.read(paths.stage2_file(stage.key))
    if not weights.exists():
        raise PipelineError(f"{weights} is missing. Run: {stage.rebuild('stage2')}")
    return f"{sha256(weights)}, {stage.params.embed.neck} the necks"


def _describe(stage: Stage, query: str, boxes: Path | None, entry: "Entry") -> "Entry":
    """Return the query with its feature and a picture, whatever it is."""
    from dataclasses import replace

    from evaluate.search.gallery import Gallery

    path = Path(query)
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise PipelineError(f"{query} does not exist")
        found = Gallery.of_run(stage).find(query)
        return replace(found, name=entry.name or found.name)
    from evaluate.describe import Embedder
    from evaluate.search.query import from_folder, from_video

    if path.is_dir():
        frames = from_folder(path)
    elif boxes is None:
        raise PipelineError(f"{path} is a file. If it is a video, say where the person is: --boxes")
    else:
        frames = from_video(path, boxes)
    feature, frame = Embedder(stage).feature(frames), frames[len(frames) // 2]
    own = path.resolve()
    name = entry.name or (own.name if path.is_dir() else own.stem)
    return replace(entry, name=name, feature=feature, frame=frame)


def _show(known: "Gallery", query: "Entry", top: int, picture: Path) -> None:
    """Print the ranking and write its picture."""
    from evaluate.ranked import search_picture
    from shards.draw import png

    nearest = known.nearest(query, top)
    if not nearest:
        console.say("the gallery is empty")
        return
    entries = [known.entry(row) for row, _ in nearest]
    rows = [
        (rank, entry.name, entry.pid or "-", entry.camid, f"{distance:.3f}")
        for rank, (entry, (_, distance)) in enumerate(zip(entries, nearest, strict=True), start=1)
    ]
    console.table(
        f"Nearest of {len(known)} to {query.name}",
        ("rank", "tracklet", "person", "camera", "distance"),
        rows,
    )
    captions = [
        [f"{rank}  {distance}", name, f"person {pid}, cam {camid}"]
        for rank, name, pid, camid, distance in rows
    ]
    frames = [(query.frame, ["query", query.name])]
    frames += [(entry.frame, text) for entry, text in zip(entries, captions, strict=True)]
    with paths.write_atomic(picture) as temporary:
        temporary.write_bytes(png(search_picture(frames)))
    console.say(f"written  {picture}")


if __name__ == "__main__":
    cli.run(main)
