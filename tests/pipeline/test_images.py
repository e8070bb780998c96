"""One decoder: whatever the file, every stage sees the same upright pixels, or the same refusal."""

import io
import re
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.errors import PipelineError
from pipeline.images import decode, is_blank, is_readable, list_images, read
from pipeline.schema import Status
from tests.conftest import ROOT

SIZES = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
SHRINK = st.sampled_from(list(SIZES))


def picture(height=50, width=30, channels=3):
    """Return a smooth picture whose corners all differ."""
    small = np.random.default_rng(0).integers(0, 256, (4, 3, channels), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(image.squeeze()).save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def segment(marker, body):
    return b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body


def exif_segment(orientation, preview):
    body = turned(orientation).tobytes()
    body = body if body.startswith(b"Exif") else b"Exif\0\0" + body
    # A preview is a whole JPEG of its own, end and all.
    return segment(0xE1, body + (encoded(picture(8, 8), "JPEG") if preview else b""))


OTHERS = {
    "jfif": segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
    "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
    "icc": segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)),
    "photoshop": segment(0xED, b"Photoshop 3.0\0" + bytes(100)),
    "comment": segment(0xFE, b"a comment"),
}


@settings(deadline=None, max_examples=60)
@given(
    orientation=st.integers(1, 8),
    before=st.lists(st.sampled_from(list(OTHERS)), max_size=4),
    after=st.lists(st.sampled_from(list(OTHERS)), max_size=2),
    preview=st.booleans(),
    trailer=st.sampled_from([b"", b"\0" * 40, b"SEFT" * 2000]),
    progressive=st.booleans(),
)
def test_a_jpeg_is_turned_upright_wherever_its_orientation_stands(
    orientation, before, after, preview, trailer, progressive
):
    plain = encoded(picture(), "JPEG", progressive=progressive)
    rest = plain[4 + int.from_bytes(plain[4:6], "big") :]  # behind its own JFIF segment
    head = [*(OTHERS[n] for n in before), exif_segment(orientation, preview)]
    data = b"\xff\xd8" + b"".join([*head, *(OTHERS[n] for n in after)]) + rest + trailer
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode(data), expected)
    for shrink in SIZES:
        height, width = decode(data, shrink).shape[:2]
        assert (height > width) == (expected.shape[0] > expected.shape[1])
        assert abs(height * shrink - expected.shape[0]) < shrink


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP"]),
    orientation=st.integers(1, 8),
    shrink=SHRINK,
)
def test_every_format_is_turned_the_same_way_at_every_size(kind, orientation, shrink):
    data = encoded(picture(64, 32), kind, exif=turned(orientation))
    upright = decode(data)
    assert upright.shape == ((64, 32, 3) if orientation < 5 else (32, 64, 3))
    asked = decode(data, shrink)
    seen = cv2.resize(upright, asked.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(asked.astype(int) - seen).mean() < 8
    assert asked.shape[0] == upright.shape[0] // (shrink if kind == "JPEG" else 1)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([1, 3]),
    quality=st.integers(5, 100),
    progressive=st.booleans(),
    shrink=SHRINK,
)
def test_jpegs_are_decoded_as_opencv_does(height, width, channels, quality, progressive, shrink):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    data = cv2.imencode(".jpg", picture(height, width, channels), options)[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), SIZES[shrink])
    # Of colours two pixels wide, reduced, the two make something different.
    assume(shrink == 1 or expected.shape[1] > 2)
    np.testing.assert_array_equal(decode(data, shrink), expected)
    into = np.empty_like(expected)
    assert decode(data, shrink, into) is into
    np.testing.assert_array_equal(into, expected)
    assert decode(data, shrink, np.empty((3, 200, 3), np.uint8)).shape == expected.shape


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_decoding_gives_red_green_blue(kind):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(decode(encoded(red, kind)), red)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["JPEG", "PNG"]),
    preview=st.booleans(),
    kept=st.floats(0, 0.999),
    shrink=SHRINK,
)
def test_the_beginning_of_a_file_is_refused_at_every_size(kind, preview, kept, shrink):
    data = encoded(picture(), kind)
    if kind == "JPEG" and preview:
        data = data[:2] + exif_segment(6, preview=True) + data[2:]
    data = data[: int(kept * (len(data) - 2))]
    assert not is_readable(data)
    with pytest.raises(PipelineError, match="does not decode"):
        decode(data, shrink)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8 no image", b"\xff\xd8\xff\xd9"])
