"""incr, compare_and_set, update_with, transactions and savepoints, snapshots and differences: by one process."""

import gc
import math
from collections.abc import Iterator
from typing import Any

import pytest

import holdfast
from holdfast import MISSING, Change, SharedMap
from shared_support import OpenMap, in_thread

# -- incr -----------------------------------------------------------------------------------------


def test_incr(open_map: OpenMap) -> None:
    m = open_map()
    assert m.incr("n") == 1
    assert m.incr("n", 5) == 6
    assert m.incr("n", n=-7) == -1
    assert m.incr("f", 0.5) == 0.5
    assert m.incr("n", 0.25) == -0.75
    assert m.incr("t", True) == 1 and type(m["t"]) is int
    assert m["n"] == -0.75
    for start in (0, 1, -1, 2**63 - 1, -(2**63), 2**64, -(10**50)):
        for by in (0, 1, -1, 2**63 - 1, -(2**63), 10**50, -(2**64)):
            m["big"] = start
            assert m.incr("big", by) == start + by == m["big"]
            assert type(m["big"]) is int
    with pytest.raises(OverflowError):
        m.incr("huge", 10**400) and m.incr("huge", 0.5)


@pytest.mark.parametrize("value", [None, "1", b"1", True, [1], (1,), 1j])
def test_incr_of_what_is_no_number(open_map: OpenMap, value: object) -> None:
    m = open_map()
    m["k"] = value
    with pytest.raises(TypeError, match=f"'k' is of type '{type(value).__name__}'"):
        m.incr("k")
    assert m["k"] == value
    if value is not True:
        with pytest.raises(TypeError):
            m.incr("j", value)
    assert "j" not in m


# -- arguments ------------------------------------------------------------------------------------


def test_arguments_by_keyword(open_map: OpenMap) -> None:
    m = open_map()
    assert m.incr(key="n") == 1 and m.incr("n", n=4) == 5 and m.incr(n=-5, key="n") == 0
    assert m.compare_and_set("n", 0, new=1) and m.compare_and_set(new=2, key="n", old=1) and m["n"] == 2
    assert m.update_with(key="n", fn=lambda n: n + 1, default=0) == 3
    assert m.get("n", default=1) == 3 and m.snapshot().get("none", default=1) == 1


def test_arguments_that_are_wrong(open_map: OpenMap) -> None:
    """What is wrong is said of the class that the caller knows."""
    m: Any = open_map()
    s = m.snapshot()
    for call, text in (
        (lambda: m.incr(), r"^incr\(\) missing required argument 'key' \(pos 1\)$"),
        (lambda: m.incr(n=1), r"^incr\(\) missing required argument 'key' \(pos 1\)$"),
        (lambda: m.incr(1, 2, 3), r"^incr\(\) takes at most 2 arguments \(3 given\)$"),
        (lambda: m.incr(1, n=2, key=3), r"^incr\(\) takes at most 2 arguments \(3 given\)$"),
        (lambda: m.incr("j", m=1), r"^incr\(\) got an unexpected keyword argument 'm'$"),
        (lambda: m.incr("j", key=1), r"^incr\(\) got multiple values for argument 'key'$"),
        (lambda: m.compare_and_set("j", 1), r"^compare_and_set\(\) missing required argument 'new' \(pos 3\)$"),
        (lambda: m.compare_and_set("j", new=1), r"^compare_and_set\(\) missing required argument 'old' \(pos 2\)$"),
        (lambda: m.compare_and_set("j", 1, 2, 3), r"^compare_and_set\(\) takes at most 3 arguments \(4 given\)$"),
        (lambda: m.get(), r"^get\(\) missing required argument 'key' \(pos 1\)$"),
        (lambda: m.get(key="j"), r"^get\(\) got an unexpected keyword argument 'key'$"),
        (lambda: s.get("j", 1, 2), r"^get\(\) takes at most 2 arguments \(3 given\)$"),
        (lambda: m.delete(), r"^(holdfast\.)?SharedMap\.delete\(\) takes exactly one argument \(0 given\)$"),
        (lambda: m.size(1), r"^(holdfast\.)?SharedMap\.size\(\) takes no arguments \(1 given\)$"),
        (lambda: m.clear(all=True), r"^(holdfast\.)?SharedMap\.clear\(\) takes no keyword arguments$"),
        (lambda: s.diff(), r"^(holdfast\.)?SharedSnapshot\.diff\(\) takes exactly one argument \(0 given\)$"),
        (lambda: type(m).close(5), r"'holdfast\.SharedMap'"),
        (lambda: type(s)(), r"^cannot create 'SharedSnapshot' instances$"),
    ):
        with pytest.raises(TypeError, match=text) as caught:
            call()
        assert "Core" not in str(caught.value) and "_homes" not in str(caught.value)
    assert len(m) == 0


