"""Operations on whole maps that share most of what they hold, or nothing."""

from __future__ import annotations

from typing import Any

from harness.contenders import Contender
from harness.data import Data
from harness.row import FULL, SAMPLE, Case, Goal, Mismatch, Row, expect_equal, expect_map


def changes(c: Contender, result: Any) -> dict[Any, tuple[Any, Any]]:
    """{key: (old, new)} from what the contender's diff gives; old and new are None where it cannot say."""
    if c.name == "holdfast":
        return {change.key: (change.old, change.new) for change in result}
    return dict.fromkeys((k for k, _ in result), (None, None))


def check_diff(c: Contender, result: Any, old: dict[Any, Any], new: dict[Any, Any]) -> None:
    """For maps with the same keys."""
    wanted = {k: (old[k], new[k]) for k in old if old[k] != new[k]}
    found = changes(c, result)
    if c.name != "holdfast":
        wanted = dict.fromkeys(wanted, (None, None))
    elif len(result) != len(found):
        raise Mismatch("a key is reported twice")
    expect_equal(found, wanted, "the diff")


class EqualDescendant(Row):
    """`m == w` where w is m with one value changed and changed back."""

    name = "equal, edited and undone"
    title = "== of a 100k map and a descendant edited and undone"
    sizes = (100_000,)
    goals = (Goal(1, unit="us"),)
    repeats = True
    source = """
for _ in reps:
    r = {equal}
return r
"""
    args = ("a", "b", "reps")

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        a = data.map_of(c)
        k, v = data.updates[0]
        b = data.once(("undone", c.name), lambda: c.changed(c.changed(a, [(k, v)]), [(k, data.oracle[k])]))
        return {"a": a, "b": b}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_equal(result, True, "a == b")
        if effort == FULL:
            expect_equal(args["a"] == c.changed(args["b"], [data.updates[1]]), False, "a == b with a change")


class DiffOne(Row):
    """`a.diff(b)` where b is a with one new value; a dict: `a.items() ^ b.items()`."""

    name = "diff of one change"
    title = "diff of one change in 1M"
    sizes = (1_000_000,)
    goals = (Goal(1, unit="us"),)
    repeats = True
    source = """
for _ in reps:
    r = {diff}
return r
"""
    args = ("a", "b", "reps")

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        a = data.map_of(c)
        return {"a": a, "b": data.once(("one change", c.name), lambda: c.changed(a, data.updates[:1]))}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        check_diff(c, result, data.oracle, data.oracle | dict(data.updates[:1]))


class UpdateDerived(Row):
    """`m.update(w)` where w is m with one new value."""

    name = "update with a derived map"
    title = "update with a derived 100k map (one change)"
    in_matrix = True
    budget = 3.0
    goals = (Goal(2, unit="us", sizes=(100_000,)),)
    repeats = True
    source = """
for _ in reps:
    r = {merge}
return r
"""
    args = ("a", "b", "reps")

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        a = data.map_of(c)
        return {"a": a, "b": data.once(("one change", c.name), lambda: c.changed(a, data.updates[:1]))}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, data.oracle | dict(data.updates[:1]), effort)
        expect_map(args["a"], data.oracle, min(effort, SAMPLE))


class MergeHalves(Row):
    """One map of two that share no key."""

    name = "merge of halves"
    title = "merge of disjoint 500k halves"
    in_matrix = True
    goals = (Goal(1.0, "pypersistent", sizes=(1_000_000,)),)
    shared = False
    repeats = True
    source = """
for _ in reps:
    r = {merge}
return r
"""
    args = ("a", "b", "reps")

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        half = case.n // 2
        return {"a": c.make(dict(data.pairs[:half])), "b": c.make(dict(data.pairs[half:]))}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, data.oracle, effort)
        expect_equal(len(args["a"]), case.n // 2, "the length of the left operand afterwards")


class HundredVersions(Row):
    """100 versions of one map, each with one key updated, all retained. Copies of a dict are 42 MB
    each, so ten are made and retained; figures are for one version."""

    name = "100 versions"
    title = "100 one-key versions of a 1M map (dict: copies)"
    sizes = (1_000_000,)
    goals = (Goal(0.5, "pypersistent"), Goal(1 / 6_500, "dict", faster=True))
    source = """
out = []
for k, v in pairs:
    {version}
    out.append(w)
return out
"""
    args = ("m", "pairs")

    def ops(self, c: Contender, case: Case) -> int:
        return 10 if c.in_place or c.write_copies else 100

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"m": data.map_of(c), "pairs": data.updates[: self.ops(c, case)]}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_equal(len(result), self.ops(c, case), "the number of versions")
        for w, (k, v) in zip(result, args["pairs"]):
            expect_equal((w[k], len(w), args["m"][k]), (v, case.n, data.oracle[k]), "what a version holds")
        k, v = args["pairs"][-1]
        expect_map(result[-1], data.oracle | {k: v}, effort)


ROWS = (EqualDescendant, DiffOne, UpdateDerived, MergeHalves, HundredVersions)
