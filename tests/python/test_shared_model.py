"""SharedMap against a dict: one process with several handles, then one that drives worker processes."""

import multiprocessing
import random
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import holdfast
from holdfast import MISSING, SharedMap
from shared_support import unique_name
from support import TORTURE

# Equal keys of several types, and enough of them for nodes of several levels.
KEYS = st.one_of(
    st.integers(0, 60),
    st.sampled_from([0.0, 1.0, True, False, 2.0, 1 + 0j, "1", b"1", "", None, (1, 2.0), (True, 2), frozenset({1})]),
    st.text("ab", max_size=3),
)
VALUES = st.one_of(
    st.integers(-3, 3), st.text(max_size=3), st.just("x" * 5000), st.lists(st.integers(0, 2), max_size=2), st.floats(0, 1)
)


class Model(RuleBasedStateMachine):
    """Two handles of one map, transactions within each other, snapshots: and what a dict would say."""

    def __init__(self) -> None:
        super().__init__()
        name = unique_name()
        self.maps: list[SharedMap[Any, Any]] = [SharedMap(name, create=True), SharedMap(name, create=False)]
        self.model: dict[Any, Any] = {}
        self.within: list[tuple[ExitStack, dict[Any, Any]]] = []
        self.snapshots: list[tuple[holdfast.SharedSnapshot[Any, Any], dict[Any, Any]]] = []

    def teardown(self) -> None:
        while self.within:
            self.within.pop()[0].close()
        self.maps[0].unlink()
        for shared in self.maps:
            shared.close()
        for snapshot, then in self.snapshots:
            assert snapshot == then
            snapshot.close()

    def pick(self, number: int) -> "SharedMap[Any, Any]":
        """In a transaction, the one that has it: the other would see what was published last, and could not write."""
        return self.maps[0 if self.within else number]

    both = st.integers(0, 1)

    def agree(self, number: int, do: Callable[[Any], object]) -> None:
        """The map and the dict return, or raise, the same."""

        def outcome(target: object) -> object:
            try:
                return do(target)
            except (KeyError, TypeError) as error:
                return type(error), error.args if isinstance(error, KeyError) else ()

        assert outcome(self.pick(number)) == outcome(self.model)

    @rule(number=both, key=KEYS, value=VALUES)
    def put(self, number: int, key: Any, value: Any) -> None:
        self.agree(number, lambda d: d.__setitem__(key, value))

    @rule(number=both, key=KEYS)
    def remove(self, number: int, key: Any) -> None:
        self.agree(number, lambda d: d.__delitem__(key))

    @rule(number=both, key=KEYS, value=VALUES)
    def look(self, number: int, key: Any, value: Any) -> None:
        self.agree(number, lambda d: (d.get(key, value), key in d, len(d), bool(d)))
        self.agree(number, lambda d: d[key])

    @rule(number=both, key=KEYS, value=VALUES, given=st.booleans())
    def pop(self, number: int, key: Any, value: Any, given: bool) -> None:
        self.agree(number, lambda d: d.pop(key, value) if given else d.pop(key))

    @rule(number=both, key=KEYS, value=VALUES)
    def setdefault(self, number: int, key: Any, value: Any) -> None:
        self.agree(number, lambda d: d.setdefault(key, value))

    @rule(number=both, entries=st.dictionaries(KEYS, VALUES, max_size=8), kind=st.integers(0, 3))
    def update(self, number: int, entries: dict[Any, Any], kind: int) -> None:
        if kind == 0:
            self.agree(number, lambda d: d.update(entries))
        elif kind == 1:
            self.agree(number, lambda d: d.update(list(entries.items()), a=1))
        elif kind == 2:
            self.agree(number, lambda d: d | entries)
        else:
            shared = self.pick(number)
            shared |= entries
            self.model |= entries

    @rule(number=both)
    def popitem(self, number: int) -> None:
        if not self.model:
            self.agree(number, lambda d: d.popitem())
            return
        key, value = self.pick(number).popitem()
        assert self.model.pop(key) == value

    @rule(number=both)
    @precondition(lambda self: len(self.model) > 30)
    def clear(self, number: int) -> None:
        self.agree(number, lambda d: d.clear())

    @rule(number=both, key=KEYS, by=st.one_of(st.integers(-3, 3), st.integers(), st.just(2**63), st.floats(-1, 1)))
    def incr(self, number: int, key: Any, by: Any) -> None:
        shared, old = self.pick(number), self.model.get(key, 0)
        if isinstance(old, int | float):
            self.model[key] = old + by
            assert shared.incr(key, by) == old + by
        else:
            with pytest.raises(TypeError):
                shared.incr(key, by)

    @rule(number=both, key=KEYS, old=VALUES, new=VALUES, right=st.booleans(), gone=st.booleans())
    def compare_and_set(self, number: int, key: Any, old: Any, new: Any, right: bool, gone: bool) -> None:
        expected = self.model.get(key, MISSING) if right else old
        changed = self.pick(number).compare_and_set(key, expected, MISSING if gone else new)
        assert changed == (self.model.get(key, MISSING) == expected)
        if changed and gone:
            self.model.pop(key, None)
        elif changed:
            self.model[key] = new

    @rule(number=both, key=KEYS, value=VALUES)
    def update_with(self, number: int, key: Any, value: Any) -> None:
        assert self.pick(number).update_with(key, lambda old: [old], value) == [self.model.get(key, value)]
        self.model[key] = [self.model.get(key, value)]

    @rule()
    @precondition(lambda self: len(self.within) < 4)
    def begin(self) -> None:
        stack = ExitStack()
        stack.enter_context(self.maps[0].transaction())
        self.within.append((stack, dict(self.model)))

    @rule()
    @precondition(lambda self: self.within)
    def commit(self) -> None:
        self.within.pop()[0].close()

    @rule()
    @precondition(lambda self: self.within)
    def roll_back(self) -> None:
        stack, before = self.within.pop()
        stack.__exit__(LookupError, LookupError(), None)
        self.model = before

    @rule(number=both)
    @precondition(lambda self: not self.within and len(self.snapshots) < 6)
    def snapshot(self, number: int) -> None:
        self.snapshots.append((self.maps[number].snapshot(), dict(self.model)))

    @rule(data=st.data())
    @precondition(lambda self: self.snapshots)
    def diff(self, data: st.DataObject) -> None:
        (a, then), (b, now) = (data.draw(st.sampled_from(self.snapshots)) for _ in range(2))
        changes = a.diff(b)
        rebuilt = dict(then)
        for key, old, new in changes:
            assert then.get(key, MISSING) == old and now.get(key, MISSING) == new
            if new is MISSING:
                del rebuilt[key]
            else:
                rebuilt[key] = new
        assert rebuilt == now
        # 1 and 1.0 are different bytes, so a change may be of type alone.
        assert {change.key for change in changes} >= {
            key for key in then.keys() | now.keys() if then.get(key, MISSING) != now.get(key, MISSING)
        }

    @rule(data=st.data())
    @precondition(lambda self: self.snapshots)
    def end_snapshot(self, data: st.DataObject) -> None:
        snapshot, then = self.snapshots.pop(data.draw(st.integers(0, len(self.snapshots) - 1)))
        assert snapshot == then
        snapshot.close()

    @rule()
    @precondition(lambda self: not self.within)
    def open_again(self) -> None:
        name = self.maps[1].name
        self.maps[1].close()
        self.maps[1] = SharedMap(name, create=False)
        self.maps[0].check()

    @invariant()
    def holds_what_the_dict_does(self) -> None:
        shared = self.maps[0]
        assert len(shared) == len(self.model)
        found = dict(shared.items())
        assert found == self.model
        # The key that was put first stays.
        assert sorted(map(repr, found)) == sorted(map(repr, self.model))
        published = self.within[0][1] if self.within else self.model
        assert self.maps[1] == published


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=1000 if TORTURE else 60, stateful_step_count=120 if TORTURE else 40)


