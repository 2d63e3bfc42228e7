"""Writing one key at a time: growing a map, updating all of one, one write to a large one."""

from __future__ import annotations

from typing import Any

from harness.contenders import Contender
from harness.data import Data
from harness.row import SAMPLE, SPOT, Case, Goal, Mismatch, Row, expect_map, too_slow


class SetOneByOne(Row):
    """`for k, v in pairs: m = m.set(k, v)` from the empty map; a dict: `d[k] = v` in the same loop."""

    name = "set one by one"
    title = "m.set one by one to 1M"
    sizes = (1_000_000,)
    goals = (Goal(0.15, "immutables"), Goal(0.1, "pypersistent"), Goal(7, "dict"))
    shared = False
    source = """
m = {empty}
for k, v in pairs:
    {put}
return m
"""
    args = ("pairs",)

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"pairs": data.pairs}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, data.oracle, effort)

    def skip(self, c: Contender, case: Case) -> str | None:
        return too_slow(c, case.n, case.n)


class UpdateEvery(Row):
    """A new value for every key of a map, in another order than that of insertion: a version for
    each, or all in one transient; a dict is updated in the same loop. The map is made before each
    turn and nobody else's is alive, so each pays for collecting its own nodes and no others."""

    name = "update every key"
    title = "update every key of a 1M map"
    sizes = (1_000_000,)
    variants = ("a version each", "transient")
    goals = (Goal(6, "dict", variants=("a version each",)), Goal(2.5, "dict", variants=("transient",)))
    shared = False
    args = ("m", "updates")

    def code(self, c: Contender, case: Case) -> str:
        if case.variant == "transient":
            return "{open}\nfor k, v in updates:\n    {tput}\n{close}\nreturn m"
        return "for k, v in updates:\n    {put}\nreturn m"

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updated

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"m": c.make(data.oracle), "updates": data.updates}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, data.updated, effort)
        expect_map(args["m"], data.updated if c.in_place else data.oracle, SPOT)

    def skip(self, c: Contender, case: Case) -> str | None:
        return too_slow(c, case.n, case.n)


class OneSet(Row):
    """One m.set on a large map: the result dropped and the next one on the same map, or chained; of a key that is
    there and of one that is not. Holdfast puts an edit off until somebody looks, so that a result that is dropped
    unread is never made; `read` looks the key up in it first."""

    name = "one set"
    title = "one m.set on a 100k map"
    group = "one set"
    sizes = (100_000,)
    variants = tuple(f"{key}, {then}" for key in ("existing", "new") for then in ("dropped", "read", "chained"))
    goals = (
        Goal(0.8, "immutables", variants=("existing, dropped", "new, dropped")),
        Goal(0.8, "immutables", variants=("existing, read", "new, read"), note="(the same, looked at once)"),
        Goal(0.55, "immutables", variants=("existing, chained", "new, chained")),
    )
    args = ("m", "pairs")

    def code(self, c: Contender, case: Case) -> str:
        if "chained" not in case.variant:
            return "for k, v in pairs:\n    {set}" + ("[k]" if "read" in case.variant else "") + "\nreturn m"
        return "for k, v in pairs:\n    {put}\nreturn m"

    def ops(self, c: Contender, case: Case) -> int:
        return max(1, 2_000_000 // case.n) if c.write_copies else case.n // 5

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates, data.additions

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        pairs = data.updates if "existing" in case.variant else data.additions
        return {"m": data.own_map_of(c), "pairs": pairs[: self.ops(c, case)]}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        chained = "chained" in case.variant
        expect_map(result, data.oracle | dict(args["pairs"]) if chained else data.oracle, effort)
        if not c.in_place:
            expect_map(args["m"], data.oracle, min(effort, SAMPLE))
        if not chained:
            k, v = args["pairs"][-1]
            if c.changed(args["m"], [(k, v)])[k] != v:
                raise Mismatch("set does not set")


ROWS = (SetOneByOne, UpdateEvery, OneSet)
