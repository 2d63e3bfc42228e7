"""Cask against a dict: put, delete, batch, snapshot, fold, merge, expiry, reopening, readers in other processes."""

import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import holdfast
from holdfast import MISSING, Cask
from support import TORTURE

# Equal keys of several types, and enough of them that some are put again and some collide in a bucket.
KEYS = st.one_of(
    st.integers(0, 60),
    st.sampled_from([0.0, 1.0, True, False, 2.0, 1 + 0j, "1", b"1", "", None, (1, 2.0), (True, 2), frozenset({1})]),
    st.text("ab", max_size=3),
)
VALUES = st.one_of(
    st.integers(-3, 3), st.text(max_size=3), st.just("x" * 3000), st.lists(st.integers(0, 2), max_size=2), st.floats(0, 1)
)
# Small files and checkpoints, so that a few steps are enough to roll, freeze, fold and merge.
SMALL = [
    {"max_file_size": 4096, "checkpoint": 2048},
    {"max_file_size": 4096, "checkpoint": 2048, "background": False},
    {"max_file_size": 16384, "checkpoint": 65536, "sync": 0.001},
    {"max_file_size": 4096, "checkpoint": 4096, "sync": "put", "background": False},
    {"max_file_size": 8192, "keydir": "memory"},
    {"max_file_size": 4096, "checkpoint": 2048, "fragmentation_trigger": 1, "fragmentation_threshold": 1},
]
SHORT = 0.02  # a time to live that is over soon


def serve(pipe: Any) -> None:
    """Reads a cask for whoever asks, until it is told None."""
    cask: Cask[Any, Any] | None = None
    while (request := pipe.recv()) is not None:
        try:
            if cask is None:
                cask = Cask(request, mode="r")
            elif cask.path != request:
                cask.close()
                cask = Cask(request, mode="r")
            answer: Any = (len(cask), cask.copy(), dict(cask.snapshot().items()))
        except holdfast.HoldfastError as error:
            answer = type(error).__name__
        pipe.send(answer)
    if cask is not None:
        cask.close()