def test_bytes_that_are_no_image_are_refused(data, tmp_path):
    assert not is_readable(data)
    with pytest.raises(PipelineError, match="does not decode"):
        decode(data)
    (tmp_path / "x.jpg").write_bytes(data)
    assert read(tmp_path / "x.jpg") == (None, Status.UNREADABLE)


@pytest.mark.parametrize("wing", ["pipeline", "extract", "shards", "train", "evaluate"])
def test_no_other_module_decodes_frames_its_own_way(wing):
    own = re.compile(r"imdecode|imread|simplejpeg|Image\.open")
    files = set((ROOT / wing).rglob("*.py")) - {ROOT / "pipeline/images.py"}
    assert len(files) > 10
    found = {str(file): own.findall(file.read_text()) for file in files}
    assert not {name: calls for name, calls in found.items() if calls}


def test_a_file_that_is_not_there_is_missing_and_a_folder_unreadable(tmp_path):
    assert read(tmp_path / "x.jpg") == (None, Status.MISSING)
    assert read(tmp_path) == (None, Status.UNREADABLE)


def test_images_come_in_natural_order_without_hidden_files(tmp_path):
    names = [f"frame_{i}.JPG" for i in range(1, 13)]
    for name in (*names[::-1], "._frame_1.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == names
    assert list_images(tmp_path / "nowhere") == []


def test_one_colour_is_blank_and_the_darkest_picture_is_not():
    noise = np.random.default_rng(0).integers(0, 3, (50, 30, 3), np.uint8)
    assert is_blank(noise)
    assert is_blank(decode(encoded(np.full((50, 30, 3), 17, np.uint8), "JPEG")))
    assert not is_blank(picture() // 16)
    dot = np.zeros((50, 30, 3), np.uint8)
    dot[20:23, 10:13] = 255
    assert not is_blank(dot)


@pytest.mark.parametrize("suffix", [".webp", ".tif", ".TIFF", ".PNG", ".bmp"])
def test_frames_of_every_kind_that_the_index_lists_are_decoded(suffix, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (40, 20, 3), np.uint8)
    file = tmp_path / f"0001{suffix}"
    file.write_bytes(cv2.imencode(suffix.lower(), picture)[1].tobytes())
    (tmp_path / "._0001.jpg").write_bytes(b"x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert list_images(tmp_path) == [file.name]
    frame, status = read(file)
    assert (frame.shape, status) == ((40, 20, 3), Status.OK)


def test_a_picture_that_claims_gigabytes_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    squeezer = zlib.compressobj(9)
    row = bytes(1 + 3 * 30_000)
    pixels = b"".join([*(squeezer.compress(row) for _ in range(30_000)), squeezer.flush()])
    end = chunk(b"IEND", b"")
    file = tmp_path / "bomb.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read(file) == (None, Status.UNREADABLE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    with pytest.raises(PipelineError, match="30000 x 30000 pixels is larger than the 64 million"):
        decode(file.read_bytes())


@pytest.mark.parametrize("side", [(40_000, 1), (1, 40_000)])
def test_a_side_that_no_column_holds_is_a_bad_frame(side, tmp_path):
    file = tmp_path / "long.png"
    file.write_bytes(cv2.imencode(".png", np.zeros((*side, 3), np.uint8))[1].tobytes())
    assert read(file)[1] == Status.UNREADABLE