# -- compare_and_set ------------------------------------------------------------------------------


def test_compare_and_set(open_map: OpenMap) -> None:
    m = open_map()
    assert not m.compare_and_set("k", 1, 2)
    assert not m.compare_and_set("k", None, 2)
    assert m.compare_and_set("k", MISSING, 1)
    assert not m.compare_and_set("k", MISSING, 2)
    assert m.compare_and_set("k", 1.0, [1, {"a"}])
    assert m.compare_and_set("k", [True, {"a"}], None)
    assert m.compare_and_set("k", None, math.nan)
    assert not m.compare_and_set("k", math.nan, 1)
    m["k"] = 5
    assert m.compare_and_set("k", 5, MISSING)
    assert "k" not in m
    assert m.compare_and_set("k", MISSING, MISSING)
    assert len(m) == 0


def test_what_compares_may_use_the_map(open_map: OpenMap) -> None:
    m = open_map(timeout=5)
    m["k"] = 1
    rounds = []

    class Meddler:
        def __eq__(self, other: object) -> bool:
            rounds.append(other)
            if len(rounds) < 4:
                m["k"] = m["k"] + 1
            return True

        __hash__ = None  # type: ignore[assignment]

    assert m.compare_and_set("k", Meddler(), "done")
    assert rounds == [1, 2, 3, 4]
    assert m["k"] == "done"

    class Fails:
        def __eq__(self, other: object) -> bool:
            raise LookupError

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(LookupError):
        m.compare_and_set("k", Fails(), 1)

    class Closes:
        def __eq__(self, other: object) -> bool:
            m.close()
            return True

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(holdfast.ClosedError):
        m.compare_and_set("k", Closes(), 1)


# -- update_with ----------------------------------------------------------------------------------


def test_update_with(open_map: OpenMap) -> None:
    m = open_map()
    with pytest.raises(KeyError) as caught:
        m.update_with("k", lambda value: value)
    assert caught.value.args == ("k",)
    assert m.update_with("k", lambda value: [*value, 1], []) == [1]
    assert m.update_with("k", lambda value: [*value, 2]) == [1, 2]
    assert m.update_with("none", lambda value: value, None) is None
    assert m["none"] is None

    def inner(value: list[int]) -> list[int]:
        m["seen"] = value
        m["k"] = "overwritten"
        return value

    m.update_with("k", inner)
    assert m["k"] == m["seen"] == [1, 2]

    def fails(value: object) -> object:
        m["seen"] = 0
        raise LookupError

    with pytest.raises(LookupError):
        m.update_with("k", fails)
    with pytest.raises(TypeError):
        m.update_with("k", lambda value: lambda: value)
    assert m["k"] == m["seen"] == [1, 2]


# -- transactions ---------------------------------------------------------------------------------


def test_a_transaction_is_one_step(open_map: OpenMap) -> None:
    m = open_map()
    version = m.stats().version
    with m.transaction() as inside:
        assert inside is m
        m["a"] = 1
        m["b"] = m.incr("a")
        m.update(c=3, d=4)
        del m["d"]
        assert in_thread(lambda: dict(m)) == {}
        assert m.snapshot() == {}
        assert sorted(m.items()) == [("a", 2), ("b", 2), ("c", 3)]
        assert len(m) == 3 and m.popitem()[0] in "abc" and m.setdefault("e", 5) == 5 and m.setdefault("e", 6) == 5
        m["b"] = 2
        assert m.compare_and_set("e", 5, 6)
    assert m.stats().version == version + 1
    assert m["e"] == 6


