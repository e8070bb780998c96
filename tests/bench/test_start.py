"""Benches begin: their imports are those of the code as it is now."""

import ast
import importlib

import pytest

from pipeline.code.hashes import WINGS
from tests.conftest import ROOT

BENCHES = sorted(file for file in (ROOT / "bench").glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("file", BENCHES, ids=lambda file: file.stem)
def test_all_that_a_bench_imports_is_there(file):
    """Inside its functions too, which nobody runs for months."""
    importlib.import_module(f"bench.{file.stem}")
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in (*WINGS, "bench"):
            found = importlib.import_module(node.module)
            for one in node.names:
                if not hasattr(found, one.name):
                    importlib.import_module(f"{node.module}.{one.name}")