# -- several processes ----------------------------------------------------------------------------


def serve(shared: "SharedMap[Any, Any]", pipe: Any) -> None:
    """Does what it is told, a call at a time, until it is told None."""
    stack: list[ExitStack] = []
    while (request := pipe.recv()) is not None:
        name, args = request
        try:
            if name == "begin":
                stack.append(ExitStack())
                stack[-1].enter_context(shared.transaction())
                answer: Any = None
            elif name == "commit":
                answer = stack.pop().close()
            elif name == "abort":
                answer = stack.pop().__exit__(LookupError, LookupError(), None) or None
            elif name == "dict":
                answer = dict(shared)
            else:
                answer = getattr(shared, name)(*args)
        except (KeyError, holdfast.HoldfastError) as error:
            answer = (type(error).__name__, error.args if isinstance(error, KeyError) else ())
        pipe.send(answer)


class Workers(RuleBasedStateMachine):
    """Three processes that take turns, in any order, one of them perhaps in a transaction or killed in it."""

    count = 3

    @initialize()
    def start(self) -> None:
        self.context: Any = multiprocessing.get_context("fork")
        self.shared: SharedMap[Any, Any] = SharedMap(unique_name(), create=True, timeout=0)
        self.model: dict[Any, Any] = {}
        self.pending: dict[Any, Any] | None = None
        self.writer = 0
        self.workers: list[Any] = [self.spawn() for _ in range(self.count)]

    def spawn(self) -> Any:
        mine, its = self.context.Pipe()
        process = self.context.Process(target=serve, args=(self.shared, its), daemon=True)
        process.start()
        its.close()
        return process, mine

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        for process, pipe in self.workers:
            pipe.send(None)
            process.join(60)
            assert process.exitcode == 0
            pipe.close()
        self.shared.check()
        self.shared.unlink()
        self.shared.close()

    def ask(self, number: int, name: str, *args: Any) -> Any:
        pipe = self.workers[number][1]
        pipe.send((name, args))
        assert pipe.poll(60)
        return pipe.recv()

    which = st.integers(0, count - 1)

    def change(self, number: int, name: str, *args: Any, model: Callable[[dict[Any, Any]], Any]) -> None:
        if self.pending is not None and number != self.writer:
            assert self.ask(number, name, *args) == ("WaitTimeoutError", ())
            return
        target = self.model if self.pending is None else self.pending
        try:
            expected = model(target)
        except KeyError as error:
            expected = ("KeyError", error.args)
        assert self.ask(number, name, *args) == expected

    @rule(number=which, key=KEYS, value=VALUES)
    def put(self, number: int, key: Any, value: Any) -> None:
        self.change(number, "set", key, value, model=lambda d: d.__setitem__(key, value))

    @rule(number=which, key=KEYS)
    def remove(self, number: int, key: Any) -> None:
        self.change(number, "delete", key, model=lambda d: d.pop(key, self) is not self)

    @rule(number=which, entries=st.dictionaries(KEYS, VALUES, min_size=1))
    def update(self, number: int, entries: dict[Any, Any]) -> None:
        self.change(number, "update", entries, model=lambda d: d.update(entries))

    @rule(number=which, key=st.sampled_from(["n", "m"]), by=st.integers(0, 5))
    def incr(self, number: int, key: str, by: int) -> None:
        def add(d: dict[Any, Any]) -> int:
            d[key] = d.get(key, 0) + by
            return int(d[key])

        self.change(number, "incr", key, by, model=add)

    @rule(number=which)
    def read(self, number: int) -> None:
        inside = self.pending is not None and number == self.writer
        assert self.ask(number, "dict") == (self.pending if inside else self.model)
        assert self.ask(number, "size") == len((self.pending or {}) if inside else self.model)

    @rule(number=which)
    @precondition(lambda self: self.pending is None)
    def begin(self, number: int) -> None:
        assert self.ask(number, "begin") is None
        self.pending, self.writer = dict(self.model), number

    @rule(keep=st.booleans())
    @precondition(lambda self: self.pending is not None)
    def end(self, keep: bool) -> None:
        assert self.ask(self.writer, "commit" if keep else "abort") is None
        assert self.pending is not None
        self.model = self.pending if keep else self.model
        self.pending = None

    @rule(number=which)
    def kill(self, number: int) -> None:
        process, pipe = self.workers[number]
        process.kill()
        process.join(60)
        pipe.close()
        self.workers[number] = self.spawn()
        if self.pending is not None and number == self.writer:
            self.pending = None


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=200 if TORTURE else 15, stateful_step_count=60 if TORTURE else 30)


# -- at once --------------------------------------------------------------------------------------


def scatter(shared: "SharedMap[Any, Any]", seed: int) -> None:
    rng = random.Random(seed)
    for i in range(300):
        number = rng.randrange(20)
        if rng.random() < 0.5:
            shared.incr(("count", number))
        else:
            with shared.transaction():
                # The sum over all of these stays 0.
                a, b = rng.randrange(20), rng.randrange(20)
                shared["balance", a] = shared.get(("balance", a), 0) - i
                shared["balance", b] = shared.get(("balance", b), 0) + i
                if rng.random() < 0.1:
                    shared["half"] = seed
            while not shared.compare_and_set("tickets", tickets := shared.get("tickets", 0), tickets + 1):
                pass
        with shared.snapshot() as snapshot:
            assert sum(v for k, v in snapshot.items() if k[0] == "balance") == 0


def test_writers_at_once(open_map: Callable[..., "SharedMap[Any, Any]"]) -> None:
    shared = open_map(timeout=60)
    shared["tickets"] = 0
    context: Any = multiprocessing.get_context("fork")
    workers = [context.Process(target=scatter, args=(shared, seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert sum(v for k, v in shared.items() if k[0] == "count") + shared["tickets"] == 1200
    shared.check()
