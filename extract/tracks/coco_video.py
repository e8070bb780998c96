"""Boxes of JSON in the manner of COCO, for videos.

    videos:      [{id, name}]
    images:      [{id, video_id, frame_id, file_name}]               frame_id from 0
    annotations: [{image_id, bbox: [x, y, width, height], category_id, instance_id or track_id}]
    categories:  [{id, name}]

or with an annotation per track, as YouTube-VIS has them: {video_id, id, bboxes: [[...] or null per
frame]}. Of several videos the one is read that is called as the video on disk.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from extract.tracks.boxes import Box, number, whole
from extract.tracks.video import Video
from pipeline.errors import PipelineError

_TRACK = ("instance_id", "track_id")
_PARTS = ("x", "y", "width", "height")


def read(path: Path, video: Video, left_out: Counter) -> Iterator[Box]:
    """Yield the boxes of a video."""
    content = _parsed(path)
    ours = _video_id(content, path, video)
    labels = {one.get("id"): str(one.get("name", "")) for one in _list(content, "categories", path)}
    frames = _frames(content, path, ours)
    for i, one in enumerate(_list(content, "annotations", path)):
        where = f"{path}: annotations[{i}]"
        label = labels.get(one.get("category_id"), "")
        if "bboxes" in one:
            if ours in (None, one.get("video_id")):
                for frame, bbox in enumerate(one["bboxes"] or ()):
                    if bbox is not None:
                        yield _box(frame, one.get("id"), bbox, label, f"{where}.bboxes[{frame}]")
        elif one.get("image_id") in frames:
            track = next((one[key] for key in _TRACK if key in one), None)
            bbox = one.get("bbox")
            yield _box(frames[one["image_id"]], track, bbox, label, where, one.get("score", 1.0))


def _box(frame: int, track: Any, bbox: Any, label: str, where: str, score: Any = 1.0) -> Box:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise PipelineError(f"{where}: bbox is {bbox!r:.40}. Expected [x, y, width, height]")
    x, y, width, height = (
        number(part, what, where) for part, what in zip(bbox, _PARTS, strict=True)
    )
    name = "" if track is None else str(whole(track, "the track", where))
    return Box(frame, name, x, y, width, height, number(score, "score", where), label, where)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise PipelineError(f"{path}:{error.lineno}: no valid JSON ({error.msg})") from None
    except (UnicodeDecodeError, RecursionError):
        raise PipelineError(f"{path} is no JSON that can be read. Export it again") from None
    if not isinstance(content, dict) or "annotations" not in content:
        raise PipelineError(f"{path} has no annotations. Expected COCO's JSON for videos")
    return content


def _list(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    found = content.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PipelineError(f"{path}: {key} is no list of objects")
    return found


def _video_id(content: dict[str, Any], path: Path, video: Video) -> Any:
    """Return which of the file's videos is meant, None where it names none.

    Raises:
        PipelineError: If it names several, and none of them as the file on disk is called.
    """
    videos = _list(content, "videos", path)
    if len(videos) <= 1:
        return videos[0].get("id") if videos else None
    names = {PurePath(_name(one)).stem: one.get("id") for one in videos}
    names |= {PurePath(_name(one)).name: one.get("id") for one in videos}
    if video.stem not in names:
        some = ", ".join(sorted(names)[:5])
        raise PipelineError(f"{path} holds the videos {some}, none called {video.stem}. Rename one")
    return names[video.stem]


def _name(one: dict[str, Any]) -> str:
    return str(one.get("name") or one.get("file_name") or one.get("id"))


def _frames(content: dict[str, Any], path: Path, ours: Any) -> dict[Any, int]:
    """Return the frame number of every image of the video."""
    found = {}
    for i, one in enumerate(_list(content, "images", path)):
        if ours is None or one.get("video_id", ours) == ours:
            frame = one.get("frame_id", one.get("frame_index"))
            where = f"{path}: images[{i}]"
            found[one.get("id")] = whole(i if frame is None else frame, "frame_id", where)
    return found
