"""Building a whole map at once."""

from __future__ import annotations

from typing import Any

from harness.contenders import DICT, Contender
from harness.data import Data
from harness.row import Case, Goal, Row, expect_map


class BuildFromDict(Row):
    """A map of a dict whose keys went in in shuffled order; a dict is built from the pairs, since a
    copy of a dict hashes and places nothing."""

    name = "build from a dict"
    title = "build from a dict, 1M (dict: dict(pairs))"
    in_matrix = True
    goals = (
        Goal(1.45, "dict", sizes=(1_000_000,)),
        Goal(0.4, "immutables", sizes=(1_000_000,)),
        Goal(1.0, "pypersistent", sizes=(1_000_000,)),
    )
    shared = False
    repeats = True
    args = ("d", "pairs", "reps")

    def code(self, c: Contender, case: Case) -> str:
        build = "{from_pairs}" if c is DICT else "{from_dict}"
        return f"for _ in reps:\n    r = {build}\nreturn r"

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"d": data.oracle, "pairs": data.pairs}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, data.oracle, effort)


ROWS = (BuildFromDict,)
