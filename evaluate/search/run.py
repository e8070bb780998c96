"""What the command of search does: describe a query, rank a gallery, show the ranking."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluate.search.gallery import Entry, Gallery
from pipeline import console, paths
from pipeline.errors import PipelineError
from pipeline.lock import locked
from pipeline.stage import Stage

# Another process may be adding to the same gallery: that takes it a second.
PATIENCE_S = 60


def model_of(stage: Stage) -> str:
    """Return what tells the trained model, and how it describes, from others."""
    from pipeline.code.fingerprint import sha256
    from train.trained import Trained

    trained = Trained.of(stage)
    how = ", ".join(f"{name} {value}" for name, value in trained.identity.items())
    return f"{sha256(trained.file)}, {how}"


def comparison_of(stage: Stage) -> dict[str, Any]:
    """Return what the distance of two features of the trained model is."""
    from train.weights.checkpoint import published

    about = published(stage.read(paths.stage2_file(stage.key))) or {}
    return about.get("comparison", {"kind": "cosine"})


def entry_of(stage: Stage, query: str, boxes: Path | None, entry: Entry) -> Entry:
    """Return the query with its feature and a picture, whatever it is."""
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
        frames = from_video(paths.regular(path), boxes)
    feature, frame = Embedder(stage).feature(frames), frames[len(frames) // 2]
    own = path.resolve()
    name = entry.name or (own.name if path.is_dir() else own.stem)
    return replace(entry, name=name, feature=feature, frame=frame)


def strangers_of(stage: Stage) -> dict[str, Any] | None:
    """Return what the run's model noted of how near strangers come, as it is asked to describe now.

    None where it noted nothing: nobody was held out of its training.
    """
    from train.trained import trained_descriptor
    from train.weights.checkpoint import published

    file, knobs = stage.read(paths.stage2_file(stage.key)), stage.params.embed
    about = published(file) if file.exists() else None
    if not about or "strangers" not in about:
        return None
    descriptor = knobs.descriptor or about["model"].get("descriptor") or trained_descriptor(about)
    own = about.get("skeleton_weight", {}).get(knobs.neck)
    if descriptor == "both" and knobs.skeleton_weight not in (None, own):
        return None
    return about["strangers"][knobs.neck].get(descriptor)


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
            entry.camid,
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
        [f"{rank}  {distance}", name, f"person {pid}, cam {camid}"]
        for rank, name, pid, camid, distance, _ in rows
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

    noted = strangers_of(stage)
    if gallery is None:
        show(Gallery.of_run(stage), entry, top, picture, noted)
        return
    # In another gallery it is known by the name it is given here.
    entry = replace(entry, own="")
    known_by = (model_of(stage), Album.of_stage(stage), lambda: comparison_of(stage))
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
