"""Memory of a map, without its keys and values.

The figure is what the allocators have given out, before and after: Python's own, which says so itself
(sys._debugmallocstats), plus malloc, which mallinfo2 asks. Rust and C++ extensions use malloc directly, so
they are counted just as Python's own objects are; what each allocator loses by rounding up is included.
Every contender is alone in a process. Where there is no mallinfo2 (it is glibc's, 2.33 or newer) or no
pymalloc, tracemalloc counts, which does not see what such an extension allocates.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

from harness.contenders import Contender
from harness.data import Data
from harness.row import Case, Goal, Row, expect_map

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
GIVEN_OUT = re.compile(r"^# bytes in allocated blocks\s*=\s*([\d,]+)$", re.MULTILINE)


class MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]


def python_allocator() -> int | None:
    """Bytes that pymalloc has given out; None where Python allocates otherwise."""
    with tempfile.TemporaryFile("w+") as out:
        saved = os.dup(2)
        os.dup2(out.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        out.seek(0)
        found = GIVEN_OUT.search(out.read())
    return int(found[1].replace(",", "")) if found else None


@cache
def in_use() -> tuple[str, Callable[[], int]]:
    """(how it counts, bytes allocated now)."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None or python_allocator() is None:
        tracemalloc.start()
        return "tracemalloc", lambda: tracemalloc.get_traced_memory()[0]
    mallinfo2.restype = MallInfo

    def count() -> int:
        info = mallinfo2()
        return int(info.uordblks + info.hblkhd) + (python_allocator() or 0)

    return "pymalloc and mallinfo2", count


class MemoryRow(Row):
    unit = "B"
    alone = True
    # Chunks that a thread's cache keeps after a free count as in use: so no such cache.
    environment = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    group = "memory"

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.updates

    def turn(self, run: Callable[..., Any], args: dict[str, Any], clock: Callable[[], int]) -> tuple[float, Any]:
        _, count = in_use()
        run(**args), count()  # whatever a first call allocates for good
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
        count()
        before = count()
        run(**args)
        gc.collect()
        return count() - before, out

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        for w, (k, v) in zip(result[:3], args["pairs"]):
            expect_map(w, data.oracle | {k: v}, effort)


ROWS = (MemoryOfEntry, MemoryOfVersion)
