"""Look into shards: counts, quality, and pictures of skeletons on frames.

Run:   python -m shards.inspect walkers
       python -m shards.inspect walkers --tracklet 0001C1T0001 --truth --walk
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import console, paths
from pipeline.cli import Quiet, Verbose, run, set_output
from pipeline.errors import PipelineError
from pipeline.names import camera_name
from pipeline.paths import file_name

if TYPE_CHECKING:
    from shards.quality import Truth
    from shards.read import Shards


def main(
    what: Annotated[str, typer.Argument(help="A dataset, a folder of shards, or one shard.")],
    tracklet: Annotated[str, typer.Option(help="Draw this tracklet.")] = "",
    pid: Annotated[int | None, typer.Option(help="Draw all tracklets of this person.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="Draw the N with the worst skeletons.")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Frames on a contact sheet.")] = 8,
    walk: Annotated[bool, typer.Option("--walk", help="Also write a moving GIF.")] = False,
    mp4: Annotated[bool, typer.Option("--mp4", help="Also write the walk as MP4.")] = False,
    truth: Annotated[bool, typer.Option("--truth", help="Draw ground truth in white.")] = False,
    out: Annotated[str, typer.Option("--out", "-o", help="A PNG file or a folder.")] = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show what is in shards: counts and quality, or pictures of tracklets.

    Pictures go to work/inspect/NAME/ unless --out says otherwise. Left is orange, right is blue;
    joints run from red (score 0) to green (score 1).

    Example: python -m shards.inspect walkers --worst 3
    """
    set_output(verbose, quiet)
    from shards.quality import worst as find_worst
    from shards.read import Shards

    shards = Shards(_find(what))
    known = _truth(shards, what) if truth else None
    positions = [shards.find(tracklet)] if tracklet else []
    if pid is not None:
        positions += _of_person(shards, pid)
    positions += find_worst(shards, worst)
    folder = Path(out) if out else paths.WORK / "inspect" / file_name(Path(what).resolve().stem)
    if not positions:
        _describe(shards, folder / "quality.png" if folder.suffix != ".png" else folder)
        return
    if folder.suffix == ".png" and len(positions) > 1:
        raise PipelineError(f"{folder} is one file for {len(positions)} tracklets. Give a folder")
    suffixes = [".png", *[".gif"] * walk, *[".mp4"] * mp4]
    for position in positions:
        name = shards.tracklets["tracklet"].iat[position]
        sheet = folder if folder.suffix == ".png" else folder / f"{file_name(name)}.png"
        for suffix in suffixes:
            _draw(shards, position, sheet.with_suffix(suffix), frames, known)


def _find(what: str) -> Path:
    return Path(what) if Path(what).exists() else paths.shards_dir(what)


def _truth(shards: "Shards", what: str) -> "Truth":
    from shards.quality import Truth, truth_file

    file = truth_file(shards)
    if file is None:
        raise PipelineError(f"{what} has no truth.parquet in its dataset. Leave out --truth")
    return Truth(shards, file)


def _of_person(shards: "Shards", pid: int) -> list[int]:
    positions = (shards.tracklets["pid"] == pid).to_numpy().nonzero()[0].tolist()
    if not positions:
        pids = shards.tracklets["pid"]
        raise PipelineError(
            f"{shards.folder}: no person {pid}. There are {pids.nunique()}, "
            f"from {pids.min()} to {pids.max()}"
        )
    return positions


def _draw(shards: "Shards", position: int, file: Path, frames: int, truth: "Truth | None") -> None:
    from shards import sheets

    with paths.write_atomic(file) as temporary:
        if file.suffix == ".png":
            temporary.write_bytes(sheets.contact_sheet(shards, position, frames, truth))
        elif file.suffix == ".gif":
            temporary.write_bytes(sheets.gif(shards, position, truth))
        else:
            sheets.write_mp4(shards, position, temporary, truth)
    console.say(f"written  {file}")


def _describe(shards: "Shards", picture: Path) -> None:
    from pipeline.files.tables import TableFile, read_schema
    from shards import quality, sheets

    size = sum(file.stat().st_size for file in shards.files)
    groups = sum(
        TableFile(file, f"Run: {shards.rebuild}").metadata.num_row_groups for file in shards.files
    )
    console.say(
        f"{shards.folder}: {len(shards.files)} files, {console.size(size)}, "
        f"{groups} row groups, schema {shards.metadata['schema_version']}"
    )
    table = quality.counts(shards)
    rows = [(split, *row) for split, row in zip(table.index, table.to_numpy(), strict=True)]
    console.table("\nCounts", ("split", *(c.replace("_", " ") for c in table.columns)), rows)
    bad = [
        (camera_name(shards.cameras, camid), f"{100 * share:.2f}")
        for camid, share in quality.bad_by_camera(shards).items()
    ]
    console.table("\nBad frames by camera, %", ("camera", "bad"), bad)
    bones = quality.bone_stability(shards)
    shown = [(name, f"{100 * value:.1f}") for name, value in bones.items()]
    console.table("\nVariation of bone lengths within a person, %", ("bone", "median"), shown)
    file = quality.truth_file(shards)
    if file:
        compared = quality.against_truth(shards, quality.Truth(shards, file))
        rows = [
            (name, value if isinstance(value, int) else f"{value:.3g}")
            for name, value in compared.items()
        ]
        console.table("\nAgainst ground truth", ("measure", "value"), rows)
    columns = [(field.name, str(field.type)) for field in read_schema(shards.files[0], "")]
    console.table("\nColumns", ("name", "type"), columns)
    console.table("\nMade by", ("key", "value"), sorted(shards.metadata.items()))
    with paths.write_atomic(picture) as temporary:
        temporary.write_bytes(sheets.quality_png(shards))
    console.say(f"\nwritten  {picture}")


if __name__ == "__main__":
    run(main)