def test_an_exception_rolls_back(open_map: OpenMap) -> None:
    m = open_map()
    m["a"] = 1
    for error in (LookupError, KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(error):
            with m.transaction():
                m.clear()
                m["b"] = 1
                raise error
        assert m == {"a": 1}


def test_transactions_nest(open_map: OpenMap) -> None:
    m = open_map()
    with m.transaction():
        m["a"] = 1
        with pytest.raises(LookupError):
            with m.transaction():
                m["a"] = 2
                m[True] = 2
                with m.transaction():
                    m.clear()
                    m["b"] = 3
                assert m == {"b": 3}
                raise LookupError
        assert m == {"a": 1}
        with m.transaction():
            m["c"] = 4
        assert in_thread(lambda: len(m)) == 0
    assert m == {"a": 1, "c": 4}
    depth = 0

    def deeper() -> None:
        nonlocal depth
        with m.transaction():
            m["depth"] = depth
            depth += 1
            if depth < 300:
                deeper()

    deeper()
    assert m["depth"] == 299


def test_iteration_in_a_transaction_sees_its_writes(open_map: OpenMap) -> None:
    m = open_map()
    m.update({i: str(i) for i in range(100)})
    with m.transaction():
        m[True] = "one"
        m[100] = "100"
        del m[0]
        seen = []
        for key, value in m.items():
            seen.append(key)
            m[key] = value + "!"
            m[key + 1000] = ""
        assert sorted(seen) == list(range(1, 101))
        iterator = iter(m.values())
    assert len(list(iterator)) == 200
    assert m[1] == "one!"


def test_an_update_that_fails_in_a_transaction_is_undone_alone(open_map: OpenMap) -> None:
    m = open_map(max_size=4 << 20)
    with m.transaction():
        m["a"] = 1
        with pytest.raises(holdfast.FullError):
            m.update({i: "x" * 10000 for i in range(1000)})
        assert m == {"a": 1}
        m["b"] = 2
    assert m == {"a": 1, "b": 2}
    m.check()


def test_updates_of_one_entry_are_without_number_in_a_transaction(open_map: OpenMap) -> None:
    m = open_map()
    with m.transaction():
        for i in range(17_000):
            m.update({"k": i})
    assert m == {"k": 16_999}


def test_a_transaction_that_fills_the_map_is_rolled_back(open_map: OpenMap) -> None:
    m = open_map(max_size=4 << 20)
    m["a"] = 1
    with pytest.raises(holdfast.FullError):
        with m.transaction():
            for i in range(10**6):
                m[i] = "x" * 10000
    assert m == {"a": 1}
    m["b"] = 2
    m.check()


def test_transactions_used_wrongly(open_map: OpenMap) -> None:
    m = open_map(timeout=0.05)
    outer, inner = m.transaction(), m.transaction()
    with pytest.raises(holdfast.TransactionError, match="has not begun"):
        outer.__exit__(None, None, None)
    outer.__enter__()
    with pytest.raises(holdfast.TransactionError, match="has begun already"):
        outer.__enter__()
    m["a"] = 1
    error = in_thread(lambda: outer.__exit__(None, None, None))
    assert isinstance(error, holdfast.TransactionError) and "another thread's" in str(error)
    with pytest.raises(holdfast.BusyError, match="in a transaction"):
        m.close()
    with pytest.raises(holdfast.BusyError, match="in a transaction"):
        m.check()
    inner.__enter__()
    m["b"] = 1
    with pytest.raises(holdfast.TransactionError, match="within this one has not ended"):
        outer.__exit__(None, None, None)
    assert m == {}
    with pytest.raises(holdfast.TransactionError, match="rolled back already"):
        inner.__exit__(None, None, None)
    with pytest.raises(holdfast.TransactionError, match="has not begun"):
        inner.__exit__(None, None, None)
    with outer:
        m["c"] = 1
    assert in_thread(lambda: m.incr("c")) == 2


def test_one_thread_with_two_handles(open_map: OpenMap) -> None:
    m = open_map()
    other = open_map(m.name)
    with m.transaction():
        m["a"] = 1
        with pytest.raises(holdfast.BusyError, match="through another SharedMap"):
            other["a"] = 2
        with pytest.raises(holdfast.BusyError, match="through another SharedMap"):
            other.transaction().__enter__()
        assert "a" not in other
    assert other["a"] == 1


def test_a_transaction_that_is_dropped_is_aborted(open_map: OpenMap) -> None:
    m = open_map(timeout=5)
    m.transaction().__enter__()
    m["a"] = 1
    # CPython has dropped it at once: what came after it was on its own.
    assert in_thread(lambda: m["a"]) == 1

    def generator() -> Iterator[int]:
        with m.transaction():
            m["b"] = 1
            yield 1

    it = generator()
    next(it)
    assert m["b"] == 1
    del it
    gc.collect()
    assert m == {"a": 1}


def test_a_generator_that_another_thread_collects(open_map: OpenMap) -> None:
    m = open_map(timeout=5)

    def generator() -> Iterator[int]:
        with m.transaction():
            m["lost"] = 1
            yield 1

    it = generator()
    next(it)
    error = in_thread(it.close)
    assert isinstance(error, holdfast.TransactionError) and "another thread's" in str(error)
    del it, error
    gc.collect()
    # Its own thread is rid of it when it uses the map again.
    assert "lost" not in m
    m["a"] = 1
    assert in_thread(lambda: m.set("b", 2)) is None
    assert m == {"a": 1, "b": 2}


def test_a_thread_that_ends_in_a_transaction(open_map: OpenMap) -> None:
    m = open_map(timeout=5)
    left = []

    def work() -> None:
        transaction = m.transaction()
        left.append(transaction)
        transaction.__enter__()
        m["lost"] = 1

    assert in_thread(work) is None
    m["a"] = 1
    with m.transaction():
        m["b"] = 1
    assert m == {"a": 1, "b": 1}
    with pytest.raises(holdfast.TransactionError):
        left[0].__exit__(None, None, None)
    assert m.stats().writers_died == 1


def test_a_close_by_another_thread_in_a_transaction(open_map: OpenMap) -> None:
    m = open_map()
    other = open_map(m.name)
    with pytest.raises(holdfast.ClosedError):
        with m.transaction():
            m["a"] = 1
            assert in_thread(m.close) is None
            m["b"] = 1
    with pytest.raises(holdfast.ClosedError):
        with m.transaction():
            pass
    other["c"] = 1
    assert other == {"c": 1}


# -- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_never_changes(open_map: OpenMap) -> None:
    m = open_map()
    m.update(a=1, b=[2])
    with m.snapshot() as s:
        m.clear()
        m["a"] = 5
        m.close()
        assert s == {"a": 1, "b": [2]} == s.copy() and {"a": 1, "b": [2]} == s
        assert (s["a"], s.get("b"), s.get("c"), s.get("c", 1), s.get("c", default=2)) == (1, [2], None, 1, 2)
        assert "a" in s and "c" not in s and len(s) == 2 and sorted(s) == ["a", "b"]
        assert s.keys() == {"a", "b"} and ("a", 1) in s.items() and [2] in s.values()
        assert repr(s) == f"<SharedSnapshot of {m.name!r}: 2 entries>"
        assert s.name == m.name and not s.closed
        with pytest.raises(KeyError):
            s["c"]
        with pytest.raises(TypeError):
            s["c"] = 1  # type: ignore[index]
        iterator = iter(s.items())
    assert s.closed
    s.close()
    assert len(list(iterator)) == 2
    assert repr(s) == f"<SharedSnapshot of {m.name!r}: closed>"
    for attempt in (
        lambda: s["a"], lambda: len(s), lambda: list(s), lambda: "a" in s, lambda: s.version, lambda: s.diff(s),
    ):  # fmt: skip
        with pytest.raises(holdfast.ClosedError, match="closed snapshot"):
            attempt()


def test_snapshots_are_not_made_by_hand(open_map: OpenMap) -> None:
    m = open_map()
    with pytest.raises(TypeError):
        holdfast.SharedSnapshot()
    with pytest.raises(TypeError, match="class of snapshots"):
        m._snapshot(int)
    import pickle

    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(m.snapshot())


def test_diff(open_map: OpenMap) -> None:
    m = open_map()
    m.update({i: i for i in range(1000)})
    before = m.snapshot()
    assert before.diff(before) == before.diff(m.snapshot()) == []
    m[5] = "five"
    m[6] = 6
    del m[7]
    m[True] = "one"
    m["new"] = None
    after = m.snapshot()
    assert after.version > before.version
    changes = before.diff(after)
    assert all(type(change) is Change for change in changes)
    assert sorted(changes, key=repr) == sorted(
        [Change(5, 5, "five"), Change(7, 7, MISSING), Change(1, 1, "one"), Change("new", MISSING, None)], key=repr
    )
    assert sorted(after.diff(before), key=repr) == sorted(
        [Change(change.key, change.new, change.old) for change in changes], key=repr
    )
    other = open_map()
    with pytest.raises(ValueError, match="two snapshots of one map"):
        before.diff(other.snapshot())
    with pytest.raises(TypeError, match="not 'dict'"):
        before.diff({})
    again = open_map(m.name)
    with again.snapshot() as same:
        assert after.diff(same) == []
        assert sorted(before.diff(same), key=repr) == sorted(changes, key=repr)


def test_a_leaked_snapshot_is_ended_by_the_collector(open_map: OpenMap) -> None:
    m = open_map()
    m.update({i: "x" * 100 for i in range(1000)})
    kept: list[object] = []

    def work(keep: bool) -> int:
        for i in range(300):
            if keep:
                kept.append(m.snapshot())
                kept.append(iter(m.items()))
            m.update({key: str(i) * 30 for key in range(0, 1000, 7)})
        return m.stats().size

    idle = work(False)
    grown = work(True)
    assert grown > idle + (1 << 20)
    kept.clear()
    gc.collect()
    # As many versions again would take as much again.
    assert work(False) < grown + (1 << 20)


def test_update_with_as_often_as_one_likes_in_a_transaction(open_map: OpenMap) -> None:
    m = open_map()
    with m.transaction():
        for _ in range(17_000):
            m.update_with("n", lambda n: n + 1, 0)
    assert m["n"] == 17_000
    with m.transaction():
        with pytest.raises(ZeroDivisionError):
            m.update_with("n", lambda n: n // 0)
        assert m["n"] == 17_000
        with pytest.raises(KeyError):
            m.update_with("none", lambda n: n)
