"""Read frames from disk and say how each fared."""

from pathlib import Path

import cv2
import numpy as np

from pipeline.schema import Status

# The last bytes of a whole file. A frame that was cut off is found by them: the JPEG decoder fills
# what is missing with grey and reports nothing.
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}
_TAIL_BYTES = 1024


def read(path: Path) -> tuple[np.ndarray | None, Status]:
    """Decode one frame.

    Args:
        path: A JPEG or PNG, in whatever colours.

    Returns:
        RGB pixels `(H, W, 3)` uint8 and OK, or None and what is wrong: MISSING where there is no
        such file, UNREADABLE where it is empty, cut off or no image.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, Status.MISSING
    except OSError:
        return None, Status.UNREADABLE
    image = decode(data)
    return (None, Status.UNREADABLE) if image is None else (image, Status.OK)


def decode(data: bytes) -> np.ndarray | None:
    """Decode the bytes of a frame to RGB pixels `(H, W, 3)`, or None if that cannot be done."""
    for start, end in _ENDS.items():
        # Not exactly at the end: some cameras pad their files.
        if data.startswith(start) and end not in data[-_TAIL_BYTES:]:
            return None
    if not data:
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
