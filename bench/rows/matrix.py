"""The rest of the general matrix: every operation, at every size, with both kinds of key, for every
contender. Rows with goals that are measured at every size belong to it too (in_matrix).

Rows of one size and kind share a process and their maps; these are hidden from the collector
(gc.freeze), so that nobody pays for collecting what another keeps alive.
"""

from __future__ import annotations

from typing import Any

from harness.contenders import LOOP, Contender
from harness.data import Data
from harness.row import FULL, SAMPLE, Case, Mismatch, Row, expect_equal, expect_map

from .structural import check_diff

LOOK_UPS = 100_000
WRITES = 10_000


class MatrixRow(Row):
    in_matrix = True
    budget = 1.5

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.name

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates, data.additions

    def scaled(self, case: Case, count: int) -> int:
        return count if case.n == case.size else count // 50


class LookUpRow(MatrixRow):
    args = ("m", "ks")
    loop_overhead = True

    def ops(self, c: Contender, case: Case) -> int:
        return self.scaled(case, LOOK_UPS)

    def keys(self, case: Case, data: Data) -> list[Any]:
        return data.look_ups(self.scaled(case, LOOK_UPS))

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        ks = data.once((self.name, "keys"), lambda: self.keys(case, data))
        return {"m": None if c is LOOP else data.map_of(c), "ks": ks}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        if c is not LOOP:
            ks = args["ks"][:effort]
            m, d = args["m"], data.oracle
            expect_equal([(k in m, m.get(k)) for k in ks], [(k in d, d.get(k)) for k in ks], "what was found")


class Miss(LookUpRow):
    name = "miss"
    source = "for k in ks:\n    {get_default}"

    def keys(self, case: Case, data: Data) -> list[Any]:
        return (data.absent * (LOOK_UPS // case.n + 1))[: self.scaled(case, LOOK_UPS)]


class Contains(LookUpRow):
    """Half of the keys are there."""

    name = "contains"
    source = "for k in ks:\n    {has}"

    def keys(self, case: Case, data: Data) -> list[Any]:
        both = [k for pair in zip(data.shuffled_keys, data.absent) for k in pair]
        return (both * (LOOK_UPS // len(both) + 1))[: self.scaled(case, LOOK_UPS)]


class WriteRow(MatrixRow):
    """Chained writes: each on the version that the last one made, again and again from the same map
    where that is small. A dict is written in place, a copy for each time made before the clock starts."""

    group = "writes"
    source = """
for m in bases:
    for k, v in changes:
        {put}
return m
"""
    args = ("bases", "changes")

    def _keys(self, c: Contender, case: Case) -> int:
        if c.write_copies:
            return max(1, min(case.n // 10 + 8, 2_000_000 // case.n))
        if c.write_us > 50 and case.n > WRITES:
            return WRITES // 20
        return min(case.n // 10 + 8, self.scaled(case, WRITES)) if case.n > 8 else 8

    def _times(self, c: Contender, case: Case) -> int:
        return max(1, self.scaled(case, WRITES) // self._keys(c, case)) if not c.write_copies or case.n < 100 else 1

    def ops(self, c: Contender, case: Case) -> int:
        return self._keys(c, case) * self._times(c, case)

    def changes(self, data: Data) -> list[tuple[Any, Any]]:
        raise NotImplementedError

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        bases = [data.own_map_of(c) for _ in range(self._times(c, case))]
        return {"bases": bases, "changes": self.changes(data)[: self._keys(c, case)]}

    def expected(self, oracle: dict[Any, Any], changes: list[tuple[Any, Any]]) -> dict[Any, Any]:
        return oracle | dict(changes)

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, self.expected(data.oracle, args["changes"]), effort)
        if not c.in_place:
            expect_map(args["bases"][0], data.oracle, min(effort, SAMPLE))


class SetNew(WriteRow):
    name = "set new"

    def changes(self, data: Data) -> list[tuple[Any, Any]]:
        return data.additions


class SetExisting(WriteRow):
    name = "set existing"

    def changes(self, data: Data) -> list[tuple[Any, Any]]:
        return data.updates


class Delete(WriteRow):
    name = "delete"
    source = """
for m in bases:
    for k, v in changes:
        {drop}
return m
"""

    def changes(self, data: Data) -> list[tuple[Any, Any]]:
        return data.updates

    def expected(self, oracle: dict[Any, Any], changes: list[tuple[Any, Any]]) -> dict[Any, Any]:
        gone = dict(changes)
        return {k: v for k, v in oracle.items() if k not in gone}


class BuildRow(MatrixRow):
    repeats = True
    args = ("d", "pairs", "reps")

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"d": data.oracle, "pairs": data.pairs}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, data.oracle, effort)


class FromPairs(BuildRow):
    name = "from pairs"
    source = "for _ in reps:\n    r = {from_pairs}\nreturn r"


class WalkRow(MatrixRow):
    repeats = True
    args = ("m", "reps")

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"m": data.map_of(c)}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        if effort == FULL:
            keys, items = list(args["m"]), list(args["m"].items())
            expect_equal((len(keys), len(items)), (case.n, case.n), "how many keys and items there are")
            expect_equal((set(keys), dict(items)), (data.oracle.keys(), data.oracle), "what was iterated")


class Keys(WalkRow):
    name = "iterate keys"
    source = "for _ in reps:\n    for k in {keys}:\n        pass"


class TwoMapsRow(MatrixRow):
    """Operations on two maps; figures are for the whole operation."""

    repeats = True
    args = ("a", "b", "reps")

    def operands(self, c: Contender, case: Case, data: Data) -> tuple[Any, Any]:
        raise NotImplementedError

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        a, b = data.once((self.name, c.name), lambda: self.operands(c, case, data))
        return {"a": a, "b": b}


class Equal(TwoMapsRow):
    """Of maps that are equal and share nothing."""

    name = "equal, apart"
    source = "for _ in reps:\n    r = {equal}\nreturn r"

    def operands(self, c: Contender, case: Case, data: Data) -> tuple[Any, Any]:
        return data.map_of(c), c.make(dict(reversed(data.pairs)))

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_equal(result, True, "a == b")
        if effort == FULL and (args["a"] == c.changed(args["b"], data.updates[:1])):
            raise Mismatch("a == b where one value differs")


class Diff(TwoMapsRow):
    """Of a map and a descendant in which one value in a hundred has changed."""

    name = "diff of 1%"
    source = "for _ in reps:\n    r = {diff}\nreturn r"

    def _changes(self, case: Case, data: Data) -> list[tuple[Any, Any]]:
        return data.updates[: max(1, case.n // 100)]

    def operands(self, c: Contender, case: Case, data: Data) -> tuple[Any, Any]:
        if "diff" not in c.syntax:
            return None, None
        return data.map_of(c), c.make(data.oracle | dict(self._changes(case, data))) if c.write_copies else c.changed(
            data.map_of(c), self._changes(case, data)
        )

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        check_diff(c, result, data.oracle, data.oracle | dict(self._changes(case, data)))


ROWS = (
    Miss,
    Contains,
    SetNew,
    SetExisting,
    Delete,
    FromPairs,
    Keys,
    Equal,
    Diff,
)
