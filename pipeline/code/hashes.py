"""Hashes of the code and the configuration behind every stage, without comments and docstrings.

A stage of dvc.yaml lists its own line of code.yaml under `params`: a changed comment makes nothing
again, and a changed line of code makes again exactly what imports it. The same hash is part of the
fingerprint of unfinished work, so that what older code began is never continued.

What a stage imports, anywhere in its modules, is followed, and so are the classes that
configurations name in full. A change counts for all that imports the module it is in. Where you
know better, say `dvc commit -f STAGE`.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import graph, paths

if TYPE_CHECKING:
    from pipeline.params.config import Params

LENGTH = 12
WINGS = ("pipeline", "extract", "shards", "train", "evaluate")
# What these change is seen on the terminal or is tracked as parameters, not in a result. They
# import nothing but each other.
SILENT = {
    f"pipeline.{name}"
    for name in (
        "cli", "code", "code.fingerprint", "code.hashes", "console", "errors",
        "files.reading", "graph", "lock", "machine", "params.config", "params.knobs", "paths",
        "stage",
    )
}  # fmt: skip


def digest(stage: str, key: str, params: "Params") -> str:
    """Return 12 hex digits that change with the code behind a stage, as it works on `key`.

    Args:
        stage: A stage of dvc.yaml.
        key: The dataset, run or set of weights.
        params: The knobs, which name formats, models and weights.
    """
    return _hashed(*_roots(stage, key, params))[:LENGTH]


def code_of(*modules: str) -> str:
    """Return 12 hex digits that change with the code of modules, and of all they import.

    For what is made beside the stages; a stage is asked for by `digest`.
    """
    return _hashed(modules, (), "")[:LENGTH]


def _roots(stage: str, key: str, params: "Params") -> tuple[tuple[str, ...], tuple[Path, ...], str]:
    """Return where the code of a stage begins: modules, files of conf/, and choices in words."""
    conf = paths.ROOT / "conf"
    module = graph.module(stage)
    if stage == "weights":
        # Fitted weights are kept in git: a change of the renderer alone does not fit them anew.
        return (), _weights(key), ""
    if stage in ("index", "kinect"):
        line = params.on_disk(key)
        case = getattr(line, "case", None)
        return (module, *_parser(line.format)), (), str(case)
    if stage in ("pose2d", "pose3d"):
        return (module,), _weights(getattr(params.datasets[key], stage)), ""
    if stage == "stage1":
        line = params.pretraining[key]
        return (module,), (conf / "stage1.yaml", *_towers(line.encoder)), ""
    if stage == "stage2":
        files = (conf / "stage2.yaml", conf / "model" / f"{params.runs[key].model}.yaml")
        return (module,), (*files, *_towers(params.encoder_of(key))), ""
    if stage == "embed":
        # The model's own file names its classes: those that these files name.
        files = (conf / "model" / f"{params.runs[key].model}.yaml",)
        return (module,), (*files, *_towers(params.encoder_of(key))), ""
    return (module,), (), ""


def _parser(name: str) -> tuple[str, ...]:
    module = f"extract.datasets.{name}"
    # Of an unknown format nothing is run: the stage refuses it, with the nearest name.
    return (module,) if module in modules() else ()


def _weights(model: str) -> tuple[Path, ...]:
    folder = paths.ROOT / "conf" / "weights"
    return (folder / f"{model}.yaml", *sorted((folder / model).glob("*.py")))


def _towers(encoder: str | None) -> tuple[Path, ...]:
    folder = paths.ROOT / "conf"
    own = (folder / "encoder" / f"{encoder}.yaml",) if encoder else ()
    return (*own, folder / "skeleton" / f"{_skeleton(folder / 'stage1.yaml')}.yaml")


@cache
def _skeleton(file: Path) -> str:
    """Return which skeleton encoder a configuration takes: a file of conf/skeleton/."""
    import yaml

    defaults = yaml.safe_load(file.read_text(encoding="utf-8"))["defaults"]
    return next(one["skeleton"] for one in defaults if "skeleton" in one)


@cache
def _hashed(roots: tuple[str, ...], files: tuple[Path, ...], choice: str) -> str:
    made = hashlib.sha256(choice.encode())
    starts = set(roots)
    for file in files:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        plain = as_text(stripped(ast.parse(text))) if file.suffix == ".py" else _values(text)
        made.update(plain.encode())
        starts |= set(_named(plain))
    for name in sorted(closure(starts)):
        made.update(f"{name}\n{_text(modules()[name])}\n".encode())
    return made.hexdigest()


def _values(text: str) -> str:
    """Return what a YAML file says, without its comments but for the one Hydra reads."""
    import yaml

    package = [line for line in text.splitlines() if line.startswith("# @package")]
    return repr((package, yaml.safe_load(text)))


def _named(text: str) -> Iterator[str]:
    """Yield the modules whose classes a configuration names in full."""
    for word in text.replace("'", " ").replace('"', " ").split():
        if found := module_of(word.strip(",:{}[]()")):
            yield found


def module_of(name: str) -> str | None:
    """Return the module of the project that a dotted name is, or lies in.

    >>> module_of("train.models.csip.CsipModel"), module_of("train.stage1"), module_of("stage1.lr")
    ('train.models.csip', 'train.stage1', None)
    """
    parts = name.split(".")
    if parts[0] not in WINGS or not all(part.isidentifier() for part in parts):
        return None
    for length in range(len(parts), 1, -1):
        if ".".join(parts[:length]) in modules():
            return ".".join(parts[:length])
    return None


@cache
def modules() -> dict[str, Path]:
    """Return the file of every module of the project; a package that runs is its `__main__`."""
    found = {}
    for wing in WINGS:
        for file in sorted((paths.ROOT / wing).rglob("*.py")):
            parts = file.relative_to(paths.ROOT).with_suffix("").parts
            if parts[-1] != "__init__":
                found[".".join(parts)] = file
            if parts[-1] == "__main__":
                found[".".join(parts[:-1])] = file
    return found


def closure(starts: Iterable[str]) -> dict[str, ast.Module]:
    """Return all that some modules need to run, silent ones left out, with the code of each."""
    found: dict[str, ast.Module] = {}
    waiting = set(starts)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in SILENT:
            found[name] = _tree(modules()[name])
            waiting |= imported(found[name])
    return found


@cache
def _tree(file: Path) -> ast.Module:
    return stripped(ast.parse(file.read_text(encoding="utf-8")))


@cache
def _text(file: Path) -> str:
    return as_text(_tree(file))


def as_text(node: object) -> str:
    """Return a syntax tree as text that is the same from every Python.

    `ast.dump` is not: a field that a new version adds to the grammar, as `type_params` of 3.12, is
    in its text, and 3.13 leaves empty fields out. Here empty fields are never there.

    >>> as_text(ast.parse("x = 1").body[0])
    "Assign(targets=[Name(id='x',ctx=Store())],value=Constant(value=1))"
    """
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={as_text(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        )
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(as_text, node))}]"
    return repr(node)


def stripped(tree: ast.Module) -> ast.Module:
    """Take docstrings and imports for types alone out of a syntax tree."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        can_have = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if can_have and ast.get_docstring(node, clean=False) is not None:
            del body[0]
        body[:] = [one for one in body if not _is_for_types(one)] or [ast.Pass()]
    return tree


def _is_for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def imported(tree: ast.Module) -> set[str]:
    """Return the project's modules that a module imports, wherever in it, or names in full."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` needs that module, not the package's command.
            parts = {f"{node.module}.{one.name}" for one in node.names} & modules().keys()
            names |= parts or {node.module}
        elif isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(module_of(node.value) or "")
    return names & modules().keys()


def table(params: "Params") -> dict[str, Any]:
    """Return the hash of every stage, by stage and where it runs more than once by its key."""
    made: dict[str, Any] = {}
    for stage in graph.stages():
        section = graph.section(stage)
        if stage == "code":
            continue
        if section is None:
            made[stage] = digest(stage, stage, params)
        else:
            made[stage] = {key: digest(stage, key, params) for key in getattr(params, section)}
    return made
