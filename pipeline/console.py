"""What a person sees while a stage runs: lines, progress with ETA, tables, the closing summary."""

import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

HEARTBEAT_S = 30.0

# rich itself honours NO_COLOR and drops colours where the stream is no terminal.
_err = Console(stderr=True, highlight=False)
_quiet = False
_has_summary = False


def set_quiet(quiet: bool) -> None:
    """Silence everything but warnings and errors."""
    global _quiet
    _quiet = quiet


def say(message: str) -> None:
    """Print one line to standard output."""
    if not _quiet:
        print(message, flush=True)


def warn(message: str) -> None:
    """Print one line to standard error, also when quiet."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


class Meter:
    """Counts finished items and shows them: a bar on a terminal, else a line every 30 s."""

    def __init__(self, total: int, unit: str, label: str, bar: Progress | None, done: int) -> None:
        """Start at `done` of `total`; items done before the start do not count in the rate."""
        self.total, self.unit, self.label, self.done = total, unit, label, done
        self._first, self._start, self._bar = done, time.monotonic(), bar
        self._beat = self._start
        self._fields: dict[str, object] = {}
        if bar:
            self._task = bar.add_task(label, total=total, completed=done, rate="", fields="")

    @property
    def rate(self) -> float:
        """Items per second since the start."""
        return (self.done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def advance(self, items: int = 1, **fields: object) -> None:
        """Count `items` as finished; `fields` are shown beside them (loss, failures)."""
        self.done += items
        self._fields |= fields
        shown = "  ".join(f"{name} {value}" for name, value in self._fields.items())
        if self._bar:
            rate = speed(self.rate, self.unit)
            self._bar.update(self._task, completed=self.done, rate=rate, fields=shown)
        elif time.monotonic() - self._beat >= HEARTBEAT_S:
            self._beat = time.monotonic()
            eta_s = (self.total - self.done) / max(self.rate, 1e-9)
            say(
                f"{self.label}: {self.done}/{self.total} {self.unit}, "
                f"{speed(self.rate, self.unit)}, eta {duration(eta_s)}  {shown}".rstrip()
            )


@contextmanager
def progress(total: int, unit: str, label: str, done: int = 0) -> Generator[Meter]:
    """Show progress over `total` items while the block runs.

    Args:
        total: Number of items in all.
        unit: What an item is, in the plural.
        label: The stage's name.
        done: Items already finished by an earlier run.
    """
    if _quiet or not _err.is_terminal:
        yield Meter(total, unit, label, None, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[fields]}"),
    )
    with Progress(*columns, console=_err) as bar:
        yield Meter(total, unit, label, bar, done)


def speed(per_s: float, units: str) -> str:
    """Write how fast something goes, the other way round where it is slow.

    >>> speed(12.34, "frames"), speed(0.04, "frames"), speed(0.5, "it")
    ('12.3 frames/s', '25.0 s/frame', '2.0 s/it')
    """
    if per_s >= 1 or per_s <= 0:
        return f"{per_s:.1f} {units}/s"
    return f"{1 / per_s:.1f} s/{units.removesuffix('s')}"


def fixed(number: float, digits: int = 3) -> str:
    """Write a number with so many digits behind the point, and never a minus before zero.

    >>> fixed(-0.0001), fixed(-0.5), fixed(0.12345)
    ('0.000', '-0.500', '0.123')
    """
    # Adding 0 makes 0 of -0.
    return f"{round(number, digits) + 0.0:.{digits}f}"


def folded(parts: Iterable[str], width: int = 80) -> str:
    """Join parts by two spaces; those that no longer fit stand in lines of their own, indented.

    >>> print(folded(["epoch 1/20", "loss 0.5", "acc 0.9"], width=24))
    epoch 1/20  loss 0.5
        acc 0.9
    """
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}  {part}" if lines else part
        if lines and len(longer) > width:
            lines.append(f"    {part}")
        else:
            lines[-1:] = [longer]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Write a duration the way people say it.

    >>> duration(75), duration(4000)
    ('1 min 15 s', '1 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(nbytes: float) -> str:
    """Write a number of bytes.

    >>> size(1536), size(12)
    ('1.5 kB', '12 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} TB"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print an aligned table at most 80 columns wide; numbers stand to the right."""
    if _quiet:
        return
    rows = [[str(cell) for cell in row] for row in rows]
    made = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        numbers = all(row[i].lstrip("+-").replace(".", "", 1)[:1].isdigit() for row in rows)
        made.add_column(column, justify="right" if numbers and rows else "left")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    out = Console(highlight=False)
    # Not as the table's own title, which wraps where the table is narrow.
    say(title)
    Console(highlight=False, width=min(80, out.width)).print(made)


def summary(written: object, amount: str, then: str) -> None:
    """Print the three closing lines of a stage: what was written, how much, what to run next."""
    global _has_summary
    _has_summary = True
    say(f"written  {written}")
    say(f"amount   {amount}")
    say(f"next     {then}")


def has_summary() -> bool:
    """Return whether this run ended by writing something."""
    return _has_summary
