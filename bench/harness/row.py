"""What a row of the benchmark is.

A row is a piece of Python source that every contender runs in its own syntax (see contenders.py),
what to prepare for it, how many operations it does, and how its result is checked against a dict.
A case is a row at one size, with one kind of key, in one variant. A goal is what holdfast must reach
in the cases it covers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from .contenders import BY_NAME, Contender
from .data import Data

SIZES = (8, 1_000, 100_000, 1_000_000)
QUICK = {8: 8, 1_000: 200, 100_000: 1_000, 1_000_000: 2_000}
FULL, SAMPLE, SPOT = 1 << 60, 20_000, 50  # look-ups that check a result; FULL: and iterate over all
SLOW_TURN_US = 30e6  # a turn that would take longer is left out, and reported so


class Mismatch(Exception):
    """A result differs from the oracle's."""


@dataclass(frozen=True)
class Case:
    row: str
    size: int  # as it is reported
    n: int  # as it is run: less in a quick run
    keys: str
    variant: str = ""

    @property
    def label(self) -> str:
        size = f"{self.size:,}" if self.n == self.size else f"{self.size:,} (run at {self.n:,})"
        return " ".join(filter(None, (self.row, size, self.keys, self.variant)))


@dataclass(frozen=True)
class Goal:
    """holdfast's figure over that of `against` (median of the per-round ratios), or, where that is
    None, the median figure itself in `unit`, is at most `limit`. A limit of infinity: it is only reported."""

    limit: float
    against: str | None = None
    unit: str = "x"
    sizes: tuple[int, ...] = ()
    variants: tuple[str, ...] = ()
    faster: bool = False  # report it as "so many times faster"
    note: str = ""

    def covers(self, case: Case) -> bool:
        return (not self.sizes or case.size in self.sizes) and (not self.variants or case.variant in self.variants)


class Row:
    name: ClassVar[str]
    title: ClassVar[str]
    sizes: ClassVar[tuple[int, ...]] = SIZES
    kinds: ClassVar[tuple[str, ...]] = ("int", "str")
    variants: ClassVar[tuple[str, ...]] = ("",)
    goals: ClassVar[tuple[Goal, ...]] = ()
    unit: ClassVar[str] = "ns"  # of an operation; "B": bytes
    source: ClassVar[str] = ""
    args: ClassVar[tuple[str, ...]] = ()
    group: ClassVar[str] = ""  # rows of one group share a process; by default those that share maps do
    shared: ClassVar[bool] = True  # each contender's maps are built before the rounds, and used in all of them
    freeze: ClassVar[bool] = True  # hide inputs and shared maps from the collector
    repeats: ClassVar[bool] = False  # the source repeats itself `for _ in reps`: as often as makes a good turn
    budget: ClassVar[float] = 6.0  # seconds for the rounds of a case, once there are enough of them
    alone: ClassVar[bool] = False  # one process for each contender
    environment: ClassVar[dict[str, str]] = {}  # of its process
    loop_overhead: ClassVar[bool] = False  # measure the bare loop too
    in_matrix: ClassVar[bool] = False  # a row of the general matrix, with a chart of its own
    native: ClassVar[bool] = False  # run by harness/native.py
    contenders: ClassVar[Mapping[str, Contender]] = BY_NAME  # who takes part, where they are installed

    def cases(self, sizes: Iterable[int], quick: bool) -> list[Case]:
        return [
            Case(self.name, size, QUICK[size] if quick else size, kind, variant)
            for size in self.sizes
            if size in sizes
            for kind in self.kinds
            for variant in self.variants
        ]

    @property
    def rivals(self) -> set[str]:
        """Those whose figures decide a goal: they take part in every round."""
        return {goal.against for goal in self.goals if goal.against}

    def code(self, c: Contender, case: Case) -> str:
        return self.source

    def inputs(self, case: Case, data: Data) -> None:
        """Makes what the contenders have in common, before anything is timed."""

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        """The arguments of a turn, without reps. Called before every turn."""
        raise NotImplementedError

    def ops(self, c: Contender, case: Case) -> int:
        """How many operations one turn does, or one repetition where the row repeats."""
        return 1

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        """Raises Mismatch unless the result is the oracle's. effort: how many look-ups to check it by;
        FULL is to compare all of it, as in a contender's first turn. Later turns do the same work again."""
        raise NotImplementedError

    def commands(self, case: Case) -> dict[str, str]:
        """For native rows: {contender: what its program is told}."""
        raise NotImplementedError

    def skip(self, c: Contender, case: Case) -> str | None:
        """Why this contender is left out of this case, if it is."""
        return None

    def turn(self, run: Callable[..., Any], args: dict[str, Any], clock: Callable[[], int]) -> tuple[float, Any]:
        """(figure of the whole turn, result)."""
        start = clock()
        result = run(**args)
        return clock() - start, result


def expect_map(m: Any, oracle: dict[Any, Any], effort: int = FULL) -> None:
    """m holds just what the oracle holds, seen by len, by look-ups and, in full, by iteration."""
    if len(m) != len(oracle):
        raise Mismatch(f"len is {len(m)}, not {len(oracle)}")
    if effort == FULL and dict(m.items()) != oracle:
        raise Mismatch("iteration gives other items")
    for k in islice(oracle, 0, None, -(-len(oracle) // min(effort, SAMPLE)) or 1):
        if m[k] != oracle[k]:
            raise Mismatch(f"m[{k!r}] is {m[k]!r}, not {oracle[k]!r}")


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    if found != wanted:
        values = f"{found!r}, not {wanted!r}"
        raise Mismatch(f"{what} is {values}" if len(values) < 80 else f"{what} is another")


def too_slow(c: Contender, n: int, writes: int) -> str | None:
    """For rows that write one by one: leave out what would take minutes a turn."""
    if c.write_copies and writes * n > 50_000_000:
        return "every write copies the whole map"
    if c.write_us * writes > SLOW_TURN_US and n >= 100_000:
        return f"about {c.write_us * writes / 1e6:.0f} s a turn"
    return None
