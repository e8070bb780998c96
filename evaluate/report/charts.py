"""Charts as inline SVG: they take the page's colours, dark or light, and need no script."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 42
COLOURS = 8

Points = Sequence[tuple[float, float]]


def lines(
    series: Mapping[str, Points],
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    x_text: Callable[[float], str] = "{:.6g}".format,
) -> str:
    """Draw lines with axes and a legend; each line also has its values as a tooltip.

    Args:
        series: Points `(x, y)` by name.
        x_label: What x is.
        y_label: What y is.
        y_range: Ends of the y axis; by default those of the data.
        x_text: How x is written, as `10 %` for -1 where x is a logarithm.
    """
    kept = {name: np.array(points, float) for name, points in series.items() if len(points)}
    xs = np.concatenate([points[:, 0] for points in kept.values()])
    ys = np.concatenate([points[:, 1] for points in kept.values()])
    x_ticks = ticks(float(xs.min()), float(xs.max()), whole=True)
    y_ticks = ticks(*(y_range or (float(ys.min()), float(ys.max()))))
    x_of = _scale(min(x_ticks[0], xs.min()), max(x_ticks[-1], xs.max()), LEFT, WIDTH - RIGHT)
    y_of = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [_axes(x_ticks, y_ticks, x_of, y_of, x_label, y_label, x_text)]
    for i, (name, points) in enumerate(kept.items()):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points if np.isfinite(y))
        last = points[-1]
        parts.append(
            f'<polyline class="line c{i % COLOURS}" points="{path}">'
            f"<title>{escape(name)}: {last[1]:.4g} at {x_text(last[0])}</title></polyline>"
        )
    return _svg("".join(parts), f"{y_label} by {x_label}") + legend(list(kept))


def bars(values: Mapping[str, float], x_label: str, unit: str = "") -> str:
    """Draw horizontal bars, one per name, with their values written at the end."""
    row, left = 22, 190
    top = max([value for value in values.values() if np.isfinite(value)], default=0) or 1
    x_of = _scale(0, top, left, WIDTH - 70)
    parts = []
    for i, (name, value) in enumerate(values.items()):
        y = i * row + 6
        label = escape(name.replace("_", " "))
        parts.append(f'<text class="tick" x="{left - 8}" y="{y + 12}" text-anchor="end">{label}')
        parts.append("</text>")
        if np.isfinite(value):
            width = max(1.0, x_of(value) - left)
            parts.append(f'<rect class="fill c0" x="{left}" y="{y}" width="{width:.1f}"')
            parts.append(f' height="14" rx="2"/><text class="tick" x="{left + width + 6:.1f}"')
            parts.append(f' y="{y + 12}">{value:.3g}{escape(unit)}</text>')
    height = len(values) * row + 34
    parts.append(
        f'<text class="label" x="{(left + WIDTH) / 2}" y="{height - 10}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    return _svg("".join(parts), x_label, height)


def histogram(counts: np.ndarray, edges: np.ndarray, x_label: str, y_label: str) -> str:
    """Draw a histogram from its counts `(N,)` and bin edges `(N + 1,)`."""
    x_ticks, y_ticks = ticks(float(edges[0]), float(edges[-1])), ticks(0, float(counts.max() or 1))
    x_of = _scale(float(edges[0]), float(edges[-1]), LEFT, WIDTH - RIGHT)
    y_of = _scale(0, y_ticks[-1], HEIGHT - BOTTOM, TOP)
    inside = [tick for tick in x_ticks if edges[0] <= tick <= edges[-1]]
    parts = [_axes(inside, y_ticks, x_of, y_of, x_label, y_label)]
    for count, a, b in zip(counts, edges[:-1], edges[1:], strict=True):
        y = y_of(float(count))
        parts.append(
            f'<rect class="fill c0" x="{x_of(float(a)) + 0.5:.1f}" y="{y:.1f}" '
            f'width="{max(0.5, x_of(float(b)) - x_of(float(a)) - 1):.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}"><title>{a:.3g} to {b:.3g}: {count:.0f}'
            "</title></rect>"
        )
    return _svg("".join(parts), x_label)


def scatter(xy: np.ndarray, groups: Sequence[int], names: Sequence[str], size: int = 460) -> str:
    """Draw points `(N, 2)` with a colour and a name per group; groups with `*` are drawn large."""
    low, high = xy.min(0), xy.max(0)
    x_of = _scale(low[0], high[0], 14, size - 14)
    y_of = _scale(low[1], high[1], 14, size - 14)
    kinds = sorted(set(groups))
    hue = {group: round(360 * (i * 0.618034 % 1)) for i, group in enumerate(kinds)}
    parts = []
    for (x, y), group, name in zip(xy, groups, names, strict=True):
        style = f'style="--hue:{hue[group]}"'
        title = f"<title>{escape(name)}</title>"
        if name.startswith("*"):
            at = f"M{x_of(x):.1f} {y_of(y) - 8:.1f}l8 8l-8 8l-8-8z"
            parts.append(f'<path class="mean" {style} d="{at}">{title}</path>')
        else:
            at = f'cx="{x_of(x):.1f}" cy="{y_of(y):.1f}"'
            parts.append(f'<circle class="dot" {style} {at} r="4">{title}</circle>')
    return _svg("".join(parts), "Tracklet features in two dimensions", size, size)


def legend(names: Sequence[str]) -> str:
    """Return the names of lines beside their colours."""
    items = [
        f'<span><i class="key c{i % COLOURS}"></i>{escape(name)}</span>'
        for i, name in enumerate(names)
    ]
    return f'<p class="legend">{"".join(items)}</p>'


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Return round numbers that cover a range, about five of them.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(1, 50, whole=True)
    [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    """
    if not high > low:
        high = low + 1
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    if whole:
        step = max(1.0, round(step))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(round(i * step, 10)) for i in np.arange(first, last + 1)]


def _scale(low: float, high: float, start: float, stop: float):
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _axes(x_ticks, y_ticks, x_of, y_of, x_label: str, y_label: str, x_text="{:.6g}".format) -> str:
    bottom = HEIGHT - BOTTOM
    parts = []
    for tick in y_ticks:
        y = y_of(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">')
        parts.append(f"{tick:.6g}</text>")
    for tick in x_ticks:
        x = x_of(tick)
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 16}" text-anchor="middle">')
        parts.append(f"{escape(x_text(tick))}</text>")
    middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    )
    parts.append(f'<text class="label" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">')
    parts.append(f"{escape(x_label)}</text>")
    parts.append(f'<text class="label" transform="rotate(-90 12 {centre})" x="12" y="{centre}" ')
    parts.append(f'text-anchor="middle">{escape(y_label)}</text>')
    return "".join(parts)


def _svg(content: str, title: str, height: float = HEIGHT, width: float = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{width}px">{content}</svg>'
    )
