"""Walking over a whole map."""

from __future__ import annotations

from typing import Any

from harness.contenders import Contender
from harness.data import Data
from harness.row import FULL, Case, Goal, Row, expect_equal


class IterateItems(Row):
    """`for k, v in m.items(): pass`."""

    name = "iterate items"
    title = "iterate items"
    in_matrix = True
    goals = (
        Goal(1.1, "dict", sizes=(1_000,)),
        Goal(1.7, "dict", sizes=(100_000,)),
        Goal(2.6, "dict", sizes=(1_000_000,)),
        Goal(0.35, "immutables", sizes=(100_000, 1_000_000)),
    )
    repeats = True
    source = """
for _ in reps:
    for k, v in {items}:
        pass
"""
    args = ("m", "reps")

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"m": data.map_of(c)}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        if effort == FULL:
            items = list(args["m"].items())
            expect_equal(len(items), case.n, "the number of items")
            expect_equal(dict(items), data.oracle, "what was iterated")


ROWS = (IterateItems,)
