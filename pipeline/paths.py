"""Where everything lies: one function per kind of file, relative to the project folder."""

import contextlib
import glob
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError, is_full, told

ROOT = Path(__file__).parent.parent
WORK = Path("work")
_NOT_IN_FILE_NAMES = re.compile(r"[/\\%\x00-\x1f\x7f]|^\.")
# Room for a suffix, and for what is put round a name while a file is written.
_LONGEST = 200
_TEMPORARY = re.compile(r"\..+\.([0-9]+)\.tmp")


def file_name(text: str) -> str:
    """Return a name for a file, without its suffix, that is made of a name from elsewhere.

    What would lead to another folder, hide the file or upset a terminal is written as `%2F`;
    different names stay different.

    >>> file_name("0001C1T0001"), file_name("../a/b"), file_name("50%")
    ('0001C1T0001', '%2E.%2Fa%2Fb', '50%25')
    """
    safe = _NOT_IN_FILE_NAMES.sub(lambda found: f"%{ord(found[0]):02X}", text) or "%"
    written = safe.encode(errors="surrogateescape")
    if len(written) <= _LONGEST:
        return safe
    digits = hashlib.sha256(written).hexdigest()[:12]
    return written[: _LONGEST - 13].decode(errors="ignore") + f"~{digits}"


def dataset_root(dataset: str) -> Path:
    """Return the folder of a dataset: below `REID_DATA_ROOT` if it is there, else `data/raw`.

    One that had to be unpacked, and could not be where its archive lies, is where it was unpacked.
    """
    own = below(Path("data/raw"), dataset)
    elsewhere = os.environ.get("REID_DATA_ROOT")
    # walkers are made by a stage of this pipeline, so they stay where DVC expects them.
    if dataset == "walkers":
        return own
    if (unpacked := unpacked_dir(dataset)).exists():
        return unpacked
    return there if elsewhere and (there := Path(elsewhere) / dataset).exists() else own


def unpacked_dir(dataset: str) -> Path:
    """Return where a dataset is unpacked whose own folder cannot be written to."""
    return Path("data/unpacked") / dataset


def index_file(dataset: str) -> Path:
    """Return the tracklet index."""
    return Path(f"data/index/{dataset}.parquet")


def pose2d_dir(dataset: str) -> Path:
    """Return the folder of 2D joints."""
    return Path(f"data/pose2d/{dataset}")


def pose3d_dir(dataset: str) -> Path:
    """Return the folder of 3D joints."""
    return Path(f"data/pose3d/{dataset}")


def silhouettes_file(dataset: str) -> Path:
    """Return the table of silhouettes drawn from joints."""
    return Path(f"data/silhouettes/{dataset}.parquet")


def captions_file(dataset: str) -> Path:
    """Return the table of sentences about tracklets."""
    return Path(f"data/captions/{dataset}.parquet")


def shards_dir(dataset: str) -> Path:
    """Return the folder of shards."""
    return Path(f"data/shards/{dataset}")


def weights_dir(model: str) -> Path:
    """Return the folder of one set of weights."""
    return Path(f"data/weights/{model}")


def stage1_file(run: str) -> Path:
    """Return the weights published by stage 1."""
    return Path(f"models/{run}/stage1.safetensors")


def stage2_file(run: str) -> Path:
    """Return the model published by stage 2."""
    return Path(f"models/{run}/stage2.safetensors")


def features_file(run: str) -> Path:
    """Return the table of tracklet features."""
    return Path(f"data/features/{run}.parquet")


def baselines_file(run: str) -> Path:
    """Return the table of baseline features, scored beside the model's."""
    return Path(f"data/features/{run}_baselines.parquet")


def report_dir(run: str) -> Path:
    """Return the folder of scores and pictures."""
    return Path(f"reports/{run}")


def times_dir(key: str) -> Path:
    """Return the folder where each stage of a dataset or run leaves how long it last took."""
    return WORK / "times" / key


def work_dir(stage: str, key: str, fingerprint: str) -> Path:
    """Return the scratch folder of unfinished work, named after what decides the bytes."""
    return WORK / stage / key / fingerprint


def trial_dir(trial: str) -> Path:
    """Return the folder that a trial writes to, laid out as the project is."""
    return WORK / "try" / trial


