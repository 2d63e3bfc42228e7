"""The plots: one small chart for each row of the matrix, how far each goal is reached, and a get by the number of keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .report import Verdict
from .stats import Result

COLOURS = {
    "holdfast": "#d62728",
    "dict": "#000000",
    "immutables": "#1f77b4",
    "rpds-py": "#2ca02c",
    "pyrsistent": "#9467bd",
    "pypersistent": "#ff7f0e",
    "frozendict": "#7f7f7f",
}


def _charts(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results of each chart: a row, or the memory of an entry, over its sizes."""
    charts: dict[str, list[Result]] = {}
    for result in results:
        if (result.row.in_matrix or result.row.name == "memory") and result.case.variant in ("", "same key"):
            charts.setdefault(result.row.name, []).append(result)
    return charts


def _lines(axes: Any, chart: list[Result]) -> None:
    for name, colour in COLOURS.items():
        for kind, style in (("int", "-"), ("str", "--")):
            points = [(r.case.size, s.median) for r in chart if r.case.keys == kind and (s := r.summary(name))]
            if points:
                axes.plot(*zip(*points), style, color=colour, lw=2 if name == "holdfast" else 1, marker=".", ms=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(True, which="major", lw=0.3)
    axes.tick_params(labelsize=7)
    axes.set_title(f"{chart[0].row.name} ({'bytes an entry' if chart[0].row.unit == 'B' else 'ns an operation'})", fontsize=8)


def matrix(results: Sequence[Result], path: Path, caption: str) -> bool:
    """False when there is nothing to draw."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    charts = _charts(results)
    if not charts:
        return False
    columns = 4
    rows = -(-(len(charts) + 1) // columns)
    figure = Figure(figsize=(4 * columns, 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for chart in charts.values():
        _lines(next(grid), chart)
    key = next(grid)
    handles = [Line2D([], [], color=colour, label=name) for name, colour in COLOURS.items()]
    handles += [Line2D([], [], color="grey", ls=style, label=f"{kind} keys") for kind, style in (("int", "-"), ("str", "--"))]
    key.legend(handles=handles, loc="center", fontsize=8, ncols=2, frameon=False)
    key.axis("off")
    for unused in grid:
        unused.axis("off")
    figure.suptitle(f"Median by number of entries. {caption}", fontsize=9)
    figure.savefig(path, dpi=80)
    return True


def goals(found: Sequence[Verdict], path: Path, caption: str) -> bool:
    """A bar for each case of each goal: holdfast's figure over the limit; 1 is the goal."""
    from matplotlib.figure import Figure

    bars = []
    for verdict in found:
        scale = verdict.goal.limit * (1_000 if verdict.goal.unit == "us" else 1)
        if verdict.goal.limit == math.inf:
            continue
        for result, summary in verdict.figures():
            against = verdict.goal.against or "limit"
            bars.append((f"{result.case.label} / {against}", summary.q1 / scale, summary.median / scale, summary.q3 / scale))
    if not bars:
        return False
    bars.reverse()
    figure = Figure(figsize=(10, 1 + 0.17 * len(bars)), layout="constrained")
    axes = figure.subplots()
    middle = [bar[2] for bar in bars]
    spread = [[m - bar[1] for m, bar in zip(middle, bars)], [bar[3] - m for m, bar in zip(middle, bars)]]
    colours = ["#2ca02c" if m <= 1 else "#d62728" for m in middle]
    axes.barh(range(len(bars)), middle, xerr=spread, color=colours, error_kw={"lw": 0.8})
    axes.set_yticks(range(len(bars)), [bar[0] for bar in bars], fontsize=6)
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    axes.set_ylim(-1, len(bars))
    axes.set_title(f"holdfast's figure over its goal (left of 1 is reached). {caption}", fontsize=8)
    figure.savefig(path, dpi=80)
    return True


STORES = {  # as cask_bench calls them: colour, and what they are called here
    "cask": ("#d62728", "cask"),
    "leveldb": ("#1f77b4", "LevelDB"),
    "lmdb": ("#2ca02c", "LMDB, a transaction a get"),
    "lmdb-one": ("#98df8a", "LMDB, all in one transaction"),
    "array": ("#000000", "an array in memory"),
}


def sizes(records: Sequence[dict[str, Any]], path: Path, caption: str) -> bool:
    """Time of a get by the number of keys, of all who were measured with several numbers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, (colour, label) in STORES.items():
        points = sorted(
            (r["size"], r["median"], r["p25"], r["p75"]) for r in records if r.get("who") == name and "size" in r
        )
        if not points:
            continue
        counts, medians, low, high = zip(*points)
        axes.fill_between(counts, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(counts, medians, color=colour, lw=2 if name == "cask" else 1, marker=".", label=label)
    if not axes.lines:
        return False
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(True, which="major", lw=0.3)
    axes.set_xlabel("keys of 16 bytes, values of 100", fontsize=8)
    axes.set_ylabel("ns a get, warm", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(f"Retrieval time: median, and the quartiles. {caption}", fontsize=8)
    figure.savefig(path, dpi=100)
    return True
