"""What a chapter of the tour is given and what it gives back."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ._source import Skipped, Source, find_files, read
from ._terminal import Terminal, ratio_text

T = TypeVar("T")


class Checks:
    """The claims the tour makes. Each one is computed a second time, by other means, and compared."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.results: list[tuple[str, bool]] = []

    def that(self, claim: str, holds: bool) -> None:
        self.results.append((claim, holds))
        if holds:
            self._terminal.item(f"ok  {claim}")
        else:
            self._terminal.fail(f"FAILED  {claim}")

    @property
    def failed(self) -> list[str]:
        return [claim for claim, holds in self.results if not holds]


@dataclass
class Input:
    sources: list[Source]
    skipped: list[Skipped]
    seconds: float  # that reading them took, in this one process


@dataclass
class Tour:
    terminal: Terminal
    checks: Checks
    root: str | os.PathLike[str]  # a folder of Python source
    limit: int | None = None  # so many files at most
    _input: Input | None = None

    def input(self) -> Input:
        """Every file below the root, read once for all chapters; the first of them shows how it is done."""
        if self._input is None:
            self._input = self._read()
        return self._input

    def _read(self) -> Input:
        terminal = self.terminal
        terminal.heading("The input: Python's own standard library")
        files, skipped = find_files(self.root)
        files = files[: self.limit]
        sources: list[Source] = []
        start = time.perf_counter()
        with terminal.progress("reading", len(files)) as bar:
            for file in files:
                item = read(self.root, file)
                if isinstance(item, Skipped):
                    skipped.append(item)
                else:
                    sources.append(item)
                bar.step()
        seconds = time.perf_counter() - start
        terminal.line(f"{counted(len(sources), 'file')} read under {self.root}")
        if skipped:
            terminal.line(f"{len(skipped)} skipped, as they cannot be read as Python source:")
            for skip in skipped[:8]:
                terminal.item(f"{skip.file}: {skip.reason}")
            if len(skipped) > 8:
                terminal.item(f"... and {len(skipped) - 8} more (--json lists them all)")
        return Input(sources, skipped, seconds)


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def timed(fn: Callable[..., T], *args: object) -> tuple[float, T]:
    """The best of three, or of fewer that take long, and the result."""
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < 0.1:
        start = time.perf_counter()
        result = fn(*args)
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def compared(text: Callable[[float], str], ours: float, other: float) -> tuple[str, str, str]:
    return text(ours), text(other), ratio_text(other, ours)


@dataclass
class Summary:
    """A chapter's part of the table at the end, and its figures for --json."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
