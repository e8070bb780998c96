"""The house: what may import what, and how full a room may be."""

import ast
from collections import defaultdict

import pytest

from pipeline.code import hashes
from tests.conftest import ROOT

# From the ground up: a wing may use those before it.
FLOORS = ("pipeline", "extract", "shards", "train", "evaluate")
ROOM = 16
FUNCTION, MODULE = 40, 300


def project_modules():
    """All modules but the second names of packages that run."""
    return {name: file for name, file in hashes.modules().items() if not is_second_name(name, file)}


def is_second_name(name, file):
    return file.stem == "__main__" and not name.endswith("__main__")


def named(tree):
    """The modules a module imports, wherever in it, or names in a string."""
    return hashes.imported(tree)


def trees():
    return {
        name: ast.parse(file.read_text(encoding="utf-8"))
        for name, file in project_modules().items()
    }


@pytest.fixture(scope="module")
def arrows():
    """From each module to those it uses, those for types alone too."""
    return {name: named(tree) - {name} for name, tree in trees().items()}


def test_nothing_imports_upward_and_no_string_names_an_upper_floor(arrows):
    for name, used in arrows.items():
        floor = FLOORS.index(name.split(".")[0])
        above = {one for one in used if FLOORS.index(one.split(".")[0]) > floor}
        assert not above, f"{name} uses {above}"


def test_there_is_no_circle(arrows):
    # Of imports for types alone too: what cannot be understood apart is one module. A package's
    # second name is its command's.
    arrows = {name: used - {name.removesuffix(".__main__")} for name, used in arrows.items()}
    seen, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in seen:
            return
        path.append(name)
        for used in arrows.get(name, ()):
            visit(used)
        path.pop()
        seen.add(name)

    for name in arrows:
        visit(name)


def test_the_ground_floor_names_no_other_wing():
    for name in project_modules():
        if name.startswith("pipeline."):
            text = (ROOT / hashes.modules()[name].relative_to(ROOT)).read_text()
            tree = hashes.stripped(ast.parse(text))
            words = [
                one.value for one in ast.walk(tree)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]  # fmt: skip
            found = {hashes.module_of(word) for word in words} - {None}
            assert all(one.startswith("pipeline.") for one in found), (name, found)


def test_no_room_is_crowded():
    rooms = defaultdict(list)
    for name, file in project_modules().items():
        rooms[file.parent].append(name)
    for room, own in rooms.items():
        assert len(own) <= ROOM, f"{room.relative_to(ROOT)} holds {len(own)} modules"


def all_files():
    """All of our Python files, by their names."""
    for folder in (*FLOORS, "bench", "docs", "tests"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


def length(function):
    """Lines of a function from its `def` on, without those of its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return lines
    said = function.body[0]
    return lines - (said.end_lineno - said.lineno + 1)


def test_functions_have_forty_lines_at_most():
    long = {
        f"{name}: {node.name}"
        for name, text in all_files()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > FUNCTION
    }
    assert not long


def test_modules_have_three_hundred_lines_at_most():
    long = {name for name, text in all_files() if len(text.splitlines()) > MODULE}
    assert not long


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("@one\n@two\ndef f():\n    pass\n\n\n", 2),
        ('def f():\n    """What\n\n    it does.\n    """\n    pass', 2),
        ('def f(\n    a,\n):\n    """What."""\n\n    # Why.\n    return """\n"""', 7),
    ],
)
def test_a_docstring_and_decorators_are_no_lines_of_a_function(text, lines):
    assert length(ast.parse(text).body[0]) == lines


def test_main_modules_only_parse_and_print():
    # A function of `__main__` breaks a pool of spawned processes.
    for name, file in project_modules().items():
        if file.stem == "__main__":
            text = file.read_text()
            assert len(text.splitlines()) < 150, name
            assert "Executor" not in text, name
