"""SharedMap beside what else several processes can share as a dict, and beside a dict of one's own: rows of one process."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, cast

from harness.contenders import Contender, NotOffered
from harness.data import Data, other_objects
from harness.row import Case, Goal, Row, expect_equal
from harness.shared import BY_NAME, Sharer, expect_shared

BATCH = 1_000
READ_ALL = """
out = []
{enter}
for k in ks:
    {read}
    out.append(r)
{leave}
return out
"""
_turns: dict[str, itertools.count[int]] = {}  # of each contender, in all rows of this process


class SharedRow(Row):
    """12-byte keys and 64-byte values. Who is slow does a part of the operations in each turn; what it does is checked
    as everybody's is."""

    sizes = (100_000,)
    kinds = ("bytes",)
    contenders = BY_NAME
    group = "shared"
    environment = {"PYTHONWARNINGS": "ignore"}  # peers quarrel with the resource tracker of multiprocessing
    budget = 20.0

    def ops(self, c: Contender, case: Case) -> int:
        return max(10, case.n // cast(Sharer, c).part)

    def part(self, c: Contender, case: Case, data: Data, items: list[Any]) -> list[Any]:
        """Of all items the next so many: each turn other ones, as somebody who goes through all of them would."""
        ops = self.ops(c, case)
        turn = next(_turns.setdefault(c.name, itertools.count()))
        first = turn * ops % len(items)
        return items[first : first + ops]


class SharedGet(SharedRow):
    """`m[k]` with equal keys that are not those put; lmdb: a transaction each, or one for all of a turn."""

    name = "shared get"
    title = "SharedMap: get, 100k keys"
    goals = (
        Goal(3.0, "dict", note="(0.33 x its speed)"),
        Goal(1 / 3, "lmdb"),
        Goal(1 / 2, "lmdb in one"),
        Goal(1 / 50, "Manager", faster=True),
        Goal(1 / 100, "redis", faster=True),
        Goal(1 / 1_000, "shared-hashmap", faster=True),
        Goal(1.0, "UltraDict"),
    )
    source = """
{enter}
for k in ks:
    {get}
{leave}
"""
    args = ("m", "ks")

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle
        data.look_ups(case.n, same=False)

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"m": data.map_of(c), "ks": self.part(c, case, data, data.look_ups(case.n, same=False))}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_shared(cast(Sharer, c), args["m"], data.state_of(c), effort)
        read = c.compile(READ_ALL, self.args, "check")
        ks = args["ks"][:effort]
        state = data.state_of(c)
        expect_equal(read(args["m"], ks), [state[k] for k in ks], "the list of what was found")


class SharedSet(SharedRow):
    """A new value for keys that are there, each an atomic step of its own. Keys are equal ones, as in the get."""

    name = "shared set"
    title = "SharedMap: set, one atomic step each, 100k keys"
    goals: ClassVar[tuple[Goal, ...]] = (
        Goal(1 / 2, "lmdb"),
        Goal(1 / 20, "Manager", faster=True),
        Goal(1 / 50, "redis", faster=True),
        Goal(1 / 500, "shared-hashmap", faster=True),
        Goal(1.0, "UltraDict"),
    )
    source = "for k, v in pairs:\n    {put}"
    args: ClassVar[tuple[str, ...]] = ("m", "pairs")

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle
        self._both(data)

    def _both(self, data: Data) -> tuple[list[tuple[Any, Any]], ...]:
        """New values for all keys, and those of the beginning."""

        def make() -> tuple[list[tuple[Any, Any]], ...]:
            ks = data.look_ups(data.n, same=False)
            old = other_objects([data.oracle[k] for k in ks])  # one after the other in memory, as the new ones are
            return [(k, v) for k, (_, v) in zip(ks, data.updates)], list(zip(ks, old))

        found: tuple[list[tuple[Any, Any]], ...] = data.once("both", make)
        return found

    def _pairs(self, c: Contender, case: Case, data: Data) -> list[tuple[Any, Any]]:
        """Each turn changes every value: what one has set, the next sets back."""
        new, old = self._both(data)
        mine = self.part(c, case, data, new)
        k, v = mine[0]
        if data.state_of(c)[k] != v:
            return mine
        changed_back = dict(old)
        return [(k, changed_back[k]) for k, _ in mine]

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"m": data.map_of(c), "pairs": self._pairs(c, case, data)}

    def written(self, args: dict[str, Any]) -> list[tuple[Any, Any]]:
        pairs: list[tuple[Any, Any]] = args["pairs"]
        return pairs

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        state = data.state_of(c)
        state.update(self.written(args))
        expect_shared(cast(Sharer, c), args["m"], state, effort)
        k, v = self.written(args)[-1]
        expect_equal(cast(Sharer, c).home.look(args["m"], k), v, "the value set last")

    def code(self, c: Contender, case: Case) -> str:
        if c.name == "lmdb in one":
            raise NotOffered("step of its own")
        return self.source


class SharedSetMany(SharedSet):
    """The same in transactions of 1,000; redis: a pipeline, which is a transaction."""

    name = "shared set, 1,000 a transaction"
    title = "SharedMap: set, 1,000 in a transaction, 100k keys"
    goals = (Goal(1 / 2, "lmdb"),)
    source = """
for pairs in batches:
    {begin}
        for k, v in pairs:
            {tput}
        {commit}
"""
    args = ("m", "batches")

    def ops(self, c: Contender, case: Case) -> int:
        return case.n // 10 if c.name == "redis" else case.n

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        pairs = self._pairs(c, case, data)
        return {"m": data.map_of(c), "batches": [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]}

    def written(self, args: dict[str, Any]) -> list[tuple[Any, Any]]:
        return [pair for batch in args["batches"] for pair in batch]


ROWS = (SharedGet, SharedSet, SharedSetMany)
