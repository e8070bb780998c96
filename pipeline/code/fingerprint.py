"""What tells whether something made earlier is what would be made now.

A fingerprint is of all that decides a result: knobs, inputs, code. It names the folder of
unfinished work, and is noted in `work/done/` when the work is published. It does not stand in what
is published: code that changed and still gives the same bytes makes nothing after it again.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.files.reading import check_plain, reading

LENGTH = 12
_ENDS_BYTES = 1 << 16


def fingerprint(*files: Path, **parts: object) -> str:
    """Return hex digits that change with the contents of files, with parts and with nothing else.

    Args:
        files: Files that decide a result; their names do not count.
        parts: Whatever else does: knobs, versions, the hash of the code.
    """
    made = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for file in files:
        check_plain(file, "Make it again: dvc repro")
        with file.open("rb") as opened:
            made.update(hashlib.file_digest(opened, "sha256").digest())
    return made.hexdigest()[:LENGTH]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    check_plain(path, "Make it again: dvc repro")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages, as metadata."""
    from importlib.metadata import version

    return {f"version_{package}": version(package) for package in packages}


def note_done(made_of: str, *outputs: Path) -> None:
    """Note what was published, and what it was made of."""
    with paths.write_atomic(_note(outputs[0])) as temporary:
        temporary.write_text(json.dumps({"made_of": made_of, "files": dict(_seen(outputs))}))


def is_done(made_of: str, *outputs: Path) -> bool:
    """Return whether what was published last is of this fingerprint, and still there unchanged."""
    note = _note(outputs[0])
    try:
        with reading(note, "note", "It is made again"):
            noted = json.loads(note.read_text(encoding="utf-8"))
    except PipelineError:
        return False
    return noted == {"made_of": made_of, "files": dict(_seen(outputs))}


def _note(output: Path) -> Path:
    return paths.WORK / "done" / (str(output).strip("/").replace("/", "-") + ".json")


def _seen(outputs: Iterable[Path]) -> Iterator[tuple[str, list[int]]]:
    """Yield size and a checksum of both ends of every file: enough to see that one was replaced."""
    for output in outputs:
        files = sorted(output.rglob("*")) if output.is_dir() else [output]
        for file in files:
            if file.is_file():
                size = file.stat().st_size
                with file.open("rb") as opened:
                    check = zlib.crc32(opened.read(_ENDS_BYTES))
                    opened.seek(max(0, size - _ENDS_BYTES))
                    check = zlib.crc32(opened.read(), check)
                yield str(file), [size, check]
