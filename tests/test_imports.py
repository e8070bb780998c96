"""What the code imports is there: inside its functions too, where nobody may look for months."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.code.hashes import WINGS
from tests.conftest import ROOT

ROOMS = (*WINGS, "bench")
FILES = [file.relative_to(ROOT) for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imports(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ROOMS:
            yield from ((node.module, one.name) for one in node.names)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_import_of_the_project_finds_its_name(file: Path):
    for module, name in imports(file):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
