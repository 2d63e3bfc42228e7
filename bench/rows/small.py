"""A map of eight entries: what everybody has most of."""

from __future__ import annotations

from typing import Any

from harness.contenders import Contender
from harness.data import Data
from harness.row import Case, Goal, Row, expect_equal, expect_map

SOURCES = {
    "build from a dict": "for _ in reps:\n    r = {from_dict}\nreturn r",
    "build from pairs": "for _ in reps:\n    r = {from_pairs}\nreturn r",
    "look-up": "for _ in reps:\n    for k in ks:\n        {get}",
    "set existing": "for _ in reps:\n    for k, v in changes:\n        {set}",
    "set new": "for _ in reps:\n    for k, v in changes:\n        {set}",
    "set existing, read": "for _ in reps:\n    for k, v in changes:\n        {set}[k]",
    "set new, read": "for _ in reps:\n    for k, v in changes:\n        {set}[k]",
}


class Small(Row):
    """Builds of one map each; look-ups and sets of eight keys, the results dropped (see OneSet on `read`)."""

    name = "8 entries"
    title = "8-entry map: build, look-up, set"
    sizes = (8,)
    variants = tuple(SOURCES)
    goals = (Goal(1.0, "immutables"),)
    repeats = True
    args = ("m", "d", "pairs", "ks", "changes", "reps")

    def code(self, c: Contender, case: Case) -> str:
        return SOURCES[case.variant]

    def ops(self, c: Contender, case: Case) -> int:
        return 1 if "build" in case.variant else case.n

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates, data.additions

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {
            "m": data.map_of(c),
            "d": data.oracle,
            "pairs": data.pairs,
            "ks": data.shuffled_keys,
            "changes": data.additions if case.variant.startswith("set new") else data.updates,
        }

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        m = result if "build" in case.variant else args["m"]
        expect_map(m, data.oracle)
        if "set" in case.variant:
            expect_map(c.changed(m, args["changes"]), data.oracle | dict(args["changes"]))
        if case.variant == "look-up":
            expect_equal([m[k] for k in args["ks"]], [data.oracle[k] for k in args["ks"]], "the list of what was found")


ROWS = (Small,)
