"""What the command of search does: describe a query, rank a gallery, show the ranking."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluate.search.gallery import Entry, Gallery
from pipeline import console, paths
from pipeline.errors import PipelineError
from pipeline.lock import locked
from pipeline.stage import Stage

if TYPE_CHECKING:
    from train.trained import Trained

# Another process may be adding to the same gallery: that takes it a second.
PATIENCE_S = 60


def model_of(trained: "Trained") -> str:
    """Return what tells a trained model, and how it describes, from others."""
    from pipeline.code.fingerprint import sha256

    how = ", ".join(f"{name} {value}" for name, value in trained.identity.items())
    return f"{sha256(trained.file)}, {how}"


def entry_of(stage: Stage, query: str, boxes: Path | None, entry: Entry) -> Entry:
    """Return the query with its feature and a picture, whatever it is."""
    path = Path(query)
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise PipelineError(f"{query} does not exist")
        found = Gallery.of_run(stage).find(query)
        return replace(found, name=entry.name or found.name)
    from evaluate.describe import Describer
    from evaluate.search.query import from_folder, from_video

    if path.is_dir():
        frames = from_folder(path)
    elif boxes is None:
        raise PipelineError(f"{path} is a file. If it is a video, say where the person is: --boxes")
    else:
        frames = from_video(paths.regular(path), boxes)
    feature, frame = Describer.of_run(stage).describe(frames), frames[len(frames) // 2]
    own = path.resolve()
    name = entry.name or (own.name if path.is_dir() else own.stem)
    return replace(entry, name=name, feature=feature, frame=frame)


def show(
    known: Gallery, query: Entry, top: int, picture: Path, noted: dict[str, Any] | None = None
) -> None:
    """Print the ranking, with how rarely a stranger comes as near if noted; write its picture."""
    from evaluate.ranked import search_picture
    from shards.draw import png
    from train.run.strangers import in_words

    nearest = known.nearest(query, top)
    if not nearest:
        console.say("the gallery is empty")
        return
    entries = [known.entry(row) for row, _ in nearest]
    rows = [
        (
            rank,
            entry.name,
            entry.pid or "-",
            entry.camera or entry.camid,
            console.fixed(distance),
            in_words(distance, noted) if noted else "not known",
        )
        for rank, (entry, (_, distance)) in enumerate(zip(entries, nearest, strict=True), start=1)
    ]
    console.table(
        f"Nearest of {len(known)} to {query.name}",
        ("rank", "tracklet", "person", "camera", "distance", "strangers as near"),
        rows,
    )
    if not noted:
        console.say("how rarely strangers come as near, a model knows that held some people out:")
        console.say("stage2.held_out=12 (docs/own_videos.md)")
    captions = [
        [f"{rank}  {distance}", name, f"person {pid}, cam {camera}"]
        for rank, name, pid, camera, distance, _ in rows
    ]
    frames = [(query.frame, ["query", query.name])]
    frames += [(entry.frame, text) for entry, text in zip(entries, captions, strict=True)]
    with paths.write_atomic(picture) as temporary:
        temporary.write_bytes(png(search_picture(frames)))
    console.say(f"written  {picture}")


def search(
    stage: Stage, entry: Entry, top: int, picture: Path, gallery: Path | None, add: bool
) -> None:
    """Show what is nearest in the test tracklets, or in a gallery of one's own, which may grow."""
    from evaluate.ranked import Album
    from train.trained import Trained

    trained = Trained.of(stage)
    noted = trained.strangers
    if gallery is None:
        show(Gallery.of_run(stage), entry, top, picture, noted)
        return
    # In another gallery it is known by the name it is given here.
    entry = replace(entry, own="")
    known_by = (model_of(trained), Album.of_stage(stage), trained.comparison)
    if not add:
        show(Gallery.read(gallery, *known_by), entry, top, picture, noted)
        return
    # Beside the gallery itself: two projects may share it, or links to it.
    gallery = gallery.resolve()
    with locked(gallery, gallery.with_name(f".{gallery.name}.lock"), PATIENCE_S):
        known = Gallery.read(gallery, *known_by)
        grown = known.add(entry)
        show(known, entry, top, picture, noted)
        grown.write(gallery)
    console.say(f"added    {entry.name} to {gallery}, {len(grown)} tracklets")
