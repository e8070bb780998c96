"""Frames: which files are some, in which order, and the one decoder that all stages share."""

import io
import os
import struct
from pathlib import Path

import cv2
import numpy as np

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.names import natural
from pipeline.schema import Status

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# A few kilobytes can claim to be a picture of gigabytes. The second is what columns hold.
LARGEST_PIXELS, LARGEST_SIDE = 1 << 26, 2**15 - 1
_JPEG, _PNG, _JPEG_END, _PNG_END = b"\xff\xd8", b"\x89PNG", b"\xff\xd9", b"IEND"
_RIFF, _START_OF_SCAN = b"RIFF", 0xDA
# Of 255 levels.
_BLANK_STD = 2.0
# OpenCV names reduced decoding after grey or BGR pictures; the size is a bit of its own.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def list_images(folder: Path) -> list[str]:
    """Return the names of a folder's images in natural order; none if there is no such folder.

    Hidden files are none: some systems put `._0001.jpg` beside 0001.jpg.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return []
    found = [name for name in names if name.lower().endswith(SUFFIXES) and name[0] != "."]
    return sorted(found, key=natural)


def read(path: Path) -> tuple[np.ndarray | None, Status]:
    """Decode one frame.

    Args:
        path: An image file, in whatever colours.

    Returns:
        RGB pixels `(H, W, 3)` uint8 and OK, or None and what is wrong: MISSING where there is no
        such file, UNREADABLE where it is empty, cut off, no image or no regular file.
    """
    try:
        return decode(paths.read_bytes(path)), Status.OK
    except FileNotFoundError:
        return None, Status.MISSING
    except (OSError, ValueError, PipelineError):
        return None, Status.UNREADABLE


def decode(data: bytes, shrink: int = 1, into: np.ndarray | None = None) -> np.ndarray:
    """Decode an encoded frame to `(H, W, 3)` RGB uint8, turned upright as its Exif data says.

    Args:
        data: The bytes of a file: a JPEG nearly always, else what OpenCV reads.
        shrink: 2, 4 or 8 makes both sides of a JPEG so many times shorter, which costs a fraction
            of decoding it whole: it holds the averages of its pixels. Other files come whole.
        into: Returned, filled, if it has the size of the frame: saves a copy. Contiguous, uint8.

    Raises:
        PipelineError: If the bytes are no image, or only the beginning of one.
    """
    image = None
    if not data:
        raise PipelineError("a frame of 0 bytes does not decode as an image")
    if (size := size_of(data)) and not (
        max(size) <= LARGEST_SIDE and size[0] * size[1] <= LARGEST_PIXELS
    ):
        raise PipelineError(
            f"a frame of {size[0]} x {size[1]} pixels is larger than the {LARGEST_PIXELS >> 20} "
            "million that are decoded"
        )
    if _is_whole(data):
        image = _decode_jpeg(data, shrink, into)
        if image is None:
            image = _decode_any(data, shrink)
    if image is None:
        raise PipelineError(f"a frame of {len(data)} bytes does not decode as an image")
    return image


def decode_mask(data: bytes) -> np.ndarray:
    """Decode a silhouette to `(H, W)` uint8, 255 where the person is seen.

    Raises:
        PipelineError: If the bytes are no image.
    """
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise PipelineError("a silhouette does not decode as an image")
    return mask


def is_blank(image: np.ndarray) -> bool:
    """Return whether nothing is to be seen in a frame: one colour, but for the noise of a JPEG.

    Pose models find joints in it all the same, with scores of a poor frame, not of none.
    """
    return bool(cv2.meanStdDev(image)[1].max() < _BLANK_STD)


def is_readable(data: bytes) -> bool:
    """Return whether `decode` makes a picture of some bytes."""
    try:
        decode(data, shrink=8)
    except PipelineError:
        return False
    return True


def _is_whole(data: bytes) -> bool:
    """Return whether the end is there: decoders fill what is missing with grey, and say nothing.

    It need not come last: phones and cameras append data of their own.
    """
    if data.startswith(_JPEG):
        return data.endswith(_JPEG_END) or data.find(_JPEG_END, _first_scan(data)) >= 0
    if data.startswith(_RIFF):
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return _PNG_END in data if data.startswith(_PNG) else bool(data)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return width and height of an encoded frame without decoding it; None where it says none."""
    try:
        if data.startswith(_JPEG):
            import simplejpeg

            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            return int(width), int(height)
        if data.startswith(_PNG):
            return struct.unpack(">II", data[16:24])
        if data.startswith(b"BM"):
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width), abs(height)
    except (ValueError, KeyError, struct.error):
        # Damaged: the decoder says so.
        return None
    return _size_of_any(data)


def _size_of_any(data: bytes) -> tuple[int, int] | None:
    """OpenCV decodes more formats than we know; Pillow reads the size of nearly all of them."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return LARGEST_SIDE + 1, LARGEST_SIDE + 1
    except Exception:  # a damaged header fails in many ways
        return None


def _first_scan(jpeg: bytes) -> int:
    """Return where a JPEG's pixels begin: a preview that stands before them has its own end."""
    at = len(_JPEG)
    while at + 4 <= len(jpeg) and jpeg[at + 1] != _START_OF_SCAN:
        is_filler = jpeg[at + 1] == 0xFF
        at += 1 if is_filler else 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return at


def _decode_jpeg(jpeg: bytes, shrink: int, into: np.ndarray | None) -> np.ndarray | None:
    """Decode to the bits that OpenCV gives, but faster; None leaves it to OpenCV."""
    import simplejpeg

    # OpenCV turns pictures as their Exif data says, which may stand behind other segments.
    if not jpeg.startswith(_JPEG) or b"Exif" in jpeg:
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
        height, width = -(-int(height) // shrink), -(-int(width) // shrink)
        buffer = into if into is not None and into.shape == (height, width, 3) else None
        image = simplejpeg.decode_jpeg(
            jpeg, min_height=height, min_width=width, buffer=buffer, strict=False
        )
    except ValueError:
        return None
    return image if buffer is None else into


def _decode_any(data: bytes, shrink: int) -> np.ndarray | None:
    # Nothing is gained with other files, and OpenCV 5 forgets to turn a TIFF that it reduces.
    size = _REDUCED[shrink] if data.startswith(_JPEG) else 0
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), size | cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
