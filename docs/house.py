"""Draw docs/house.svg: floors, rooms and where each stage runs, as the folders say it.

Run from the project's folder:   python docs/house.py
"""

import ast
import sys
import textwrap
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pipeline import graph
from pipeline.code.hashes import WINGS

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "house.svg"
WIDTH, FLOOR, ROOF, GAP, SIDE = 1160, 152, 96, 8, 72
LINE, CHARACTER, PILL = 15, 6.6, 20
DARK, WALL, ROOM, TEXT, DIM, STAGE = (
    "#101418", "#1b2229", "#27313b", "#e8edf2", "#a9b6c2", "#3f7d58",
)  # fmt: skip

Room = tuple[str, str, list[str]]


def rooms(wing: str) -> list[Room]:
    """Return the rooms of a floor, its hall first: folder, what it says of itself, its stages."""
    folders = [ROOT / wing, *sorted(file.parent for file in (ROOT / wing).glob("*/__init__.py"))]
    return [
        (
            f"{folder.relative_to(ROOT)}/",
            ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "",
            [
                f"{i} {stage}"
                for i, stage in enumerate(graph.stages(), 1)
                if _runs_in(stage, folder)
            ],
        )
        for folder in folders
    ]


def _runs_in(stage: str, folder: Path) -> bool:
    module = ROOT / graph.module(stage).replace(".", "/")
    return folder == (module if module.is_dir() else module.parent)


def picture() -> str:
    """Return the drawing: the ground floor at the bottom, a floor uses those below it."""
    height = ROOF + FLOOR * len(WINGS) + 2 * GAP
    left, right, middle = GAP, WIDTH - SIDE, (WIDTH - SIDE + GAP) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="{DARK}"/>',
        f'<path d="M{left} {ROOF} L{middle} {GAP} L{right} {ROOF} Z" fill="{WALL}"/>',
        _text(middle, ROOF - 28, "reports/RUN/report.html", TEXT, "middle"),
    ]
    for level, wing in enumerate(reversed(WINGS)):
        parts += _floor(rooms(wing), ROOF + FLOOR * level)
    x, top, bottom = right + SIDE / 2, ROOF + 40, height - 40
    parts += [
        f'<path d="M{x} {top} V{bottom} m-6 -10 l6 10 l6 -10" fill="none" stroke="{DIM}"/>',
        f'<g transform="translate({x + 14} {(top + bottom) / 2}) rotate(90)">',
        _text(0, 0, "uses what lies below, never what lies above", DIM, "middle"),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _floor(own: list[Room], y: float) -> list[str]:
    left, right = GAP, WIDTH - SIDE
    parts = [
        f'<rect x="{left}" y="{y}" width="{right - left}" height="{FLOOR - 3}" fill="{WALL}"/>'
    ]
    width = (right - left - GAP) / len(own) - GAP
    for i, room in enumerate(own):
        parts += _room(room, left + GAP + i * (width + GAP), y + GAP, width)
    return parts


def _room(room: Room, x: float, y: float, width: float) -> list[str]:
    name, words, stages = room
    height = FLOOR - 3 - 2 * GAP
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{ROOM}"/>']
    parts.append(_text(x + GAP, y + 18, name, TEXT, weight="bold"))
    for i, line in enumerate(textwrap.wrap(words, int((width - 2 * GAP) / CHARACTER))):
        parts.append(_text(x + GAP, y + 36 + LINE * i, line, DIM))
    at = x + GAP
    for stage in stages:
        wide = CHARACTER * len(stage) + 10
        parts.append(
            f'<rect x="{at}" y="{y + height - PILL - 6}" width="{wide}" height="{PILL}" rx="10" '
            f'fill="{STAGE}"/>'
        )
        parts.append(_text(at + wide / 2, y + height - 12, stage, TEXT, "middle"))
        at += wide + 4
    return parts


def _text(
    x: float, y: float, words: str, fill: str, anchor: str = "start", weight: str = "normal"
) -> str:
    style = f'fill="{fill}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture())
