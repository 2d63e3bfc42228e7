"""Cask beside LevelDB (plyvel), beside the way in which pycask reads and writes, and beside os.pread of the same bytes."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from typing import Any, ClassVar, cast

import harness.cask
from harness.contenders import Contender, NotOffered
from harness.data import SHAPES, Data
from harness.row import QUICK, Case, Goal, expect_equal
from harness.shared import Sharer, expect_shared

from .shared import SharedSet

READ_ALL = """
out = []
for k in ks:
    {read}
    out.append(r)
return out
"""
_OTHERS = ((100_000, "str, 100 B"), (100_000, "bytes, 1 kB"), (1_000, "bytes, 10 kB"))


class CaskRow(SharedSet):
    """Nothing is synced. Who is slow does a part of the operations in each turn; what it does is checked as everybody's is."""

    contenders = harness.cask.BY_NAME
    group = "cask"
    budget = 8.0
    cases_of: ClassVar[tuple[tuple[int, str], ...]] = ()  # size, and kind of keys and values

    def cases(self, sizes: Iterable[int], quick: bool) -> list[Case]:
        return [
            Case(self.name, size, QUICK[size] if quick else size, kind) for size, kind in self.cases_of if size in sizes
        ]

    def code(self, c: Contender, case: Case) -> str:
        if c.name == "holdfast" and not hasattr(importlib.import_module("holdfast"), "Cask"):
            raise NotOffered("Cask")
        return self.encoded(self.source, c, case)

    def encoded(self, source: str, c: Contender, case: Case) -> str:
        """LevelDB's keys are bytes: who has str encodes them."""
        if c.name == "plyvel" and SHAPES[case.keys].type is str:
            for name, text in harness.cask.ENCODED.items():
                source = source.replace(f"{{{name}}}", text)
        return source


class CaskPut(CaskRow):
    """A new value for keys that are there: by `put`, where each has one."""

    name = "cask put"
    title = "Cask: put, values of 100 bytes"
    cases_of: ClassVar[tuple[tuple[int, str], ...]] = ((100_000, "bytes, 100 B"),)
    goals: ClassVar[tuple[Goal, ...]] = (Goal(1 / 2, "plyvel"), Goal(1 / 10, "pycask scheme", faster=True))


class CaskPutOthers(CaskPut):
    name = "cask put, other keys and values"
    title = "Cask: put, str keys; values of 1,000 and 10,000 bytes"
    cases_of = _OTHERS
    goals = (Goal(math.inf, "plyvel"),)


class CaskGet(CaskRow):
    """`get` with keys that are equal to those put but other objects. os.pread is told where the value is."""

    name = "cask get"
    title = "Cask: get, values of 100 bytes"
    cases_of: ClassVar[tuple[tuple[int, str], ...]] = ((100_000, "bytes, 100 B"), (1_000_000, "bytes, 100 B"))
    goals: ClassVar[tuple[Goal, ...]] = (
        Goal(1 / 3, "plyvel"),
        Goal(1 / 20, "pycask scheme", faster=True),
        Goal(1.0, "os.pread"),
    )
    source = "for k in ks:\n    {get}"
    args: ClassVar[tuple[str, ...]] = ("m", "ks", "fd", "size")

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle
        data.look_ups(case.n, same=False)

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        m = data.map_of(c)
        ks = self.part(c, case, data, data.look_ups(case.n, same=False))
        fd = -1
        if isinstance(m, harness.cask.Places):
            ks, fd = [m[k] for k in ks], m.fd
        return {"m": m, "ks": ks, "fd": fd, "size": SHAPES[case.keys].value}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        state = data.state_of(c)
        expect_shared(cast(Sharer, c), args["m"], state, effort)
        read = c.compile(self.encoded(READ_ALL, c, case), self.args, "check")
        found = read(**args | {"ks": args["ks"][:effort]})
        of = {at: k for k, at in args["m"].items()} if isinstance(args["m"], harness.cask.Places) else {}
        expect_equal(found, [state[of.get(k, k)] for k in args["ks"][:effort]], "the list of what was found")


class CaskGetOthers(CaskGet):
    name = "cask get, other keys and values"
    title = "Cask: get, str keys; values of 1,000 and 10,000 bytes"
    cases_of = _OTHERS
    goals = (Goal(math.inf, "plyvel"), Goal(math.inf, "os.pread"))


ROWS = (CaskGet, CaskPut, CaskGetOthers, CaskPutOthers)
