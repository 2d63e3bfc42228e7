"""Look-ups in a map of every size."""

from __future__ import annotations

from typing import Any

from harness.contenders import LOOP, Contender
from harness.data import Data
from harness.row import Case, Goal, Row, expect_equal


class LookUp(Row):
    """Keys in another order than that of insertion, by the very key object and by an equal one: all of
    them, again and again where they are few, a quarter of them at a million."""

    name = "look-up"
    title = "look-up m[k], 8 to 1M"
    variants = ("same key", "equal key")
    in_matrix = True
    goals = (Goal(1.3, "dict"), Goal(1.0, "immutables"))
    source = """
for k in ks:
    {get}
"""
    args = ("m", "ks")
    loop_overhead = True

    def ops(self, c: Contender, case: Case) -> int:
        return 2_000 if case.n < case.size else 100_000 if case.n <= 100_000 else 250_000

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle
        data.look_ups(self.ops(LOOP, case), case.variant == "same key")

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        ks = data.look_ups(self.ops(c, case), case.variant == "same key")
        return {"m": None if c is LOOP else data.map_of(c), "ks": ks}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        if c is LOOP:
            return
        ks = args["ks"][:effort]
        m, d = args["m"], data.oracle
        expect_equal([m[k] for k in ks], [d[k] for k in ks], "the list of what was found")


ROWS = (LookUp,)
