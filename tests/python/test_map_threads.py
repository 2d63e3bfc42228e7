"""One Map, many threads: everybody reads it, derives from it and asks for its hash, with no lock of their own."""

from __future__ import annotations

import copy
import pickle
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import holdfast
from holdfast import Map
from support import FAMILIES, TORTURE, Key

THREADS = 4
ROUNDS = 40 * (50 if TORTURE else 1)


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(work: Callable[[int], None]) -> None:
    """Run work(0..THREADS-1) at the same time; the first error of any comes out here."""
    barrier = threading.Barrier(THREADS)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def contents(family: str, count: int) -> dict[Any, Any]:
    """Keys with methods in Python, so that threads change over in the middle of an operation."""
    return {Key(family, i): i for i in range(count)}


@pytest.mark.parametrize("family", FAMILIES)
def test_readers(family: str) -> None:
    count = 40 if family == "all 64 bits equal" else 300
    expected = contents(family, count)
    m = Map(expected)
    value = hash(frozenset(expected.items()))

    def work(number: int) -> None:
        for i in range(ROUNDS // 4):
            key = Key(family, (number * 7 + i) % count)
            assert m[key] == key.number
            assert Key(family, count + i) not in m
            assert len(list(m.items())) == count
            assert m == expected
            assert hash(m) == value
            assert m.keys() & {key} == {key}
            assert len(repr(m)) > count

    in_threads(work)
    m._check()


def test_writers_derive_from_one_map() -> None:
    expected = contents("low 10 equal", 200)
    m = Map(expected)

    def work(number: int) -> None:
        rng = random.Random(number)
        mine, model = m, dict(expected)
        for _ in range(ROUNDS):
            key = Key("low 10 equal", rng.randrange(300))
            kind = rng.randrange(4)
            if kind == 0:
                mine = mine.set(key, number)
                model[key] = number
            elif kind == 1:
                mine = mine.dissoc(key)
                model.pop(key, None)
            elif kind == 2:
                some = {Key("low 10 equal", rng.randrange(300)): number for _ in range(10)}
                mine = mine | some
                model |= some
            else:
                t = mine.mutate()
                t[key] = number
                t.pop(next(iter(t)), None)
                mine = t.finish()
                model = dict(mine)
        assert mine == model
        mine._check()

    in_threads(work)
    m._check()
    assert m == expected


def test_versions_handed_from_thread_to_thread() -> None:
    """Each thread publishes its newest version, and merges those of the others into its own."""
    base = Map(contents("two of a kind", 100))
    published: list[Map[Any, Any]] = [base] * THREADS

    def work(number: int) -> None:
        mine = base
        for i in range(ROUNDS):
            mine = mine.set(Key("two of a kind", 10**6 * (number + 1) + i), number)
            published[number] = mine
            other = published[(number + i) % THREADS]
            merged = Map.merge3(base, mine, other)
            assert len(merged) >= len(mine)
            assert mine | other == merged
            assert all(change.new == number or change.old is holdfast.MISSING for change in base.diff(mine))

    in_threads(work)
    everything = base.merge(*published)
    everything._check()
    assert len(everything) == 100 + THREADS * ROUNDS


def test_the_last_reference_dropped_by_any_thread() -> None:
    for _ in range(ROUNDS // 4):
        versions = [Map(contents("spread", 60))]
        for i in range(THREADS * 5):
            versions.append(versions[-1].set(Key("spread", i), [i]))

        def work(number: int) -> None:
            while True:
                try:
                    m = versions.pop()  # noqa: B023
                except IndexError:
                    return
                assert len(m) == 60
                del m

        in_threads(work)


def test_one_iterator_shared() -> None:
    """Which thread gets which item is open; each item comes out once."""
    m = Map({i: str(i) for i in range(5000)})
    iterator = iter(m.items())
    taken: list[list[Any]] = [[] for _ in range(THREADS)]

    def work(number: int) -> None:
        taken[number].extend(iterator)

    in_threads(work)
    assert sorted(item for items in taken for item in items) == sorted(m.items())


def test_copies_and_pickles() -> None:
    m = Map(contents("low 5 equal", 200)).set("list", [1])

    def work(number: int) -> None:
        for _ in range(ROUNDS // 10):
            assert pickle.loads(pickle.dumps(m)) == m
            assert copy.deepcopy(m) == m
            assert holdfast.footprint(m) > 0

    in_threads(work)


def test_one_transient_a_thread() -> None:
    m = Map(contents("low 60 equal", 100))

    def work(number: int) -> None:
        t = m.mutate()
        for i in range(ROUNDS * 5):
            t[Key("low 60 equal", i % 150)] = (number, i)
        done = t.finish()
        done._check()
        assert all(value[0] == number for value in done.values() if isinstance(value, tuple))

    in_threads(work)
    m._check()
    assert m == contents("low 60 equal", 100)
