"""The parent's side: one child process for each job, started again when it dies.

A job is the cases that share a process. When the child dies or hangs, the contender that was at work is
tried alone, then the others: memory that one has damaged may kill another. Who dies alone is left out
of the case (if nobody does, the one that was at work), and what is left of the job runs again.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .row import Case, Row

WORKER = Path(__file__).with_name("worker.py")
DIED = "died"
Outcomes = dict[str, dict[str, Any]]


@dataclass
class Settings:
    contenders: list[str]
    seed: int = 1
    quick: bool = False
    slow: bool = False
    cpu_time: bool = False
    patience: float = 300.0  # seconds without a word from a child before it is taken to hang


@dataclass
class Job:
    cases: list[Case] = field(default_factory=list)
    contenders: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def jobs(plan: Iterable[tuple[Row, Case]], settings: Settings) -> list[Job]:
    """Groups the cases into processes."""
    found: dict[Any, Job] = {}
    for row, case in plan:
        taking_part = [name for name in settings.contenders if name in row.contenders]
        for names in [[name] for name in taking_part] if row.alone else [taking_part]:
            group = row.group or ("maps" if row.shared else row.name)
            key = (group, case.n, case.keys, *(names if row.alone else ()))
            found.setdefault(key, Job(contenders=names, environment=row.environment)).cases.append(case)
    return list(found.values())


@dataclass
class Death:
    number: int
    contender: str
    how: str


def messages(pipe: int, patience: float) -> Iterator[dict[str, Any] | None]:
    """What a child says on a pipe, which this closes; None at the end if it hangs."""
    with selectors.DefaultSelector() as selector, os.fdopen(pipe, "rb", buffering=0) as reader:
        selector.register(reader, selectors.EVENT_READ)
        rest = b""
        while True:
            if not selector.select(patience):
                yield None
                return
            if not (chunk := reader.read(1 << 16)):
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(json.loads, lines)


def _start(job: dict[str, Any], environment: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    reader, writer = os.pipe()
    # The child's end must be its descriptor 3, where dup2 puts it, whatever number the pipe got here.
    wrapper = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, sys.argv[2]])"
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", wrapper, str(writer), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[writer],
            text=True,
            env=os.environ | {"PYTHONHASHSEED": str(job["seed"])} | environment,
        )
    finally:
        os.close(writer)
    assert child.stdin is not None
    with child.stdin:
        child.stdin.write(json.dumps(job))
    return child, reader


def _run_child(
    items: list[tuple[Case, list[str]]],
    settings: Settings,
    environment: dict[str, str],
    done: Callable[[int, Outcomes], None],
) -> Death | None:
    """One child process; None when it got through all the items."""
    job = {
        "seed": settings.seed,
        "quick": settings.quick,
        "slow": settings.slow,
        "cpu_time": settings.cpu_time,
        "cases": [{"case": asdict(case), "contenders": names} for case, names in items],
    }
    child, pipe = _start(job, environment)
    at, finished, hung = (0, "", "start"), 0, False
    try:
        for message in messages(pipe, settings.patience):
            if message is None:
                hung = True
            elif "at" in message:
                at = tuple(message["at"])
            else:
                finished += 1
                done(message["done"], message["outcomes"])
    finally:
        if hung or finished < len(items):
            child.kill()  # it has closed its pipe or hangs: if it is not dead yet, it is of no more use
        code = child.wait()
    if finished == len(items):
        return None
    if hung:
        how = f"no word for {settings.patience:.0f} s in {at[2]}"
    elif code < 0:
        how = f"{signal.Signals(-code).name} in {at[2]}"
    else:
        how = f"exit status {code} in {at[2]}"
    return Death(at[0], at[1], how)


def _culprits(names: list[str], death: Death, alone: Callable[[str], Death | None]) -> dict[str, str]:
    """{contender: how it died}: the one that was at work if it dies alone too, else whoever else does."""
    for name in [death.contender, *(name for name in names if name != death.contender)]:
        verdict = alone(name)
        if verdict is not None:
            return {name: verdict.how}
    return {death.contender: f"{death.how}, though not when alone"}


def run(job: Job, settings: Settings, done: Callable[[Case, Outcomes], None]) -> None:
    """Measures every case of the job, whatever dies meanwhile."""
    out: dict[Case, Outcomes] = {case: {} for case in job.cases}
    waiting = list(job.cases)
    while waiting:
        items = [(case, [name for name in job.contenders if name not in out[case]]) for case in waiting]
        finished: list[Case] = []

        def settle(number: int, outcomes: Outcomes) -> None:
            case = items[number][0]
            finished.append(case)
            done(case, outcomes | out[case])

        death = _run_child(items, settings, job.environment, settle)
        waiting = [case for case in waiting if case not in finished]
        if death is None:
            return
        case, names = items[death.number]
        if not death.contender or death.contender == "(loop)":
            raise RuntimeError(f"the benchmark's own child process failed: {death.how} ({case.label})")

        def alone(name: str) -> Death | None:
            return _run_child([(case, [name])], settings, job.environment, lambda number, outcomes: None)

        for name, how in _culprits(names, death, alone).items():
            out[case][name] = {"status": DIED, "note": how, "figures": {}, "reps": None}
