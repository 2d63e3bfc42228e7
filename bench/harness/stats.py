"""Medians and spread, of figures and of the ratios that two contenders had in the same rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .row import Case, Goal, Row

Figures = dict[int, float]  # round -> figure
Key = TypeVar("Key")


def short(figures: dict[Key, float]) -> dict[Key, float]:
    """Rounded to what they are worth: four digits."""
    return {key: float(f"{figure:.4g}") for key, figure in figures.items()}


@dataclass(frozen=True)
class Summary:
    n: int
    min: float
    q1: float
    median: float
    q3: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary | None:
        if not values:
            return None
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        return cls(len(values), min(values), q1, median, q3, max(values))


class Result:
    """One case, measured."""

    def __init__(self, row: Row, case: Case) -> None:
        self.row, self.case = row, case
        self.outcomes: dict[str, dict[str, Any]] = {}  # by contender
        self._figures: dict[str, Figures] = {}

    def add(self, outcomes: dict[str, dict[str, Any]]) -> None:
        for name, outcome in outcomes.items():
            self.outcomes[name] = outcome
            self._figures[name] = {int(number): figure for number, figure in outcome["figures"].items()}

    def figures(self, name: str) -> Figures:
        return self._figures.get(name, {})

    def status(self, name: str) -> str:
        return str(self.outcomes[name]["status"]) if name in self.outcomes else "absent"

    def summary(self, name: str) -> Summary | None:
        return Summary.of(list(self.figures(name).values()))

    def ratio(self, name: str, other: str, less: str | None = None) -> Summary | None:
        """name's figure over other's, round by round, after taking off the figure of `less`."""
        mine, theirs = self.figures(name), self.figures(other)
        off = self.figures(less) if less else {}
        rounds = [r for r in mine if r in theirs and (not less or (r in off and theirs[r] > off[r]))]
        return Summary.of([(mine[r] - off.get(r, 0)) / (theirs[r] - off.get(r, 0)) for r in rounds])

    def judged(self, goal: Goal) -> Summary | None:
        """holdfast's figure as the goal wants it."""
        if goal.against:
            return self.ratio("holdfast", goal.against)
        return self.summary("holdfast")

    def reached(self, goal: Goal) -> bool | None:
        """None: there is no figure."""
        figure = self.judged(goal)
        if figure is None:
            return False if self.failed("holdfast") else None
        scale = 1_000 if goal.unit == "us" else 1
        return figure.median / scale <= goal.limit and not self.failed("holdfast")

    def failed(self, name: str) -> bool:
        return self.status(name) in ("wrong", "error", "died")

    def as_json(self) -> dict[str, Any]:
        case = self.case
        names = [name for name in self.outcomes if self.figures(name)]
        outcomes = {}
        for name, outcome in self.outcomes.items():
            summary = self.summary(name)
            outcomes[name] = {
                "status": outcome["status"],
                "note": outcome["note"],
                "repeated": outcome["reps"],
                "summary": short(vars(summary)) if summary else None,
                "figures": list(short(self.figures(name)).values()),
            }
        ratios = {}
        for base in ("dict", "holdfast"):
            for name in names:
                if base in names and name != base:
                    a, b = (name, base) if base == "dict" else (base, name)
                    for less in (None, "(loop)") if "(loop)" in names and "(loop)" not in (a, b) else (None,):
                        if ratio := self.ratio(a, b, less):
                            ratios[f"{a} / {b}" + (", loop taken off" if less else "")] = short(vars(ratio))
        return {
            "row": case.row,
            "size": case.size,
            "run at": case.n,
            "keys": case.keys,
            "variant": case.variant,
            "unit": self.row.unit,
            "outcomes": outcomes,
            "ratios": ratios,
        }