class Model(RuleBasedStateMachine):
    """One writer, what a dict would say, snapshots with what it said then, and two readers elsewhere."""

    @initialize(options=st.sampled_from(SMALL), merging=st.booleans())
    def start(self, options: dict[str, Any], merging: bool) -> None:
        self.folder = tempfile.mkdtemp(prefix="hf-pytest-cask-")
        self.options: dict[str, Any] = {"auto_merge": merging, "small_file_threshold": 512, **options}
        self.cask: Cask[Any, Any] = Cask(f"{self.folder}/cask", mode="x", **self.options)
        self.model: dict[Any, Any] = {}
        self.snapshots: list[tuple[holdfast.CaskSnapshot[Any, Any], dict[Any, Any]]] = []
        self.reader: Any = None

    def teardown(self) -> None:
        if not hasattr(self, "cask"):
            return
        self.end_snapshots()
        self.cask.close()
        if self.reader is not None:
            process, pipe = self.reader
            pipe.send(None)
            process.join(60)
            pipe.close()
        shutil.rmtree(self.folder)

    def end_snapshots(self) -> None:
        for snapshot, then in self.snapshots:
            assert snapshot == then and len(snapshot) == len(then)
            snapshot.close()
        self.snapshots.clear()

    def agree(self, do: Callable[[Any], object]) -> None:
        """The cask and the dict return, or raise, the same."""

        def outcome(target: object) -> object:
            try:
                return do(target)
            except (KeyError, TypeError) as error:
                return type(error), error.args if isinstance(error, KeyError) else ()

        assert outcome(self.cask) == outcome(self.model)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: Any, value: Any) -> None:
        self.agree(lambda d: d.__setitem__(key, value))

    @rule(key=KEYS)
    def remove(self, key: Any) -> None:
        self.agree(lambda d: d.__delitem__(key))

    @rule(key=KEYS)
    def delete(self, key: Any) -> None:
        assert self.cask.delete(key) == (self.model.pop(key, MISSING) is not MISSING)

    @rule(key=KEYS, value=VALUES)
    def look(self, key: Any, value: Any) -> None:
        self.agree(lambda d: (d.get(key, value), key in d, len(d), bool(d)))
        self.agree(lambda d: d[key])

    @rule(key=KEYS, value=VALUES, given=st.booleans())
    def pop(self, key: Any, value: Any, given: bool) -> None:
        self.agree(lambda d: d.pop(key, value) if given else d.pop(key))

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key: Any, value: Any) -> None:
        self.agree(lambda d: d.setdefault(key, value))

    @rule(entries=st.dictionaries(KEYS, VALUES, max_size=8), kind=st.integers(0, 3))
    def update(self, entries: dict[Any, Any], kind: int) -> None:
        if kind == 0:
            self.agree(lambda d: d.update(entries))
        elif kind == 1:
            self.agree(lambda d: d.update(list(entries.items()), a=1))
        elif kind == 2:
            self.agree(lambda d: d | entries)
        else:
            self.cask |= entries
            self.model |= entries

    @rule(steps=st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES)), max_size=12), dropped=st.booleans())
    def batch(self, steps: list[tuple[Any, Any]], dropped: bool) -> None:
        try:
            with self.cask.batch() as batch:
                for key, value in steps:
                    if value is None:
                        del batch[key]
                    else:
                        batch[key] = value
                if dropped:
                    raise LookupError
        except LookupError:
            return
        for key, value in steps:
            if value is None:
                self.model.pop(key, None)
            else:
                self.model[key] = value

    @rule()
    def popitem(self) -> None:
        if not self.model:
            self.agree(lambda d: d.popitem())
            return
        key, value = self.cask.popitem()
        assert self.model.pop(key) == value

    @rule()
    @precondition(lambda self: len(self.model) > 30)
    def clear(self) -> None:
        self.agree(lambda d: d.clear())

    @rule(keys=st.lists(KEYS, max_size=4), value=VALUES)
    def expire(self, keys: list[Any], value: Any) -> None:
        """What is put for a moment is there, and after it is not; whatever it replaced does not come back."""
        with self.cask.batch() as batch:
            for key in keys:
                batch.put(key, value, ttl=SHORT)
                self.model.pop(key, None)
        for key in keys:
            info = self.cask._info(key) if key in self.cask else None
            assert info is None or info[2] is not None
        # In an open snapshot what it has of them expires too, and nothing else.
        time.sleep(SHORT + 0.003)
        assert all(key not in self.cask for key in keys)

    @rule(key=KEYS, value=VALUES)
    def put_for_long(self, key: Any, value: Any) -> None:
        self.cask.put(key, value, ttl=3600)
        self.model[key] = value

    @rule()
    def fold(self) -> None:
        def add(key: Any, value: Any, acc: dict[Any, Any]) -> dict[Any, Any]:
            assert key not in acc
            return {**acc, key: value}

        start: dict[Any, Any] = {}
        assert self.cask.fold(add, start) == self.model

    @rule()
    @precondition(lambda self: len(self.snapshots) < 5)
    def snapshot(self) -> None:
        self.snapshots.append((self.cask.snapshot(), dict(self.model)))

    @rule(data=st.data())
    @precondition(lambda self: self.snapshots)
    def end_snapshot(self, data: st.DataObject) -> None:
        snapshot, then = self.snapshots.pop(data.draw(st.integers(0, len(self.snapshots) - 1)))
        assert snapshot == then and len(snapshot) == len(then)
        for key in then:
            assert snapshot[key] == then[key]
        snapshot.close()

    @rule()
    def sync(self) -> None:
        self.cask.sync()
        status = self.cask.status()
        assert status.synced == status.sequence

    @rule()
    def merge(self) -> None:
        try:
            self.cask.merge()
        except holdfast.BusyError:
            assert self.options["auto_merge"]

    @rule()
    def check(self) -> None:
        self.cask.check()

    @rule(data=st.data())
    def open_again(self, data: st.DataObject) -> None:
        self.end_snapshots()
        self.cask.close()
        lost = data.draw(st.sampled_from(["nothing", "nothing", "keydir", "hints", "both"]))
        for path in list(Path(self.cask.path).iterdir()):
            if (lost in ("keydir", "both") and path.name.startswith("keydir")) or (
                lost in ("hints", "both") and path.suffix == ".hint"
            ):
                path.unlink()
        self.options.update(data.draw(st.sampled_from(SMALL)))
        self.cask = Cask(self.cask.path, **self.options)

    @rule()
    def back_up(self) -> None:
        copy = f"{self.folder}/copy"
        self.cask.backup(copy)
        with Cask[Any, Any](copy, mode="r") as backup:
            assert backup == self.model
            backup.check()
        shutil.rmtree(copy)

    @rule()
    @precondition(lambda self: self.options.get("keydir") != "memory")
    def ask_the_reader(self) -> None:
        if self.reader is None:
            context: Any = multiprocessing.get_context("fork")
            mine, its = context.Pipe()
            process = context.Process(target=serve, args=(its,), daemon=True)
            process.start()
            its.close()
            self.reader = process, mine
        self.reader[1].send(self.cask.path)
        assert self.reader[1].recv() == (len(self.model), self.model, self.model)

    @invariant()
    def holds_what_the_dict_does(self) -> None:
        if not hasattr(self, "cask"):
            return
        assert len(self.cask) == len(self.model)
        assert dict(self.cask.items()) == self.model


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=1000 if TORTURE else 60, stateful_step_count=120 if TORTURE else 40)


# -- many writes, one by one, with everything at once ----------------------------------------------


@pytest.mark.parametrize("options", SMALL, ids=repr)
def test_a_long_life(tmp_path: Path, options: dict[str, Any], rng: random.Random) -> None:
    """Thousands of steps, merged all the while; opened again a few times."""
    model: dict[Any, Any] = {}
    for _ in range(4):
        with Cask[Any, Any](tmp_path / "cask", **options) as cask:
            assert cask == model
            for step in range(1500):
                key = rng.randrange(200)
                if rng.random() < 0.2:
                    assert cask.delete(key) == (model.pop(key, None) is not None)
                elif rng.random() < 0.1:
                    lot = {rng.randrange(200): "b" * rng.randrange(300) for _ in range(10)}
                    cask.update(lot)
                    model.update(lot)
                else:
                    cask[key] = model[key] = "x" * rng.randrange(300)
                if step % 100 == 0:
                    assert len(cask) == len(model) and cask.copy() == model
            if rng.random() < 0.5:
                cask.merge()
            status = cask.status()
            assert status.keys == len(model) and status.lost == 0
            cask.check()
