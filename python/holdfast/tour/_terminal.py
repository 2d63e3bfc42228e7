"""What the tour writes: headings, lines, a progress bar and a table, none wider than 80 columns.

    live terminal    bar redrawn in place, headings bold (unless NO_COLOR is set)
    anything else    the same text without an escape sequence, progress as 25% 50% 75% 100%
    quiet            failures only

The package has no run-time dependency, hence our own.
"""

import os
import shutil
import textwrap
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO

WIDTH = 80
INDENT = "   "
_REDRAW_SECONDS = 0.05
_BOLD, _RED, _RESET = "\x1b[1m", "\x1b[31m", "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"


def bytes_text(n: float) -> str:
    """1234567 -> '1.2 MB', in powers of 1,000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 999.5:
            return f"{n:.0f} {unit}" if unit == "bytes" or n >= 99.95 else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:,.1f} TB"


def seconds_text(s: float) -> str:
    """0.00123 -> '1.2 ms'."""
    for scale, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if s * scale >= 0.9995:
            return f"{s * scale:.0f} {unit}" if s * scale >= 99.95 else f"{s * scale:.1f} {unit}"
    return f"{s * 1e9:.0f} ns"


def ratio_text(other: float, ours: float) -> str:
    """How many times `ours` goes into `other`: '27 x'; below ten with a decimal."""
    if ours <= 0:
        return ""
    times = other / ours
    return f"{times:,.0f} x" if times >= 9.95 else f"{times:.1f} x"


def fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 3, 0)] + "..."


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, cut where it must be; the others, which hold figures, to the right."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    room = WIDTH - len(INDENT) - sum(widths[1:]) - 2 * (len(widths) - 1)
    widths[0] = min(widths[0], max(room, 12))
    lines = [
        "  ".join([fit(row[0], widths[0]).ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (columns, *rows)
    ]
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return lines


def _item(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT * 2) + "\n"


class Terminal:
    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self.stream = stream
        self.quiet = quiet
        self.live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.color = self.live and not os.environ.get("NO_COLOR")

    def write(self, text: str) -> None:
        # A file name may hold what the terminal's encoding does not.
        encoding = self.stream.encoding or "ascii"
        self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self.stream.flush()

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if self.color else text

    def gap(self) -> None:
        if not self.quiet:
            self.write("\n")

    def heading(self, text: str) -> None:
        self.gap()
        if not self.quiet:
            self.write(f"{self._styled(_BOLD, text)}\n")

    def say(self, text: str) -> None:
        """A paragraph, wrapped."""
        if not self.quiet:
            self.write(textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT) + "\n")

    def line(self, text: str) -> None:
        """A line as it is, cut rather than wrapped."""
        if not self.quiet:
            self.write(INDENT + fit(text, WIDTH - len(INDENT)) + "\n")

    def item(self, text: str) -> None:
        """A line of a list: wrapped, the further lines indented."""
        if not self.quiet:
            self.write(_item(text))

    def fail(self, text: str) -> None:
        """A line of a list that is written even when quiet."""
        self.write(self._styled(_RED, _item(text)))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        for text in table_lines(columns, rows):
            self.line(text)

    def progress(self, label: str, total: int) -> "Progress":
        return Progress(self, label, total)


class Progress:
    """`with terminal.progress("reading", n) as bar: ... bar.step()`; the bar is gone afterwards."""

    def __init__(self, terminal: Terminal, label: str, total: int) -> None:
        self._terminal = terminal
        self._label = label
        self._total = total
        self._done = 0
        self._due = 0.0
        self._quarters = 0

    def __enter__(self) -> Self:
        if not self._terminal.quiet and not self._terminal.live:
            self._terminal.write(f"{INDENT}{self._label}:")
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._terminal.quiet:
            self._terminal.write(_CLEAR_LINE if self._terminal.live else "\n")

    def step(self, n: int = 1) -> None:
        self._done += n
        self._draw()

    def _draw(self) -> None:
        if self._terminal.quiet:
            return
        if not self._terminal.live:
            quarters = 4 * self._done // self._total if self._total else 0
            while self._quarters < quarters:
                self._quarters += 1
                self._terminal.write(f" {25 * self._quarters}%")
            return
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _REDRAW_SECONDS
            self._terminal.write(_CLEAR_LINE + self._bar())

    def _bar(self) -> str:
        # One column less than there are: some terminals wrap after writing the last one.
        columns = min(WIDTH, shutil.get_terminal_size().columns) - 1
        tail = f" {self._done:,} of {self._total:,}"
        head = f"{INDENT}{self._label} "
        room = columns - len(head) - len(tail) - 2
        if room < 4:
            return fit(head + tail.strip(), columns)
        filled = room * self._done // self._total if self._total else room
        return f"{head}[{'#' * filled}{'.' * (room - filled)}]{tail}"
