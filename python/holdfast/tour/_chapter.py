"""What a chapter of the tour is given and what it gives back."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from ._terminal import Terminal


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
class Tour:
    terminal: Terminal
    checks: Checks
    root: str | os.PathLike[str]  # a folder of Python source
    limit: int | None = None  # so many files at most


@dataclass
class Summary:
    """A chapter's part of the table at the end, and its figures for --json."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
