"""Memory of a map, without its keys and values.

Every contender is alone in a process in which Python allocates with malloc (PYTHONMALLOC=malloc), and
the figure is what mallinfo2 says is in use, before and after. So a Rust or C++ extension is counted
just as Python's own objects are, allocator overhead included. Where there is no mallinfo2 (it is
glibc's, 2.33 or newer) tracemalloc counts, which does not see what such an extension allocates.
"""

from __future__ import annotations

import ctypes
import gc
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

from harness.contenders import Contender
from harness.data import Data
from harness.row import Case, Goal, Row, expect_map

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]


@cache
def in_use() -> tuple[str, Callable[[], int]]:
    """(how it counts, bytes allocated now)."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        tracemalloc.start()
        return "tracemalloc", lambda: tracemalloc.get_traced_memory()[0]
    mallinfo2.restype = MallInfo

    def count() -> int:
        info = mallinfo2()
        return int(info.uordblks + info.hblkhd)

    return "mallinfo2", count


class MemoryRow(Row):
    unit = "B"
    alone = True
    environment = {"PYTHONMALLOC": "malloc"}
    group = "memory"

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates

    def turn(self, run: Callable[..., Any], args: dict[str, Any], clock: Callable[[], int]) -> tuple[float, Any]:
        _, count = in_use()
        run(**args)  # whatever a first call allocates for good
        gc.collect()
        before = count()
        result = run(**args)
        gc.collect()
        return count() - before, result


class MemoryOfEntry(MemoryRow):
    """A map built from a dict."""

    name = "memory"
    title = "memory, 1M entries (an entry)"
    sizes = (1_000, 100_000, 1_000_000)
    goals = (Goal(32, unit="B", sizes=(1_000_000,)),)
    shared = False
    source = "return {from_dict}"
    args = ("d",)

    def ops(self, c: Contender, case: Case) -> int:
        return case.n

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        return {"d": data.oracle}

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        expect_map(result, data.oracle, effort)


class MemoryOfVersion(MemoryRow):
    """Versions of one map, each with one key updated, all retained."""

    name = "memory of a version"
    title = "memory, a retained one-key version"
    sizes = (100_000, 1_000_000)
    goals = (Goal(1_100, unit="B", sizes=(100_000,)), Goal(1_500, unit="B", sizes=(1_000_000,)))
    source = """
for i, (k, v) in enumerate(pairs):
    {version}
    out[i] = w
return out
"""
    args = ("m", "pairs", "out")

    def ops(self, c: Contender, case: Case) -> int:
        if c.in_place or c.write_copies or c.visits_all:
            return 5
        return 1_000 if case.n > 10_000 else 20

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        pairs = data.updates[: self.ops(c, case)]
        return {"m": data.map_of(c), "pairs": pairs, "out": [None] * len(pairs)}

    def turn(self, run: Callable[..., Any], args: dict[str, Any], clock: Callable[[], int]) -> tuple[float, Any]:
        out = args["out"]
        run(**args)
        out[:] = [None] * len(out)
        gc.collect()
        _, count = in_use()
        before = count()
        run(**args)
        gc.collect()
        return count() - before, out

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        for w, (k, v) in zip(result[:3], args["pairs"]):
            expect_map(w, data.oracle | {k: v}, effort)


ROWS = (MemoryOfEntry, MemoryOfVersion)
