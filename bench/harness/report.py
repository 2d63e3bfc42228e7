"""What the terminal and results/table.md show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .row import Goal, Row
from .stats import Result, Summary

TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns"))


def figure_text(value: float, unit: str) -> str:
    if unit == "ns":
        scale, name = next(((s, n) for s, n in TIMES if value >= s), TIMES[-1])
        return f"{value / scale:.3g} {name}"
    if unit == "B":
        return f"{value:,.4g} B" if value < 10_000 else f"{value / 1e6:,.3g} MB"
    return f"{value:.3g}"


def line(result: Result) -> str:
    """One case: every contender's median, and how many times the dict's that is."""
    parts = []
    for name, outcome in result.outcomes.items():
        summary = result.summary(name)
        if name == "(loop)" or outcome["status"] == "not offered":
            continue
        if summary is None:
            parts.append(f"{name} {outcome['status']}")
            continue
        text = f"{name} {figure_text(summary.median, result.row.unit)}"
        if name != "dict" and (ratio := result.ratio(name, "dict")):
            text += f" ({ratio.median:.2f})"
        parts.append(text + ("" if outcome["status"] == "ok" else f" {outcome['status'].upper()}"))
    return f"{result.case.label}: " + ", ".join(parts)


def count_text(verdicts: list[bool | None]) -> str:
    """yes, or NO and in how many cases all the same; None is a case that has no figure, because the other died or was wrong."""
    known = [verdict for verdict in verdicts if verdict is not None]
    without = f", {len(verdicts) - len(known)} without a figure" if len(known) < len(verdicts) else ""
    if not known:
        return "no figure"
    if all(known):
        return f"yes{without}"
    return ("NO" if len(known) == 1 else f"NO, {sum(known)} of {len(known)}") + without


@dataclass
class Verdict:
    """A goal of a row, over all its cases."""

    row: Row
    goal: Goal
    results: list[Result]

    @property
    def goal_text(self) -> str:
        goal = self.goal
        if goal.limit == math.inf:
            text = f"reported, x {goal.against}"
        elif goal.faster:
            text = f">= {1 / goal.limit:,.0f} x faster than {goal.against}"
        elif goal.against:
            text = f"<= {goal.limit:.3g} x {goal.against}"
        else:
            text = f"<= {goal.limit:,g} {goal.unit}"
        sizes = "" if not goal.sizes or goal.sizes == self.row.sizes else ", ".join(f"{s:,}" for s in goal.sizes)
        return ", ".join(filter(None, (text, sizes, "; ".join(goal.variants), goal.note)))

    def value_text(self, summary: Summary) -> str:
        if self.goal.faster:
            return f"{1 / summary.median:,.0f} x faster"
        if self.goal.against:
            return f"{summary.median:.2f}"
        scale = 1_000 if self.goal.unit == "us" else 1
        return f"{summary.median / scale:,.4g} {self.goal.unit}"

    def figures(self) -> list[tuple[Result, Summary]]:
        return [(result, summary) for result in self.results if (summary := result.judged(self.goal))]

    @property
    def figure_text(self) -> str:
        found = sorted(self.figures(), key=lambda pair: pair[1].median)
        if not found:
            return "-"
        texts = list(dict.fromkeys(self.value_text(summary) for _, summary in (found[0], found[-1])))
        return " to ".join(texts)

    @property
    def reached_text(self) -> str:
        if self.goal.limit == math.inf:
            return "-"
        return count_text([result.reached(self.goal) for result in self.results])

    def misses(self) -> list[str]:
        """The cases that do not reach it."""
        out = []
        for result in self.results:
            if result.reached(self.goal) is False:
                summary = result.judged(self.goal)
                spread = ""
                if summary and self.goal.against and not self.goal.faster:
                    spread = f" (quartiles {summary.q1:.2f} to {summary.q3:.2f}, {summary.n} rounds)"
                status = "" if not result.failed("holdfast") else f" {result.status('holdfast')}"
                out.append(f"{result.case.label}: {self.value_text(summary) if summary else '-'}{spread}{status}")
        return out


def verdicts(rows: Iterable[Row], results: Iterable[Result]) -> list[Verdict]:
    results = list(results)
    found = []
    for row in rows:
        for goal in row.goals:
            covered = [result for result in results if result.row is row and goal.covers(result.case)]
            if covered:
                found.append(Verdict(row, goal, covered))
    return found


def table(found: list[Verdict], judged: bool) -> str:
    """judged: whether the figures mean anything (they do not in a quick run)."""
    header = ("row", "goal", "figure", "reached")
    cells = [header]
    previous = None
    for verdict in found:
        title = verdict.row.title if verdict.row is not previous else ""
        previous = verdict.row
        cells.append((title, verdict.goal_text, verdict.figure_text, verdict.reached_text if judged else "quick run"))
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    text.insert(1, "  ".join("-" * width for width in widths))
    misses = [f"  {miss}  (goal {verdict.goal_text})" for verdict in found for miss in verdict.misses()] if judged else []
    if misses:
        text += ["", "Not reached:", *misses]
    return "\n".join(text)


def caption(about: dict[str, Any]) -> str:
    """What the figures are of."""
    machine = about["machine"]
    before, after = machine["load"][0], machine["load at the end"][0]
    return (
        f"{machine['date'][:10]}, commit {machine['commit']}, {machine['python'].split(' (')[0]}, "
        f"{machine['processor']}, {machine['cores']} cores, load {before:.1f} before and {after:.1f} after"
    )


def markdown(found: list[Verdict], about: dict[str, Any]) -> str:
    text = [caption(about), "", "| row | goal | figure | reached |", "|---|---|---|---|"]
    for verdict in found:
        cells = (verdict.row.title, verdict.goal_text, verdict.figure_text, verdict.reached_text)
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def troubles(results: Iterable[Result]) -> list[str]:
    """Contenders that were wrong, raised, died or were left out, the same trouble once for each row."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for result in results:
        for name, outcome in result.outcomes.items():
            if outcome["status"] not in ("ok", "not offered"):
                key = (name, outcome["status"], result.case.row, outcome["note"])
                where = " ".join(filter(None, (f"{result.case.size:,}", result.case.keys, result.case.variant)))
                found.setdefault(key, []).append(where)
    return [
        f"{name} {status} in '{row}' ({'; '.join(where)}): {note}" for (name, status, row, note), where in found.items()
    ]
