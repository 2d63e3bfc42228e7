"""TransientMap: a MutableMapping over a Map that it never changes."""

from __future__ import annotations

import collections.abc
import copy
import gc
import operator
import pickle
import weakref
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

from holdfast import Map, TransientMap, footprint
from support import Key

ABC = {"a": 1, "b": 2, "c": 3}


@pytest.fixture
def m() -> Map[str, int]:
    return Map(ABC)


def test_edits_do_not_reach_the_map(m: Map[str, int]) -> None:
    t = m.mutate()
    t["a"] = 9
    t["d"] = 4
    del t["b"]
    assert t == {"a": 9, "c": 3, "d": 4}
    assert m == ABC
    done = t.finish()
    assert type(done) is Map
    assert done == {"a": 9, "c": 3, "d": 4}
    assert m == ABC
    done._check()
    m._check()


@pytest.mark.parametrize("size", [0, 1, 20, 1000, 20_000])
def test_many_edits(size: int) -> None:
    source = {i: str(i) for i in range(size)}
    m = Map(source)
    t = m.mutate()
    for i in range(0, size, 2):
        t[i] = "even"
    for i in range(0, size, 3):
        del t[i]
    for i in range(size, size + size // 2):
        t[i] = "new"
    expected = {
        i: "new" if i >= size else "even" if i % 2 == 0 else str(i) for i in range(size + size // 2) if i >= size or i % 3
    }
    assert len(t) == len(expected)
    assert t == expected
    done = t.finish()
    done._check()
    assert done == expected
    assert m == source
    m._check()


def test_a_second_transient_starts_from_what_the_first_left() -> None:
    first = Map({i: i for i in range(500)})
    second = first.mutate()
    for i in range(500):
        second[i] = -i
    between = second.finish()
    third = between.mutate()
    for i in range(0, 500, 2):
        third[i] = "third"
    last = third.finish()
    assert first == {i: i for i in range(500)}
    assert between == {i: -i for i in range(500)}
    assert last == {i: "third" if i % 2 == 0 else -i for i in range(500)}


@pytest.mark.parametrize("size", [1, 40, 3000])
def test_nodes_that_became_the_transients_own(size: int) -> None:
    """With its map gone, a transient edits that map's nodes in place: what they remember of it must go, too."""
    m: Any = Map({i: i for i in range(size)})
    hash(m)
    t = m.mutate()
    del m
    expected: dict[int, Any] = {i: i for i in range(size)}
    for i in range(0, size, 7):
        t[i] = expected[i] = "changed"
    t[size] = expected[size] = "new"
    done = t.finish()
    done._check()
    assert done == expected
    assert hash(done) == hash(frozenset(expected.items()))
    t = done.mutate()
    del done
    for i in range(0, size, 5):
        del t[i], expected[i]
    t["list"] = expected["list"] = []  # type: ignore[index]
    assert t.finish() == expected


def test_two_transients_of_one_map() -> None:
    m = Map({i: i for i in range(300)})
    one, two = m.mutate(), m.transient()
    for i in range(300):
        one[i] = "one"
        two[i] = "two"
    assert one.finish() == dict.fromkeys(range(300), "one")
    assert two.persistent() == dict.fromkeys(range(300), "two")
    assert m == {i: i for i in range(300)}


def test_union_with_a_transients_result_while_it_shares(m: Map[Any, Any]) -> None:
    big = Map({i: i for i in range(1000)})
    t = big.mutate()
    t.update(big.set(5, "five"))
    t[6] = "six"
    assert big[6] == 6
    assert t.finish() == {**big, 5: "five", 6: "six"}


class TestAsADict:
    def test_read(self, m: Map[str, int]) -> None:
        t = m.mutate()
        assert len(t) == 3 and bool(t)
        assert t["a"] == 1
        assert t.get("a") == 1 and t.get("z") is None and t.get("z", 5) == 5
        assert "a" in t and "z" not in t
        assert sorted(t) == ["a", "b", "c"]
        assert dict(t) == ABC
        assert {**t} == ABC
        with pytest.raises(KeyError) as caught:
            t["z"]
        assert caught.value.args == ("z",)

    def test_delete(self, m: Map[str, int]) -> None:
        t = m.mutate()
        del t["a"]
        with pytest.raises(KeyError) as caught:
            del t["a"]
        assert caught.value.args == ("a",)
        assert t.delete("a") is t
        assert t.delete("b") is t
        assert t == {"c": 3}

    def test_set_and_delete_chain(self, m: Map[str, int]) -> None:
        assert m.mutate().set("d", 4).delete("a").set("b", 0).finish() == {"b": 0, "c": 3, "d": 4}

    def test_pop(self, m: Map[Any, Any]) -> None:
        t = m.mutate()
        assert t.pop("a") == 1
        assert t.pop("a", None) is None
        assert t.pop("b", 9) == 2
        with pytest.raises(KeyError) as caught:
            t.pop("a")
        assert caught.value.args == ("a",)
        with pytest.raises(TypeError):
            t.pop("a", 1, 2)  # type: ignore[call-overload]
        assert t == {"c": 3}

    def test_popitem(self) -> None:
        source = {i: str(i) for i in range(300)}
        t = Map(source).mutate()
        taken = {}
        for left in range(299, -1, -1):
            key, value = t.popitem()
            taken[key] = value
            assert len(t) == left
            assert key not in t
        assert taken == source
        with pytest.raises(KeyError):
            t.popitem()

    def test_setdefault(self, m: Map[Any, Any]) -> None:
        t = m.mutate()
        assert t.setdefault("a", 9) == 1
        assert t.setdefault("d", 4) == 4
        assert t.setdefault("e") is None
        assert t == {**ABC, "d": 4, "e": None}

    @pytest.mark.parametrize(
        "source",
        [
            {"a": 9, "d": 4},
            Map(a=9, d=4),
            OrderedDict(a=9, d=4),
            UserDict(a=9, d=4),
            ChainMap({"a": 9}, {"d": 4}),
            MappingProxyType({"a": 9, "d": 4}),
            [("a", 9), ("d", 4)],
            (["a", 9], ["d", 4]),
        ],
        ids=lambda source: type(source).__name__,
    )
    def test_update(self, m: Map[Any, Any], source: Any) -> None:
        expected = {**ABC, "a": 9, "d": 4}
        t = m.mutate()
        assert t.update(source) is None  # type: ignore[func-returns-value]
        assert t == expected
        t = u = m.mutate()
        t |= source
        assert t is u
        assert t == expected
        t = m.mutate()
        t.update(source, d=5, self=6)
        assert t == {**expected, "d": 5, "self": 6}

    def test_update_from_transients(self, m: Map[Any, Any]) -> None:
        t = m.mutate()
        t.update(Map(x=1).mutate())
        assert t == {**ABC, "x": 1}
        t.update(t)
        t |= t
        assert t == {**ABC, "x": 1}
        assert Map(t) == {**ABC, "x": 1}
        assert Map().update(t) == {**ABC, "x": 1}
        assert dict(t) == {**ABC, "x": 1}

    def test_a_failed_update_does_all_of_an_entry_or_none(self, m: Map[Any, Any]) -> None:
        def failing() -> Iterator[tuple[str, int]]:
            yield "a", 9
            raise ZeroDivisionError

        t = m.mutate()
        with pytest.raises(ZeroDivisionError):
            t.update(failing())
        assert dict(t) in (ABC, {**ABC, "a": 9})  # a dict keeps what came before the error
        with pytest.raises(TypeError):
            t.update(5)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="element #0 has length 3"):
            t.update([(1, 2, 3)])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            t |= 5
        assert m == ABC

    def test_clear(self, m: Map[str, int]) -> None:
        t = m.mutate()
        t.clear()
        assert len(t) == 0 and list(t) == [] and t == {}
        t["x"] = 1
        assert t.finish() == {"x": 1}
        assert m == ABC

    def test_compare(self, m: Map[str, int]) -> None:
        t = m.mutate()
        for other in (ABC, m, m.mutate(), OrderedDict(ABC), MappingProxyType(ABC), UserDict(ABC), t):
            assert t == other and other == t
            assert not t != other
        for other in ({}, {**ABC, "a": 0}, Map(), Map(a=1).mutate(), 5, None, [("a", 1)]):
            assert t != other and other != t
        with pytest.raises(TypeError, match="unhashable type"):
            hash(t)

    def test_unhashable_keys(self, m: Map[Any, Any]) -> None:
        t = m.mutate()
        calls: list[Callable[[], Any]] = [
            lambda: t[[]],
            lambda: [] in t,
            lambda: t.get([]),
            lambda: operator.setitem(t, [], 1),
            lambda: operator.delitem(t, []),
            lambda: t.set([], 1),
            lambda: t.delete([]),
            lambda: t.pop([]),
            lambda: t.pop([], 1),
            lambda: t.setdefault([], 1),
            lambda: t.update([([], 1)]),
        ]
        for call in calls:
            with pytest.raises(TypeError, match="unhashable type: 'list'"):
                call()
        assert t.finish() == ABC

    def test_live_views(self, m: Map[str, int]) -> None:
        t = m.mutate()
        keys, values, items = t.keys(), t.values(), t.items()
        assert isinstance(keys, collections.abc.KeysView)
        assert isinstance(values, collections.abc.ValuesView)
        assert isinstance(items, collections.abc.ItemsView)
        t["d"] = 4
        del t["a"]
        assert sorted(keys) == ["b", "c", "d"]
        assert sorted(values) == [2, 3, 4]
        assert sorted(items) == [("b", 2), ("c", 3), ("d", 4)]
        assert len(keys) == len(values) == len(items) == 3
        assert "d" in keys and "a" not in keys
        assert 4 in values and 1 not in values
        assert ("d", 4) in items and ("a", 1) not in items
        assert keys & {"b", "z"} == {"b"}
        assert keys == {"b", "c", "d"}
        assert items - {("b", 2)} == {("c", 3), ("d", 4)}

    def test_a_mutable_mapping(self, m: Map[str, int]) -> None:
        t = m.mutate()
        assert isinstance(t, collections.abc.MutableMapping)
        assert not isinstance(t, collections.abc.Hashable)
        match t:
            case {"a": 1, **rest}:
                assert rest == {"b": 2, "c": 3}
            case _:
                pytest.fail("a transient is a mapping")
        with pytest.raises(TypeError, match="not reversible"):
            reversed(t)  # type: ignore[arg-type]

    def test_the_first_key_stays(self) -> None:
        t: TransientMap[Any, Any] = Map({1: "a"}).mutate()
        t[True] = "b"
        t.update({1.0: "c"})
        assert [(type(k), v) for k, v in t.items()] == [(int, "c")]


class TestLife:
    def test_finish_is_idempotent(self, m: Map[str, int]) -> None:
        t = m.mutate()
        t["d"] = 4
        done = t.finish()
        assert t.finish() is done
        assert t.persistent() is done

    def test_nothing_changed(self, m: Map[str, int]) -> None:
        t = m.mutate()
        t["a"] = m["a"]
        t.delete("z")
        t.pop("z", None)
        t.update({})
        done = t.finish()
        assert done == m
        assert footprint(m, done) - footprint(m) <= 100  # the root is the same one

    def test_context_manager(self, m: Map[str, int]) -> None:
        with m.mutate() as t:
            assert isinstance(t, TransientMap)
            t["d"] = 4
        assert t.finish() == {**ABC, "d": 4}
        with m.mutate() as t:
            t["d"] = 4
            done = t.finish()
        assert t.finish() is done
        with pytest.raises(ZeroDivisionError), m.mutate() as t:
            t["d"] = 4
            1 / 0  # noqa: B018
        assert t.finish() == {**ABC, "d": 4}
        with pytest.raises(ValueError, match="TransientMap is finished"), t:
            pytest.fail("a finished transient cannot be entered")

    CALLS: list[Callable[[Any], Any]] = [
        lambda t: t["a"],
        lambda t: operator.setitem(t, "a", 1),
        lambda t: operator.delitem(t, "a"),
        lambda t: "a" in t,
        len,
        iter,
        list,
        dict,
        lambda t: t.get("a"),
        lambda t: t.get("z", 1),
        lambda t: t.set("a", 1),
        lambda t: t.delete("z"),
        lambda t: t.pop("a"),
        lambda t: t.pop("z", 1),
        lambda t: t.popitem(),
        lambda t: t.setdefault("a", 1),
        lambda t: t.update({}),
        lambda t: t.update(a=1),
        lambda t: t.clear(),
        lambda t: operator.ior(t, {}),
        lambda t: t == {},
        lambda t: t != {},
        lambda t: list(t.keys()),
        lambda t: list(t.values()),
        lambda t: list(t.items()),
    ]

    @pytest.mark.parametrize("call", range(len(CALLS)))
    def test_after_finish(self, m: Map[str, int], call: int) -> None:
        t = m.mutate()
        t["d"] = 4
        done = t.finish()
        with pytest.raises(ValueError, match="TransientMap is finished"):
            self.CALLS[call](t)
        assert t.finish() is done
        assert done == {**ABC, "d": 4}

    def test_views_and_iterators_after_finish(self, m: Map[str, int]) -> None:
        t = m.mutate()
        views = [t.keys(), t.values(), t.items()]
        iterators = [iter(t), *map(iter, views)]
        for iterator in iterators:
            next(iterator)
        t.finish()
        for view in views:
            with pytest.raises(ValueError, match="TransientMap is finished"):
                len(view)
            with pytest.raises(ValueError, match="TransientMap is finished"):
                list(view)
        for iterator in iterators:
            with pytest.raises((ValueError, RuntimeError)):
                next(iterator)

    def test_repr(self, m: Map[str, int]) -> None:
        assert repr(Map(a=1).mutate()) == "holdfast.TransientMap({'a': 1})"
        assert repr(Map().mutate()) == "holdfast.TransientMap()"
        t: TransientMap[str, Any] = Map(a=1).mutate()
        t["a"] = t
        assert repr(t) == "holdfast.TransientMap({'a': holdfast.TransientMap(...)})"
        t.clear()
        t.finish()
        assert repr(t) == "<holdfast.TransientMap finished>"

    def test_not_made_by_hand_not_copied_by_accident(self, m: Map[str, int]) -> None:
        with pytest.raises(TypeError):
            TransientMap()
        with pytest.raises(TypeError):
            object.__new__(TransientMap)
        t = m.mutate()
        # A copy that shared its nodes would be changed with it.
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                duplicate(t)

    def test_attributes(self, m: Map[str, int]) -> None:
        t = m.mutate()
        with pytest.raises(AttributeError):
            t.x = 1  # type: ignore[attr-defined]
        reference = weakref.ref(t)
        del t
        gc.collect()
        assert reference() is None

    def test_values_are_let_go_with_it(self) -> None:
        class Value: ...

        value = Value()
        reference = weakref.ref(value)
        t = Map({i: i for i in range(100)}).mutate()
        t["x"] = value
        del value
        t["x"] = None
        assert reference() is None
        value = Value()
        reference = weakref.ref(value)
        t["x"] = value
        del value, t
        assert reference() is None


class TestIteration:
    @pytest.mark.parametrize("name", ["__iter__", "keys", "values", "items"])
    @pytest.mark.parametrize(
        "edit",
        [
            lambda t: t.set("new", 1),
            lambda t: t.delete(50),
            lambda t: t.popitem(),
            lambda t: t.clear(),
            lambda t: t.update(new=1),
            lambda t: t.pop(50),
            lambda t: t.setdefault("new"),
            lambda t: [t.set("new", 1), t.delete(50)],
        ],
    )
    def test_a_changed_set_of_keys_is_an_error(self, name: str, edit: Any) -> None:
        t: TransientMap[Any, Any] = Map({i: i for i in range(100)}).mutate()
        iterator = iter(getattr(t, name)())
        for _ in range(10):
            next(iterator)
        edit(t)
        with pytest.raises(RuntimeError, match="TransientMap .*changed.* during iteration"):
            next(iterator)
        with pytest.raises((RuntimeError, StopIteration)):
            next(iterator)
        assert len(list(t)) == len(t)

    def test_values_may_be_replaced(self) -> None:
        """As in a dict: `for k in t: t[k] = ...` is common, and no key moves."""
        for size in (1, 10, 100, 5000):
            t: TransientMap[int, int] = Map({i: i for i in range(size)}).mutate()
            seen = []
            for key in t:
                t[key] = -t[key]
                seen.append(key)
            assert sorted(seen) == list(range(size))
            assert t.finish() == {i: -i for i in range(size)}

    @pytest.mark.parametrize("name", ["__iter__", "keys", "values", "items"])
    def test_values_of_another_kind_may_take_their_place(self, name: str) -> None:
        """Containers live in other nodes than numbers, so here nodes give way that the iterator is in."""
        for size in (1, 10, 100, 5000):
            t: TransientMap[int, Any] = Map({i: i for i in range(size)}).mutate()
            for i in range(size):
                t[i] = i + 1  # by now every node is the transient's own
            seen = 0
            for _ in getattr(t, name)():
                for key in (seen, size - 1 - seen):
                    t[key] = [key]
                seen += 1
            assert seen == size
            assert t.finish() == {i: [i] for i in range(size)}

    def test_an_iterator_of_collided_keys(self) -> None:
        t = Map({Key("all 64 bits equal", i): i for i in range(20)}).mutate()
        with pytest.raises(RuntimeError, match="changed"):
            for key in t:
                t.delete(key)

    def test_length_hint(self) -> None:
        t = Map({i: i for i in range(10)}).mutate()
        iterator = iter(t)
        assert operator.length_hint(iterator) == 10
        next(iterator)
        assert operator.length_hint(iterator) == 9

    def test_a_finished_iterator_stays_finished(self) -> None:
        t = Map(a=1).mutate()
        iterator = iter(t)
        assert list(iterator) == ["a"]
        t["b"] = 2
        with pytest.raises(StopIteration):
            next(iterator)

    def test_an_iterator_keeps_its_transient(self) -> None:
        iterator = iter(Map({i: i for i in range(100)}).mutate().set(100, 100).items())
        gc.collect()
        assert dict(iterator) == {i: i for i in range(101)}


def test_what_was_not_edited_comes_back_as_it_was() -> None:
    m: Map[Any, Any] = Map({i: str(i) for i in range(100)})
    for t in (m.mutate(), m.transient()):
        assert t.get(5) == "5" and t.pop(500, None) is None
        t[5] = m[5]
        t.setdefault(6, "never")
        t.update({7: m[7]})
        t.update(m)
        assert t.finish() is m
    with m.mutate() as t:
        pass
    assert t.finish() is m
    with m.mutate() as t:
        t[5] = "five"
        t[5] = m[5]
    assert t.finish() == m and t.finish() is not m
    assert Map().mutate().finish() is Map()


def test_a_transient_that_was_edited_lets_go_of_the_map_it_began_with() -> None:
    class Value:
        pass

    value = Value()
    seen = weakref.ref(value)
    t = Map({i: i for i in range(100)}).set("value", value).mutate()
    del value
    assert seen() is not None
    t["value"] = None
    assert seen() is None
