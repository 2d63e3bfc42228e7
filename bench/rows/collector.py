"""What a live map costs the cyclic garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

from harness.contenders import Contender
from harness.data import FIRST_KEY, FIRST_VALUE, Data
from harness.row import FULL, Case, Goal, Row, expect_equal


class Collect(Row):
    """`gc.collect()` while one map, and nothing else of the benchmark, is alive. The keys are strings;
    the values are integers, or, to see what containers cost, a list each."""

    name = "gc.collect"
    title = "gc.collect() with a 1M str map alive"
    sizes = (100_000, 1_000_000)
    kinds = ("str",)
    goals = (Goal(1.3, "dict", sizes=(1_000_000,), variants=("atomic values",)),)
    shared = False
    freeze = False
    source = """
for _ in reps:
    collect()
"""
    args = ("m", "collect", "reps")
    repeats = True

    variants = ("atomic values", "list values")

    def cases(self, sizes: Iterable[int], quick: bool) -> list[Case]:
        wanted = {"atomic values": 1_000_000, "list values": 100_000}
        return [case for case in super().cases(sizes, quick) if case.size == wanted[case.variant]]

    def _contents(self, case: Case) -> dict[str, Any]:
        def value(i: int) -> Any:
            return FIRST_VALUE + i if case.variant == "atomic values" else [i]

        return {f"key:{FIRST_KEY + i}": value(i) for i in range(case.n)}

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        m = c.make(self._contents(case))
        gc.collect()
        return {"m": m, "collect": gc.collect}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_equal(len(args["m"]), case.n, "len")
        if effort == FULL:
            expect_equal(dict(args["m"].items()), self._contents(case), "what is left after a collection")


ROWS = (Collect,)
