"""The child process: measures the cases of one job, every contender in turn, round after round.

    stdin   the job, JSON: {"seed", "quick", "slow", "cpu_time", "cases": [{"case", "contenders"}]}
    fd 3    what happened, a JSON object a line:
            {"at": [case number, contender, what]}     before anything that might kill the process
            {"done": case number, "outcomes": {...}}   a case is measured

It may die in a contender's code at any time; the parent knows from the last "at" whose it was.
"""

from __future__ import annotations

import gc
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.contenders import LOOP, Contender, NotOffered  # noqa: E402
from harness.data import Data  # noqa: E402
from harness.row import FULL, SAMPLE, SPOT, Case, Mismatch, Row  # noqa: E402

MIN_ROUNDS, MAX_ROUNDS = 3, 15
SHARE = 0.5  # of the budget that one who decides no goal may use; then it takes no further part
TURN_NS = 20_000_000  # a row that repeats does so for about this long a turn
WARM_UP_NS = 2_000_000_000  # a first round shorter than this is a warm-up, and dropped
OK, WRONG, ERROR, SKIPPED, NOT_OFFERED = "ok", "wrong", "error", "skipped", "not offered"


@dataclass
class Entry:
    """One contender in one case."""

    c: Contender
    status: str = OK
    note: str = ""
    run: Callable[..., Any] | None = None
    reps: int | None = None
    effort: int = FULL  # of the check of its next turn
    spent: float = 0.0  # seconds, preparation included
    retired: bool = False
    figures: dict[int, float] = field(default_factory=dict)  # round -> figure of one operation

    @property
    def running(self) -> bool:
        return self.status in (OK, WRONG) and not self.retired

    def fail(self, status: str, note: str) -> None:
        self.status, self.note = status, note

    def outcome(self) -> dict[str, Any]:
        return {"status": self.status, "note": self.note, "figures": self.figures, "reps": self.reps}


Answer = TypeVar("Answer")


class Rounds:
    """The rounds of one case."""

    def __init__(self, job: dict[str, Any], row: Row, case: Case, say: Callable[[str, str], None]) -> None:
        self.job, self.row, self.case, self.say = job, row, case, say
        self.clock = time.process_time_ns if job["cpu_time"] else time.perf_counter_ns
        self.data: Data
        self.entries: list[Entry] = []

    def enter(self, c: Contender) -> None:
        entry = Entry(c)
        self.entries.append(entry)
        reason = None if self.job["slow"] else self.row.skip(c, self.case)
        if reason:
            return entry.fail(SKIPPED, reason)
        try:
            entry.run = c.compile(self.row.code(c, self.case), self.row.args, self.case.label)
        except NotOffered as missing:
            entry.fail(NOT_OFFERED, f"no {missing}")

    def _guarded(self, entry: Entry, what: str, action: Callable[[], Answer]) -> Answer | None:
        """A contender that raises is out; one whose result is wrong stays in, and is marked."""
        self.say(entry.c.name, what)
        try:
            return action()
        except Mismatch as mismatch:
            entry.fail(WRONG, str(mismatch))
        except Exception as error:  # the point: whatever a contender raises is reported, and the rest goes on
            entry.fail(ERROR, f"{what}: {type(error).__name__}: {error}"[:200])
        return None

    def _timed(self, entry: Entry, args: dict[str, Any]) -> tuple[float, Any] | None:
        """(figure, result) of a turn. The first of a row that repeats finds out how often it must: the last
        of its tries is the turn."""
        run, row = entry.run, self.row
        assert run is not None
        if not row.repeats:
            return self._guarded(entry, "run", lambda: row.turn(run, args, self.clock))
        wanted = entry.reps
        entry.reps = wanted or (2 if self.job["quick"] else 1)
        while True:
            timed = args | {"reps": range(entry.reps)}
            turn = self._guarded(entry, "run", lambda: row.turn(run, timed, self.clock))
            if turn is None or wanted or self.job["quick"] or turn[0] >= TURN_NS / 2:
                return turn
            entry.reps = math.ceil(entry.reps * min(10.0, TURN_NS / max(turn[0], 1)))

    def _turn(self, entry: Entry, number: int) -> None:
        row, case, c = self.row, self.case, entry.c
        start = time.perf_counter()
        args = self._guarded(entry, "prepare", lambda: row.prepare(c, case, self.data))
        if args is None:
            return
        gc.collect()
        turn = self._timed(entry, args)
        if turn is None:
            return
        figure, result = turn
        entry.spent += time.perf_counter() - start
        entry.figures[number] = figure / (row.ops(c, case) * (entry.reps or 1))
        effort, entry.effort = entry.effort, SPOT
        self._guarded(entry, "check", lambda: row.check(c, case, self.data, args, result, effort))

    def _round(self, number: int) -> None:
        # Each time another goes first, so that nobody always follows the same one.
        first = number % len(self.entries)
        for entry in self.entries[first:] + self.entries[:first]:
            if entry.running:
                self._turn(entry, number)
                gc.collect()

    def run(self, data: Data) -> dict[str, Any]:
        self.data = data
        row, case, budget = self.row, self.case, self.row.budget
        core = {"holdfast", "dict", *row.rivals}
        for entry in self.entries:
            if case.n > 100_000 and entry.c.name not in core:
                entry.effort = SAMPLE  # a full check of a slow one takes longer than all the rest
        least, most = (2, 2) if self.job["quick"] else (1, 1) if row.alone else (MIN_ROUNDS, MAX_ROUNDS)
        row.inputs(case, data)
        if row.shared:
            for entry in self.entries:
                if entry.running:  # what is prepared for all turns is made now, and forgotten with the inputs
                    self._guarded(entry, "prepare", lambda: row.prepare(entry.c, case, data))
        gc.collect()
        if row.freeze:
            gc.freeze()
        start = time.perf_counter()
        self._round(0)
        if not row.alone and time.perf_counter() - start < WARM_UP_NS / 1e9:
            for entry in self.entries:
                entry.figures.clear()
        number = 1
        while any(entry.running for entry in self.entries):
            decisive = [entry for entry in self.entries if entry.running and entry.c.name in core]
            rounds = min((len(entry.figures) for entry in decisive or self.entries if entry.running), default=0)
            if rounds >= most or (rounds >= least and time.perf_counter() - start > budget):
                break
            for entry in self.entries:
                turns = len(entry.figures)
                if entry.c.name not in core and turns and entry.spent * (turns + 1) / turns > SHARE * budget:
                    entry.retired = True
            self._round(number)
            number += 1
        return {entry.c.name: entry.outcome() for entry in self.entries}


def main() -> None:
    from rows import BY_NAME

    job = json.load(sys.stdin)
    out: TextIO = open(3, "w", buffering=1, encoding="utf-8")
    datas: dict[tuple[int, str], Data] = {}

    def tell(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")

    for number, item in enumerate(job["cases"]):
        case = Case(**item["case"])
        row = BY_NAME[case.row]
        rounds = Rounds(job, row, case, lambda name, what: tell({"at": [number, name, what]}))
        names = list(item["contenders"])
        for name in names:
            rounds.say(name, "import")
            rounds.enter(row.contenders[name])
        if row.loop_overhead:
            rounds.enter(LOOP)
        data = datas.setdefault((case.n, case.keys), Data(case.n, case.keys, job["seed"]))
        tell({"done": number, "outcomes": rounds.run(data)})
        for entry in rounds.entries:
            if entry.status in (WRONG, ERROR):
                data.distrust(entry.c)
        data.forget()


if __name__ == "__main__":
    main()
