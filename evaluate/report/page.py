"""Pieces of a self-contained web page: style, tables, pictures. Nothing is fetched from outside."""

import base64
from collections.abc import Sequence
from html import escape

# No script at all, and nothing but what stands in the file: the browser enforces it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_HUES = ("#2f6fb3", "#d9772b", "#2e9a52", "#a24bb5", "#b53d4e", "#17939c", "#8a7a12", "#6d6f78")
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1d22; --soft: #5d6470; --line: #d9dce2;
  --card: #f5f6f8; --good: 46 160 67; }
@media (prefers-color-scheme: dark) { :root { --page: #16181d; --text: #e4e6eb; --soft: #9aa2b1;
  --line: #353a45; --card: #1f2229; --good: 63 185 80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--page);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { max-width: 48rem; margin: .4rem 0; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
.row { display: grid; gap: .4rem .25rem;
  grid-template-columns: repeat(auto-fit, minmax(3.3rem, 1fr)); }
.row div { font-size: .75rem; line-height: 1.25; overflow-wrap: anywhere; }
.row img { display: block; width: 100%; border-radius: 4px; }
.grid { display: grid; gap: 1rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.grid > * { min-width: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
td small { color: var(--soft); }
td.heat { background: rgb(var(--good) / var(--share)); } td.heat small { color: inherit; }
figure { margin: 0 0 1rem; }
pre { background: var(--card); padding: .8rem; overflow-x: auto; font-size: .8rem;
  border-radius: 6px; }
summary { cursor: pointer; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .9rem; }
nav a { color: inherit; white-space: nowrap; }
svg { width: 100%; height: auto; display: block; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); }
svg .tick { fill: var(--soft); font-size: 12px; } svg .label { fill: var(--text); font-size: 13px; }
@media (max-width: 40rem) { svg .tick, svg .label { font-size: 16px; }
  td:first-child { white-space: normal; } }
svg .line { fill: none; stroke: var(--c); stroke-width: 2.2; }
svg .fill { fill: var(--c); }
svg .dot { fill: hsl(var(--hue) 65% 50%); fill-opacity: .75; }
svg .mean { fill: hsl(var(--hue) 65% 50%); stroke: var(--text); stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .8rem; margin: .2rem 0; }
.key { display: inline-block; width: 1.1em; height: .25em; margin-right: .4em;
  vertical-align: middle; background: var(--c); }
""" + "".join(f".c{i} {{ --c: {hue}; }}\n" for i, hue in enumerate(_HUES))


def page(title: str, subtitle: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return a whole page from `(heading, content)`; an empty section is left out."""
    kept = [(heading, content) for heading, content in sections if content]
    names = [heading.lower().replace(" ", "-") for heading, _ in kept]
    links = "".join(
        f'<a href="#{name}">{escape(heading)}</a>'
        for name, (heading, _) in zip(names, kept, strict=True)
    )
    body = "".join(
        f'<section id="{name}"><h2>{escape(heading)}</h2>{content}</section>\n'
        for name, (heading, content) in zip(names, kept, strict=True)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>"
        f"<h1>{escape(title)}</h1><p>{escape(subtitle)}</p><nav>{links}</nav>\n{body}"
        "</body></html>\n"
    )


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of plain text; a cell that is a `Cell` is marked up already."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


class Cell(str):
    """A finished `<td>`."""

    __slots__ = ()


def value(number: float, below: str = "", share: float | None = None) -> Cell:
    """Return a cell with a percentage, a small line, and a shade from 0 to 1 behind it."""
    heat = "" if share is None else f' class="heat" style="--share:{0.5 * share:.2f}"'
    small = f"<br><small>{escape(below)}</small>" if below else ""
    return Cell(f"<td{heat}>{100 * number:.1f}{small}</td>")


def side_by_side(cells: Sequence[tuple[bytes, Sequence[str]]], caption: str) -> str:
    """Return JPEGs with lines below them, beside each other: all fit, on a phone in two rows."""
    made = []
    for data, lines in cells:
        encoded = base64.b64encode(data).decode()
        said = "<br>".join(map(escape, lines))
        made.append(
            f'<div><img alt="{escape(", ".join(lines))}" src="data:image/jpeg;base64,{encoded}">'
            f"{said}</div>"
        )
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><div class="row">{"".join(made)}</div>'
        "</figure>"
    )


def chart(svg: str, caption: str) -> str:
    """Return a chart with a title above it."""
    return f"<figure><h3>{escape(caption)}</h3>{svg}</figure>"


def grid(*parts: str) -> str:
    """Lay parts out beside each other where the screen is wide enough."""
    kept = [part for part in parts if part]
    return f'<div class="grid">{"".join(kept)}</div>' if kept else ""


def folded(summary: str, text: str) -> str:
    """Return a long text that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def _cell(content: object) -> str:
    return content if isinstance(content, Cell) else f"<td>{escape(str(content))}</td>"
