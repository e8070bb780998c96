"""Put the weights of a pose model where the pose stages look for them.

Run one:   python -m extract.weights --model rtmpose_m
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import cli, console, machine, paths
from pipeline.errors import PipelineError
from pipeline.lock import locked

if TYPE_CHECKING:
    from extract.engine.spec import File, Spec

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30

Model = Annotated[str, typer.Option("--model", "-m", help="A file of conf/weights/.")]


def main(
    model: Model,
    dry_run: cli.DryRun = False,
    verbose: cli.Verbose = False,
    quiet: cli.Quiet = False,
) -> None:
    """Fit, download, link or check the weights of a pose model."""
    cli.set_output(verbose, quiet)
    from extract.engine import spec as specs

    spec = specs.load(model)
    folder = paths.weights_dir(model)
    if dry_run:
        console.say(f"{spec.source} into {folder}: {_names(spec) or 'what extract.fit makes'}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        paths.sweep(folder)
        if spec.source == "fit":
            _fit(spec, folder)
        else:
            get = {"local": _link, "download": _download, "git": _look_at}[spec.source]
            for file in spec.files:
                get(file, folder, spec)
    found = sorted(file for file in folder.iterdir() if file.is_file())
    size = console.size(sum(file.stat().st_size for file in found))
    console.summary(folder, f"{len(found)} files, {size}; {spec.licence}", "dvc repro")


def _fit(spec: "Spec", folder: Path) -> None:
    """Fit the models, unless their files are there."""
    from extract.fit.fit import fit, is_unfinished
    from pipeline.params.config import load

    there = [folder / file.name for file in spec.files if (folder / file.name).is_file()]
    if spec.files and len(there) == len(spec.files) and not is_unfinished(folder):
        for file in spec.files:
            _check(folder / file.name, file, spec)
        console.say(f"{folder} holds them already")
        return
    fit(folder, load())


def _names(spec: "Spec") -> str:
    return ", ".join(file.name for file in spec.files)


def _check(path: Path, file: "File", spec: "Spec") -> None:
    from pipeline.code.fingerprint import sha256

    if file.sha256 and not sha256(path).startswith(file.sha256):
        raise PipelineError(
            f"{path} does not have the sha256 {file.sha256}... that {spec.file} asks for. Delete "
            "it and run the same command again; if the file is your own, change the sha256 there"
        )


def _look_at(file: "File", folder: Path, spec: "Spec") -> None:
    """Check a file that is kept in git."""
    path = folder / file.name
    if not path.is_file():
        raise PipelineError(f"{path} is missing. Run: git checkout -- {path}")
    _check(path, file, spec)


def _link(file: "File", folder: Path, spec: "Spec") -> None:
    """Make a link in `folder` to a file that lies elsewhere on this machine."""
    if file.path is None:
        raise PipelineError(f"{spec.file}: {file.name} has no path. Add one, or source: download")
    target = file.path.expanduser()
    if not target.is_file():
        raise PipelineError(f"{spec.file}: {target} is not a file")
    _check(target, file, spec)
    link = folder / file.name
    link.unlink(missing_ok=True)
    link.symlink_to(target.absolute())


def _download(file: "File", folder: Path, spec: "Spec") -> None:
    """Fetch one file; a download that broke off goes on where it ended.

    Raises:
        PipelineError: If the file has no URL, the network fails, or the hash differs.
    """
    final, part = folder / file.name, paths.WORK / "weights" / f"{file.name}.part"
    if final.is_file():
        _check(final, file, spec)
        console.say(f"{final} is there already")
        return
    if file.url is None:
        raise PipelineError(f"{spec.file}: {file.name} has no url. Add one, or source: local")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(file.url, part)
    except OSError as error:
        raise PipelineError(
            f"{file.url} cannot be fetched ({error}). Put that file at {final} by hand, where it "
            "stays, or be online; then run the same command again"
        ) from None
    try:
        _check(part, file, spec)
    except PipelineError:
        part.unlink()
        raise
    with paths.write_atomic(final) as temporary:
        # `work/` and `data/` may lie on two disks.
        shutil.move(part, temporary)


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what is missing of it.

    The server is asked for the rest; one that sends all again (status 200) is obeyed.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code == 416:  # Nothing lies beyond what we have: the file is whole.
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as out:
        resumed = have if response.status == 206 else 0
        rest = int(response.headers.get("Content-Length", 0))
        machine.check_space(part.parent, rest, f"the rest of {url}")
        total = resumed + rest
        with console.progress(total, "bytes", part.stem, done=resumed) as meter:
            while block := response.read(BLOCK_BYTES):
                out.write(block)
                meter.advance(len(block))
    if total > resumed and part.stat().st_size < total:
        raise OSError(f"the connection closed after {part.stat().st_size} of {total} bytes")


if __name__ == "__main__":
    cli.run(main)
