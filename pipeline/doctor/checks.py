"""What is looked at: versions, packages, devices, data and weights."""

import contextlib
import io
import platform
import random
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import paths
from pipeline.doctor.check import INSTALL, Check
from pipeline.doctor.machine import disk, git_and_dvc, limits
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.params.config import Params

INSTALL_OPENMMLAB = "python -m pip install --no-deps -r requirements-openmmlab.txt"
DECODED = 50


def _python() -> Iterator[Check]:
    yield Check(
        "python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11"
    )


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    for file, fix in (
        ("requirements.txt", INSTALL),
        ("requirements-openmmlab.txt", INSTALL_OPENMMLAB),
    ):
        for line in (paths.ROOT / file).read_text().splitlines():
            if not line.partition("#")[0].strip():
                continue
            wanted = Requirement(line)
            try:
                version = metadata.version(wanted.name)
            except metadata.PackageNotFoundError:
                yield Check(wanted.name, False, "missing", fix)
                continue
            fits = wanted.specifier.contains(version)
            seen = version if fits else f"{version}, tested with {wanted.specifier}"
            yield Check(wanted.name, fits, seen, fix)


def _opencv() -> Iterator[Check]:
    installed = {str(d.metadata["Name"]).lower() for d in metadata.distributions()}
    both = {"opencv-python", "opencv-python-headless"} <= installed
    fix = f"python -m pip uninstall -y opencv-python opencv-python-headless && {INSTALL}"
    yield Check("one OpenCV", not both, "two builds side by side" if both else "yes", fix)


def _openmmlab() -> Iterator[Check]:
    from pipeline.openmmlab import repair

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            done = repair()
            import mmpose.apis  # noqa: F401
    except (ImportError, AttributeError) as error:
        yield Check("import mmpose", False, str(error), f"{INSTALL} && {INSTALL_OPENMMLAB}")
        return
    yield Check("import mmpose", True, f"with {len(done)} repairs" if done else "without repairs")


def _device() -> Iterator[Check]:
    import torch

    found = torch.cuda.is_available()
    seen = torch.cuda.get_device_name() if found else "none: everything runs on the CPU"
    yield Check("GPU", True, seen)


def _data(dataset: str | None) -> Iterator[Check]:
    """Look for what DVC will ask for: datasets, sources, weights, what runs start from."""
    from pipeline.params.config import load

    params = load()
    for name, line in (params.datasets | params.kinect).items():
        if dataset in (None, name):
            root = paths.dataset_root(name)
            yield Check(f"dataset {name}", root.is_dir(), str(root), _how_to_get(name, root))
            source = Path(line.source)
            if root.is_dir() and not source.exists():
                yield Check(f"source of {name}", False, f"{source} is not there", _link(name, root))
            if root.is_dir() and name in params.datasets:
                yield _decode(name, root)
    for name, needed_by in _weights_needed(params, dataset).items():
        folder = paths.weights_dir(name)
        there = folder.is_dir() and any(folder.iterdir())
        fix = f"dvc repro weights@{name}"
        if name not in params.weights:
            fix = f"add {name} under weights in params.yaml, then: {fix}"
        yield Check(f"weights {name}", there, f"{folder}, for {needed_by}", fix)
    for name, line in (*params.pretraining.items(), *params.runs.items()):
        start = Path(line.start)
        is_made = start.parts[0] == "models" or start.parent == Path("data/weights")
        if not is_made and dataset in (None, line.train):
            fix = f"put it there, or change start of {name} in params.yaml"
            yield Check(f"start of {name}", start.exists(), str(start), fix)


def _how_to_get(name: str, root: Path) -> str:
    return "dvc repro walkers" if name == "walkers" else f"put it into {root}: docs/datasets.md"


def _link(name: str, root: Path) -> str:
    """Return how DVC finds a dataset that lies elsewhere: it looks at paths, not at variables."""
    own = Path("data/raw") / name
    if root.resolve() != own.resolve():
        return f"ln -s {root} {own}"
    return f"see the layout in docs/datasets.md, or change source of {name} in params.yaml"


def _weights_needed(params: "Params", dataset: str | None) -> dict[str, str]:
    """Return the weights that enabled lines name, and the first that does."""
    needed: dict[str, str] = {}
    for name, line in params.datasets.items():
        if dataset in (None, name):
            for model in (line.pose2d, line.pose3d):
                needed.setdefault(model, f"dataset {name}")
    for name, line in (*params.pretraining.items(), *params.runs.items()):
        start = Path(line.start)
        if start.parent == Path("data/weights") and dataset in (None, line.train):
            needed.setdefault(start.name, f"run {name}")
    return needed


def _decode(dataset: str, root: Path) -> Check:
    from pipeline import images
    from pipeline.schema import Status

    name = f"frames of {dataset}"
    found = [frame for frame in (_any_frame(root) for _ in range(DECODED)) if frame]
    if not found:
        return Check(name, False, "no image found", f"look into {root}; docs/datasets.md")
    broken = [str(frame) for frame in found if images.read(frame)[1] != Status.OK]
    seen = f"{broken[0]} does not decode" if broken else f"{len(found)} decoded"
    return Check(name, not broken, seen, "copy that file anew")


def _any_frame(folder: Path) -> Path | None:
    """Walk down at random: listing every frame of MARS to draw fifty would take minutes."""
    from pipeline.images import list_images

    while folder.is_dir():
        inside = [path for path in folder.iterdir() if path.is_dir()]
        inside += [folder / name for name in list_images(folder)]
        if not inside:
            return None
        folder = random.choice(inside)
    return folder


def checks(dataset: str | None = None) -> Iterator[Check]:
    """Yield the findings, cheap ones first; one check that breaks does not stop the rest."""
    finders: dict[str, Callable[[], Iterator[Check]]] = {
        "python": _python,
        "packages": _packages,
        "one OpenCV": _opencv,
        "import mmpose": _openmmlab,
        "GPU": _device,
        "git and dvc": git_and_dvc,
        "free disk": disk,
        "limits": limits,
        "data": lambda: _data(dataset),
    }
    for name, find in finders.items():
        try:
            yield from find()
        except (ImportError, PipelineError, OSError) as error:
            yield Check(name, False, str(error), INSTALL)
