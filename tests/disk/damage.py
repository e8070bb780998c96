"""Damage of files, drawn from what their format is made of; a seed gives the same damage."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.disk import arrays, tables, texts

Damage = Callable[[Path, random.Random], object]


def spoil(file: Path, rng: random.Random) -> str:
    """Damage one file, and return what was done to it.

    Half the time it is the bytes, as disks and networks spoil them; else it is what they say, as
    another program writes it.
    """
    of_format = FORMATS.get(file.suffix, [])
    damage = rng.choice(of_format if of_format and rng.random() < 0.6 else BYTES)
    content, mode = file.read_bytes(), file.stat().st_mode
    said = damage(file, rng)
    if file.is_file() and file.read_bytes() == content and file.stat().st_mode == mode:
        cut(file, rng)
        said = "cut, as nothing else changed it"
    return f"{damage.__name__}: {said}"


def cut(file: Path, rng: random.Random) -> object:
    data = file.read_bytes()
    at = rng.choice([rng.randrange(len(data) + 1), len(data) - 1, 4, 12, len(data) - 8])
    _replace(file, data[: max(at, 0)])
    return at


def flip(file: Path, rng: random.Random) -> object:
    data = bytearray(file.read_bytes())
    places = [rng.randrange(len(data)) for _ in range(rng.choice([1, 1, 8, 64]))] if data else []
    for at in places:
        data[at] ^= 1 << rng.randrange(8)
    _replace(file, data)
    return places[:4]


def flip_an_end(file: Path, rng: random.Random) -> object:
    """Most formats say there what the rest means."""
    data = bytearray(file.read_bytes())
    at = rng.randrange(min(len(data), 400)) if data else 0
    at = at if rng.random() < 0.5 else len(data) - 1 - at
    data[at : at + 1] = bytes([rng.randrange(256)])
    _replace(file, data)
    return at


def zero(file: Path, rng: random.Random) -> object:
    data = bytearray(file.read_bytes())
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    data[a:b] = bytes(b - a)
    _replace(file, data)
    return a, b


def swap(file: Path, rng: random.Random) -> object:
    data = file.read_bytes()
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    _replace(file, data[:a] + data[b:] + data[a:b])
    return a, b


def repeat(file: Path, rng: random.Random) -> object:
    data = file.read_bytes()
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    _replace(file, data[:b] + data[a:])
    return a, b


def insert(file: Path, rng: random.Random) -> object:
    data = file.read_bytes()
    at = rng.randrange(len(data) + 1)
    _replace(file, data[:at] + rng.randbytes(rng.choice([1, 16, 500])) + data[at:])
    return at


def empty(file: Path, rng: random.Random) -> None:
    _replace(file, b"")


def noise(file: Path, rng: random.Random) -> None:
    _replace(file, rng.randbytes(rng.choice([1, 7, 100, 5000])))


def a_page_of_the_web(file: Path, rng: random.Random) -> None:
    _replace(file, b"<!DOCTYPE html><html><body>404: this file has moved</body></html>\n")


def a_pointer_of_git(file: Path, rng: random.Random) -> None:
    _replace(
        file,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    )


def a_folder(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()
    if rng.random() < 0.5:
        (file / "inside.txt").write_text("x")


def a_link_to_nothing(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to("nowhere/at/all")


def a_link_to_itself(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.name)


def a_pipe(file: Path, rng: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def a_device(file: Path, rng: random.Random) -> object:
    name = rng.choice(["null", "zero", "full"])
    file.unlink()
    file.symlink_to(f"/dev/{name}")
    return name


def another_file(file: Path, rng: random.Random) -> object:
    """Put a good file of another kind in its place."""
    others = [one for one in Path().rglob("*.*") if one.is_file() and one != file]
    other = rng.choice(sorted(others))
    file.unlink()
    shutil.copyfile(other, file)
    return other


def gone(file: Path, rng: random.Random) -> None:
    file.unlink()


def _replace(file: Path, data: bytes | bytearray) -> None:
    file.unlink()
    file.write_bytes(data)


BYTES: list[Damage] = [
    cut, cut, flip, flip, flip_an_end, flip_an_end, zero, swap, repeat, insert, empty, noise,
    a_page_of_the_web, a_pointer_of_git, a_folder, a_link_to_nothing, a_link_to_itself, a_pipe,
    a_device, another_file, another_file, gone,
]  # fmt: skip
FORMATS: dict[str, list[Damage]] = {
    ".parquet": tables.KINDS,
    ".json": texts.JSON,
    ".yaml": texts.YAML,
    ".csv": texts.LINES,
    ".txt": texts.LINES,
    ".tsv": texts.LINES,
    ".npy": arrays.NPY,
    ".npz": arrays.NPZ,
    ".mat": arrays.MAT,
    ".safetensors": arrays.SAFETENSORS,
    ".pth": arrays.PTH,
}
