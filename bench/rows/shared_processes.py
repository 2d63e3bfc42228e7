"""SharedMap and what else can be shared, used by several processes at once: writers, a reader beside a writer, YCSB.

A turn gives every process of a crew an order, with the time when all of them begin. Each has its own code, keys and
values before that. Private dicts, one a process, take part where the machine's own share in a figure is wanted.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from harness.contenders import Contender, NotOffered
from harness.data import FIRST_KEY, Data
from harness.row import FULL, SPOT, Case, Goal, Mismatch, expect_equal
from harness.shared import Crew, Member, Sharer, expect_shared

from .shared import SharedRow

BATCH = 20  # operations between two looks at the clock
AHEAD = 30_000_000  # nanoseconds from an order to the beginning: all have it by then
KEY = 12
clock = time.perf_counter_ns  # the same in all processes of a machine


@dataclass
class Team:
    """A contender's map, the processes that have it open, and what is known of what they wrote."""

    m: Any
    crew: Crew
    done: dict[tuple[int, int], int] = field(default_factory=dict)


_teams: dict[tuple[str, str], Team] = {}  # by row and contender


class ProcessRow(SharedRow):
    count: ClassVar[int] = 4
    budget = 15.0
    args = ("m",)

    def code(self, c: Contender, case: Case) -> str:
        if c.name == "shared-hashmap":
            raise NotOffered("lock: what one process writes over another may read")
        return self.loop(case)

    def loop(self, case: Case) -> str:
        """What the processes run, as code() is."""
        raise NotImplementedError

    def team(self, c: Contender, data: Data) -> Team:
        """Another when the map is another, because somebody was wrong."""
        key, m = (self.name, c.name), data.map_of(c)
        team = _teams.get(key)
        if team is None or team.m is not m:
            if team is not None:
                team.crew.close()
            _teams[key] = team = Team(m, Crew(cast(Sharer, c), m, self.count, data, self.work))
        return team

    def inputs(self, case: Case, data: Data) -> None:
        data.oracle, data.shuffled_keys

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        team = self.team(c, data)
        team.crew.do([("prepare",)] * self.count)
        return {"m": team.m, "team": team, "c": c, "case": case}

    def ops(self, c: Contender, case: Case) -> int:
        return 1

    def seconds(self, case: Case) -> float:
        """Of one run of a process."""
        return 0.5 if case.n == case.size else 0.05

    def turn(self, run: Callable[..., Any], args: dict[str, Any], clock: Callable[[], int]) -> tuple[float, Any]:
        return self.together(args["team"].crew, args["case"])

    def together(self, crew: Crew, case: Case) -> tuple[float, Any]:
        """A turn: (its figure, what the check needs)."""
        raise NotImplementedError

    def work(self, member: Member, order: Any) -> Any:
        """What a process does with an order."""
        raise NotImplementedError


# -- writers ---------------------------------------------------------------------------------------------------

WRITE = """
done = 0
while not done or clock() < end:
    for k, v in next(batches):
        {put}
    done += 1
return done, clock() - start
"""


def batches(data: Data, who: int, count: int) -> list[list[tuple[bytes, bytes]]]:
    """What a process of so many writes, again and again: its part of the keys, first with one value each, then with
    another. Nobody else gives a key these values, so that each write is a change."""
    ks = data.shuffled_keys[who::count]
    out = []
    for version in (2 * count, 2 * count + 1):
        pairs = [(k, k + b"%052d" % version) for k in ks]
        out += [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]
    return out