def below(root: Path, name: str) -> Path:
    """Return a file of a folder by a name that came from elsewhere: a list, a table, an archive.

    Raises:
        PipelineError: If the name leads out of the folder.
    """
    if name.startswith("/") or "\0" in name or (".." in name and ".." in name.split("/")):
        raise PipelineError(
            f"{name!r} leads out of {root}. Whoever wrote that path made a mistake, or means harm: "
            "do not use the file it stands in"
        )
    return root / name


def regular(path: Path) -> Path:
    """Return a path that is to be read or replaced, unless a folder, pipe or device stands there.

    Raises:
        PipelineError: If one does: reading may wait for ever, and replacing would destroy it.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device, pipe or socket"
        raise PipelineError(f"{path} is {kind}, no file. Name another")
    return path


def read_bytes(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: If it cannot be read, or is a pipe or device, which might never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is no regular file")
    return path.read_bytes()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def write_atomic(path: Path, is_kept: bool = True) -> Generator[Path]:
    """Yield a temporary file beside `path`, which takes its name when the block succeeds.

    A reader sees the old file or the whole new one, whatever happens in between.

    Args:
        path: The file.
        is_kept: Wait until the disk has it; one of a million small files need not survive a
            loss of power.

    Raises:
        PipelineError: If a folder, pipe or device stands there.
    """
    regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if is_kept:
        # A stage may publish more than the output whose folder is swept before it.
        _sweep(path.parent, f"{glob.escape(path.name)}.*")
    try:
        yield temporary
        _readable(temporary)
        if is_kept:
            _fsync(temporary)
        temporary.replace(path)
        if is_kept:
            _fsync(path.parent)
    except PipelineError:
        raise
    except Exception as error:
        # Arrow, PyTorch and safetensors each say it in their own words, and without the name.
        if is_full(error):
            raise PipelineError(f"{path} cannot be written: {told(error)}") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def write_together(files: Iterable[Path]) -> Generator[list[Path]]:
    """Yield a temporary file for each of some files that say one thing: all are new, or none.

    Raises:
        PipelineError: If a folder, pipe or device stands at one of them.
    """
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(write_atomic(file)) for file in files]


def _readable(file: Path) -> None:
    """Let those read a file who may read its folder: safetensors writes private ones."""
    if file.is_file():
        file.chmod(file.parent.stat().st_mode & 0o666)


def sweep(output: Path) -> None:
    """Remove what killed runs left half written in an output's folder.

    Where that is no output by itself, others may be writing into it just now: those that live keep
    their files.
    """
    _sweep(output if output.is_dir() else output.parent, "*")


def _sweep(folder: Path, name: str) -> None:
    for file in folder.glob(f".{name}.tmp"):
        found = _TEMPORARY.fullmatch(file.name)
        if found and not Path("/proc", found[1]).exists():
            file.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a folder at one stroke: a run that is killed leaves all of it, or nothing that counts.

    What it left of an earlier one is removed too.
    """
    unwanted = folder.with_name(".discarded")
    shutil.rmtree(unwanted, ignore_errors=True)
    folder.replace(unwanted)
    shutil.rmtree(unwanted)


def _copied(made: Path, there: Path) -> Path:
    """Copy a folder to another disk, where a rename can publish it."""
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(made, there)
    for file in there.rglob("*"):
        if file.is_file():
            _fsync(file)
    return there


def publish_dir(made: Path, final: Path) -> None:
    """Rename a finished folder to its final name, replacing what stood there.

    What a killed `write_atomic` left in it is removed. Where `final` lies on another disk, the
    folder is first copied to a hidden place beside it.
    """
    for file in list(made.rglob("*")):
        if _TEMPORARY.fullmatch(file.name):
            file.unlink()
        elif file.is_file():
            _fsync(file)
    # `final` may be a link to another disk, whose folder keeps the link.
    final = final.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    if made.stat().st_dev != final.parent.stat().st_dev:
        made = _copied(made, final.with_name(f".{final.name}.new"))
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.replace(old)
    made.replace(final)
    _fsync(final.parent)
    shutil.rmtree(old, ignore_errors=True)
