"""The C library beside Clojure: two programs that stay alive and do a round each in turn.

Both read commands and answer with a line of JSON (see clojure/bench.clj and c/map_bench.c). Clojure's
warms up until its code is compiled; those rounds are not counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .jobs import DIED, Outcomes, Settings, messages
from .row import Case, Row

BENCH = Path(__file__).resolve().parents[1]
C_PROGRAM = BENCH.parent / "build" / "bench" / "c" / "map_bench"
CLOJURE_PROGRAM = BENCH / "clojure" / "bench.clj"
CLOJURE_JAR = Path("/usr/share/java/clojure.jar")
WARM_UPS, ROUNDS = 3, 5


class Failed(Exception):
    """(status, note)"""


class Program:
    """One of the two programs, or why there is none."""

    def __init__(self, command: list[str] | None, missing: str, patience: float) -> None:
        self.version = ""
        self.failure: tuple[str, str] | None = None if command else ("not installed", missing)
        if command:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self.child.stdin and self.child.stdout
            self.answers = messages(os.dup(self.child.stdout.fileno()), patience)
            self.version = str(self._answer().get("version", ""))

    def _answer(self) -> dict[str, Any]:
        answer = next(self.answers, None)
        if answer is None:
            self.child.kill()
            code = self.child.wait()
            self.failure = (DIED, f"no answer, exit status {code}")
            raise Failed(*self.failure)
        return answer

    def do(self, command: str) -> dict[str, Any]:
        if self.failure:
            raise Failed(*self.failure)
        assert self.child.stdin
        try:
            self.child.stdin.write(command + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            self.failure = (DIED, "it has ended")
            raise Failed(*self.failure) from None
        return self._answer()

    def close(self) -> None:
        if hasattr(self, "child"):
            self.child.stdin.close()  # type: ignore[union-attr]
            self.child.wait()


def clojure_command() -> list[str] | None:
    java = shutil.which("java")
    if java and CLOJURE_JAR.exists():
        return [java, "-cp", str(CLOJURE_JAR), "clojure.main", str(CLOJURE_PROGRAM)]
    clojure = shutil.which("clojure")
    return [clojure, str(CLOJURE_PROGRAM)] if clojure else None


def _measure(programs: dict[str, Program], commands: dict[str, str], quick: bool) -> Outcomes:
    """The rounds of one case; the contenders that are not Clojure are the C program's."""
    outcomes: Outcomes = {
        name: {"status": "ok", "note": "", "figures": {}, "reps": None} for name in commands
    }
    warm_ups, rounds = (1, 2) if quick else (WARM_UPS, ROUNDS)
    for number in range(-warm_ups, rounds):
        turns = list(commands.items())
        first = number % len(turns)
        for name, command in turns[first:] + turns[:first]:
            outcome = outcomes[name]
            if outcome["status"] not in ("ok", "wrong") or (number < -1 and name != "clojure"):
                continue
            try:
                answer = programs.get(name, programs["holdfast"]).do(command)
            except Failed as failure:
                outcome["status"], outcome["note"] = failure.args
                continue
            if not answer["right"]:
                outcome["status"], outcome["note"] = "wrong", "a result is not what it must be"
            if number >= 0:
                outcome["figures"][number] = answer["ns"] / answer["ops"]
    return outcomes


def run(
    plan: list[tuple[Row, Case]], settings: Settings, c_program: Path, done: Callable[[Case, Outcomes], None]
) -> dict[str, str]:
    """Measures the cases; {program: version}."""
    c_command = [str(c_program)] if c_program.exists() else None
    programs: dict[str, Program] = {}
    try:
        try:
            programs["holdfast"] = Program(c_command, "the C benchmark is not built", settings.patience)
            programs["clojure"] = Program(clojure_command(), "neither java with clojure.jar nor clojure", settings.patience)
        except Failed as failure:
            raise RuntimeError(f"a program of the C benchmark does not start: {failure}") from failure
        for row, case in plan:
            done(case, _measure(programs, row.commands(case), settings.quick))
    finally:
        for program in programs.values():
            program.close()
    return {name: program.version for name, program in programs.items() if program.version}
