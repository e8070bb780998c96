"""Requirements: exact versions, and all that is imported."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

FOLDERS = ("pipeline", "extract", "shards", "train", "evaluate", "bench", "tests", "docs")
FILES = ("requirements.txt", "requirements-openmmlab.txt")
WANTED = [
    Requirement(line)
    for file in FILES
    for line in (ROOT / file).read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_a_requirement_is_pinned_to_the_version_that_is_tested(wanted: Requirement):
    assert str(wanted.specifier) == f"=={version(wanted.name)}"


def extras() -> list[Requirement]:
    """What a part of the code asks for that says so in one line where it is missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [
        Requirement(one) for extra in project["optional-dependencies"].values() for one in extra
    ]


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) if node.module}
    return {name.split(".")[0] for name in names}


def test_what_is_imported_is_required():
    known = [*WANTED, *extras()]
    names = [name for wanted in known for name in (wanted.name, *wanted.extras)]
    required = set(map(canonicalize_name, names))
    owners = packages_distributions()
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    own = {*FOLDERS, *sys.stdlib_module_names}
    for package in set().union(*map(imported, files)) - own:
        distributions = {canonicalize_name(name) for name in owners.get(package, [package])}
        assert distributions & required, f"{package} is imported, but not in {FILES}"
