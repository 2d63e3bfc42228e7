"""What the commands of `python -m holdfast` have in common: how they show things, complaints, a progress bar."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from .tour._terminal import Progress, Terminal


def complain(command: str, text: object) -> int:
    print(f"holdfast {command}: {text}", file=sys.stderr)
    return 1


def size_text(size: float) -> str:
    """Such as 4.0 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def time_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def printable(name: str) -> str:
    """A name as it is, unless a terminal would do something with it."""
    return name if name.isprintable() else repr(name)


def text_of(error: BaseException) -> str:
    """What an exception says, without the number that an OSError begins with."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


class Bar:
    """`with Bar("reading") as bar: ... bar(done, of)`: a progress bar on stderr where that is a terminal, else nothing.

    Not where stdout is the same terminal and has lines of its own to show: `beside`.
    """

    def __init__(self, label: str, *, beside: bool = False) -> None:
        self._label = label
        self._terminal = Terminal(sys.stderr)
        self._live = self._terminal.live and not (beside and sys.stdout.isatty())
        self._bar: Progress | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def __call__(self, done: int, of: int) -> None:
        if not self._live:
            return
        if self._bar is None:
            self._bar = self._terminal.progress(self._label, of).__enter__()
        self._bar.step(done - self._done)
        self._done = done