def writing(member: Member, count: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Where the process is in what it writes; after an order it goes on from there."""
    mine: Iterator[list[tuple[bytes, bytes]]] = member.once(
        ("batches", count), lambda: itertools.cycle(batches(member.data, member.who % count, count))
    )
    return mine


def write(member: Member, at: int, seconds: float, count: int) -> tuple[int, int]:
    """(batches written, nanoseconds)."""
    args = ("m", "batches", "clock", "start", "end")
    end = at + int(seconds * 1e9)
    done, took = member.run(WRITE, args, at, member.m, writing(member, count), clock, at, end)
    return done, took


def replay(data: Data, state: dict[bytes, bytes], team: Team, who: int, count: int, done: int) -> None:
    """Brings the oracle up to date with what a process has written."""
    every = data.once(("batches", who, count), lambda: batches(data, who, count))
    first = team.done.get((who, count), 0)
    team.done[who, count] = last = first + done
    for number in range(max(first, last - len(every)), last):
        state.update(every[number % len(every)])


class Writers(ProcessRow):
    """One process writes for half a second, each set a step of its own, then four at once, each keys of its own."""

    name = "shared writers"
    title = "SharedMap: 4 writing processes"
    group = "shared writers"
    unit = "x"
    variants = ("one's rate over the total of 4", "mean over slowest of 4")
    goals = (
        Goal(1.25, variants=variants[:1], note="(the total >= 0.8 x one's)"),
        Goal(4.0, variants=variants[1:], note="(the slowest >= 0.25 x the mean)"),
    )

    def loop(self, case: Case) -> str:
        return WRITE

    def together(self, crew: Crew, case: Case) -> tuple[float, Any]:
        seconds = self.seconds(case)
        alone: list[tuple[int, int]] = []
        if case.variant == self.variants[0]:
            alone = crew.do([("write", clock() + AHEAD, seconds, 1)])
        four = crew.do([("write", clock() + AHEAD, seconds, self.count)] * self.count)
        counts = [done for done, _ in four]
        if alone:
            figure = (alone[0][0] / alone[0][1]) / (sum(counts) / max(took for _, took in four))
        else:
            figure = statistics.mean(counts) / min(counts)
        both = [(0, 1, done) for done, _ in alone] + [(who, self.count, done) for who, done in enumerate(counts)]
        return figure, both

    def work(self, member: Member, order: Any) -> Any:
        if order[0] == "prepare":
            for count in {1, self.count} if member.who == 0 else {self.count}:
                writing(member, count)
            return None
        return write(member, *order[1:])

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        state = data.state_of(c)
        for who, count, done in result:
            replay(data, state, args["team"], who, count, done)
        if c.name != "dict":  # each process has its own
            expect_shared(cast(Sharer, c), args["m"], state, effort)


# -- a reader beside a writer ----------------------------------------------------------------------------------

READ = """
times, wrong = [], 0
add = times.append
while not times or clock() < end:
    for k in next(batches):
        start = clock()
        {read}
        add(clock() - start)
        wrong += r[:12] != k
return times, wrong
"""


class BesideWriter(ProcessRow):
    """The 99th percentile of a get's time while another process writes without a pause, over that of one that is alone.
    With private dicts, where the writer writes in its own, it is the machine's part in that."""

    name = "shared get beside a writer"
    title = "SharedMap: p99 of get beside a writer, over idle"
    group = "shared get beside a writer"
    unit = "x"
    count = 2
    goals = (Goal(3.0, "dict", note="(private ones)"),)

    def loop(self, case: Case) -> str:
        return READ + WRITE

    def together(self, crew: Crew, case: Case) -> tuple[float, Any]:
        seconds = self.seconds(case)
        alone = crew.do([("read", clock() + AHEAD, seconds)])[0]
        # The writer begins before the reader and ends after it.
        at = clock() + AHEAD
        beside, (done, _) = crew.do([("read", at, seconds), ("write", at - AHEAD // 2, seconds + AHEAD / 1e9)])
        return beside / alone, done

    def work(self, member: Member, order: Any) -> Any:
        ks = member.data.look_ups(member.data.n, same=False)
        mine = member.once("look-ups", lambda: itertools.cycle([ks[i : i + BATCH] for i in range(0, len(ks), BATCH)]))
        if order[0] == "prepare":
            writing(member, 1)
            return None
        what, at, seconds = order
        if what == "write":
            return write(member, at, seconds, 1)
        args = ("m", "batches", "clock", "end")
        times, wrong = member.run(READ, args, at, member.m, mine, clock, at + int(seconds * 1e9))
        expect_equal(wrong, 0, "the number of wrong values")
        return sorted(times)[len(times) * 99 // 100]

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        state = data.state_of(c)
        replay(data, state, args["team"], 0, 1, result)
        if c.name != "dict":
            expect_shared(cast(Sharer, c), args["m"], state, effort)


# -- YCSB ------------------------------------------------------------------------------------------------------

GET, PUT, INSERT, MODIFY = range(4)
MIXES = {  # this, so often; else that
    "A": (GET, 0.5, PUT),
    "B": (GET, 0.95, PUT),
    "C": (GET, 1.0, PUT),
    "D": (GET, 0.95, INSERT),
    "F": (GET, 0.5, MODIFY),
}
ZIPFIAN = 0.99
RUN = """
wrong = 0
start = clock()
for kind, k, v in work:
    if kind == 0:
        {read}
        wrong += r[:12] != k
    elif kind == 1:
        {put}
    elif kind == 2:
        {insert}
"""
RUN_MODIFY = """
    else:
        {modify}
"""
RUN_END = """
return start, clock(), wrong
"""
RUN_ARGS = ("m", "work", "clock", "more")


def more(old: bytes) -> bytes:
    """The value that counts one higher."""
    return old[:KEY] + b"%052d" % (int(old[KEY:]) + 1)


def operations(data: Data, mix: str, who: int, count: int, amount: int, turn: int) -> list[tuple[int, bytes, bytes]]:
    """(kind, key, value) of one process. Keys are drawn by Zipf's law, 1 / rank ** 0.99, ranks in a shuffled order; in D
    rank 0 is the entry put last, as far as this process knows. Turns alternate between two values for a key."""
    draw = random.Random(f"{data.seed} {mix} {who} {turn}")
    weights = data.once("zipf", lambda: list(itertools.accumulate((i + 1) ** -ZIPFIAN for i in range(data.n))))
    kind, part, other = MIXES[mix]
    ranks = draw.choices(range(data.n), cum_weights=weights, k=amount)
    out: list[tuple[int, bytes, bytes]] = []
    ks = data.shuffled_keys
    known = list(ks) if mix == "D" else ks
    for number, rank in enumerate(ranks):
        what = kind if draw.random() < part else other
        if what == INSERT:
            known.append(b"%012d" % (FIRST_KEY + data.n + count * (len(known) - data.n) + who))
            key = known[-1]
        else:
            key = known[len(known) - 1 - rank] if mix == "D" else ks[rank]
        unlike = (number * count + who) * 2 + turn % 2  # what nobody else writes, nor this one in the other turn
        out.append((what, key, key + b"%052d" % unlike if what in (PUT, INSERT) else b""))
    return out


class Ycsb(ProcessRow):
    """The mixes of the Yahoo! Cloud Serving Benchmark, by four processes at once: A half reads, half updates; B 95 % reads;
    C reads; D 95 % reads of the latest, inserts; F half reads, half read-modify-write, here one atomic step."""

    name = "shared YCSB"
    title = "SharedMap: YCSB by 4 processes"
    group = "shared YCSB"
    variants = tuple(MIXES)
    goals = (Goal(1.0, "lmdb"),)
    budget = 10.0

    def code(self, c: Contender, case: Case) -> str:
        if c.name == "dict":
            raise NotOffered("sharing")
        return super().code(c, case)

    def loop(self, case: Case) -> str:
        return RUN + (RUN_MODIFY if case.variant == "F" else "") + RUN_END

    def ops(self, c: Contender, case: Case) -> int:
        return self.count * self.amount(c, case)

    def amount(self, c: Contender, case: Case) -> int:
        """Of one process."""
        return max(50, case.n // 2 // cast(Sharer, c).part)

    def prepare(self, c: Contender, case: Case, data: Data) -> dict[str, Any]:
        team = self.team(c, data)
        turn = next(data.once(("turns", c.name), itertools.count)) % 2
        team.crew.do([("prepare", case, self.amount(c, case), turn)] * self.count)
        before = self._sum(cast(Sharer, c), team.m) if case.variant == "F" else 0
        return {"m": team.m, "team": team, "c": c, "case": case, "turn": turn, "before": before}

    def turn(self, run: Callable[..., Any], args: dict[str, Any], clock: Callable[[], int]) -> tuple[float, Any]:
        crew: Crew = args["team"].crew
        order = ("run", args["case"], self.amount(args["c"], args["case"]), args["turn"], time.perf_counter_ns() + AHEAD)
        found = crew.do([order] * self.count)
        return max(end for _, end, _ in found) - min(start for start, _, _ in found), found

    def work(self, member: Member, order: Any) -> Any:
        what, case, amount, turn, *at = order
        key = (case.variant, amount, turn)
        ops = member.once(key, lambda: operations(member.data, case.variant, member.who, self.count, amount, turn))
        if what == "prepare":
            return None
        found = member.run(self.loop(case), RUN_ARGS, at[0], member.m, ops, clock, more)
        expect_equal(found[2], 0, "the number of wrong values")
        return found

    def _sum(self, c: Sharer, m: Any) -> int:
        return sum(int(v[KEY:]) for v in c.home.contents(m).values())

    def check(self, c: Contender, case: Case, data: Data, args: dict[str, Any], result: Any, effort: int) -> None:
        sharer, m = cast(Sharer, c), args["m"]
        every = [
            op
            for who in range(self.count)
            for op in operations(data, case.variant, who, self.count, self.amount(c, case), args["turn"])
        ]
        if case.variant == "F":
            counted = self._sum(sharer, m) - args["before"]
            expect_equal(counted, sum(kind == MODIFY for kind, _, _ in every), "the sum of all counts")
        inserted = {k: v for kind, k, v in every if kind == INSERT}
        expect_equal(sharer.home.size(m), data.n + len(inserted), "the number of entries")
        written: dict[bytes, set[bytes]] = {}
        for kind, k, v in every:
            if kind in (PUT, INSERT):
                written.setdefault(k, set()).add(v)
        for k, vs in itertools.islice(written.items(), None if effort == FULL else SPOT):
            if (found := sharer.home.look(m, k)) not in vs:
                raise Mismatch(f"m[{k!r}] is {found!r}, which nobody has written in this turn")
        sharer.home.remove(m, list(inserted))


ROWS = (Writers, BesideWriter, Ycsb)
