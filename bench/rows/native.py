"""The C library beside Clojure, on the same work: see c/map_bench.c and clojure/bench.clj."""

from __future__ import annotations

import math

from harness.row import Case, Goal, Row

UPDATE_ROUNDS = 10_000


class NativeRow(Row):
    native = True
    kinds = ("int64",)


class Updates(NativeRow):
    """10,000 rounds of giving each of 1,000 keys a new value. with_take consumes its operand, as an
    owner of the last count may; with leaves it, and it is dropped when the next version is there (what
    that is over with_take is in the results too)."""

    name = "C: updates"
    title = "C: 10M updates of a 1,000-key map"
    sizes = (1_000,)
    variants = ("with_take", "with")
    goals = (
        Goal(0.5, "clojure", variants=("with_take",)),
        Goal(3.0, "clojure", variants=("with",)),
    )

    def commands(self, case: Case) -> dict[str, str]:
        rounds = UPDATE_ROUNDS if case.n == case.size else 20
        take, keep = f"update-take {rounds}", f"update-with {rounds}"
        if case.variant == "with_take":
            return {"holdfast": take, "clojure": f"update {rounds}"}
        return {"holdfast": keep, "with_take": take, "clojure": f"update {rounds}"}


class Million(NativeRow):
    """Inserts into the empty map, a version each or in a transient, as the owner of the last count and not; look-ups, each result compared."""

    name = "C: a million"
    title = "C: 1M inserts, 1M transient inserts, 1M look-ups"
    sizes = (1_000_000,)
    variants = ("insert, with_take", "insert, with", "transient", "look-up")
    goals = (
        Goal(0.6, "clojure", variants=("insert, with_take", "transient", "look-up")),
        Goal(math.inf, "clojure", variants=("insert, with",)),
    )

    def commands(self, case: Case) -> dict[str, str]:
        mine = {"insert, with_take": "insert-take", "insert, with": "insert-with"}.get(case.variant, case.variant)
        theirs = case.variant.partition(",")[0]
        return {"holdfast": f"{mine} {case.n}", "clojure": f"{theirs} {case.n}"}


ROWS = (Updates, Million)
