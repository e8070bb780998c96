"""Cut people out of videos: a dataset in the format `folder`.

Run:   python -m extract.tracks --video street.mp4 --boxes tracks.txt --out data/raw/mine
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import cli

Video = Annotated[
    list[Path],
    typer.Option("--video", help="A video, or a folder of pictures; again for each camera."),
]
Boxes = Annotated[
    list[Path] | None,
    typer.Option("--boxes", help="Who is where in it: one for each video, in their order."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The dataset's folder.")]
Format = Annotated[
    str, typer.Option("--format", help="mot, ultralytics, cvat, coco or csv; else content tells.")
]
Label = Annotated[str | None, typer.Option(help="What people are called in the boxes.")]
Detector = Annotated[
    str, typer.Option(help="Without boxes: what finds people, a file of conf/weights/.")
]
Tracker = Annotated[
    str, typer.Option(help="What links boxes that have no track: bytetrack, ocsort or sort.")
]
Margin = Annotated[
    float, typer.Option(min=0, max=1, help="Added at each side, a share of the box's height.")
]
Aspect = Annotated[
    float, typer.Option(min=0, max=4, help="Width by height of crops; 0 leaves boxes as they are.")
]
MinHeight = Annotated[int, typer.Option(min=1, help="Leave out boxes less high, in pixels.")]
Every = Annotated[int, typer.Option(min=1, help="Look at every N-th frame.")]
Query = Annotated[str, typer.Option(help="The camera whose tracklets are queries.")]
Shared = Annotated[
    bool, typer.Option("--shared-ids", help="A track's id is a person's, in all videos.")
]
Limit = Annotated[int, typer.Option(min=0, help="Only the first N frames of each video.")]


def main(
    video: Video,
    out: Out,
    boxes: Boxes = None,
    kind: Format = "",
    label: Label = None,
    detector: Detector = "",
    tracker: Tracker = "bytetrack",
    margin: Margin = 0.05,
    aspect: Aspect = 0.5,
    min_height: MinHeight = 48,
    every: Every = 1,
    query: Query = "",
    shared_ids: Shared = False,
    limit: Limit = 0,
    device: Annotated[str, typer.Option(help="Of the detector: auto, cpu, cuda.")] = "auto",
    dry_run: cli.DryRun = False,
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Cut everybody out of videos, as a dataset in the format `folder`.

    Boxes are text of MOTChallenge, Ultralytics' save_txt, CVAT's XML for video, COCO's JSON for
    videos, or CSV. Without boxes a detector finds people. Each track is a tracklet; frames in which
    somebody is not seen stay gaps.

    Example: python -m extract.tracks --video street.mp4 --boxes tracks.txt --out data/raw/mine
    """
    cli.set_output(verbose, quiet)
    from extract.tracks.cut import Shape
    from extract.tracks.dataset import Wanted
    from extract.tracks.run import Source, carry_out
    from extract.tracks.video import Looks

    source = Source(kind, label, detector, tracker, device)
    shape, looks = Shape(margin, aspect, min_height), Looks(every, limit)
    wanted = Wanted(out, shape, looks, query, shared_ids, source.decides())
    carry_out(wanted, video, boxes or [], source, dry_run)


if __name__ == "__main__":
    cli.run(main)
