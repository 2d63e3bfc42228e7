"""Map, method by method: argument forms, answers, errors, and what must be the very same object."""

from __future__ import annotations

import collections
import collections.abc
import copy
import gc
import operator
import re
import types
import typing
import weakref
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any
from unittest import mock

import pytest

import holdfast
from holdfast import MISSING, Change, Conflict, Map, MissingType
from support import Key

ABC = {"a": 1, "b": 2, "c": 3}


@pytest.fixture
def m() -> Map[str, int]:
    return Map(ABC)


class Keyed:
    """No Mapping, but what dict() takes for one: keys() and []."""

    def keys(self) -> list[str]:
        return ["x", "y"]

    def __getitem__(self, key: str) -> str:
        return key * 2


class Loud(dict):  # type: ignore[type-arg]
    """A dict whose methods say something else than what is stored; its own methods are what counts."""

    def keys(self) -> Any:
        return [key.upper() for key in super().keys()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key.lower()) * 10

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class Doubling(dict):  # type: ignore[type-arg]
    """Only [] is overridden."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) * 2


# -- build ------------------------------------------------------------------------------------------------


class TestBuild:
    def test_empty(self) -> None:
        for empty in (Map(), Map({}), Map([]), Map(()), Map(iter([])), Map.create(), Map.from_dict({}), Map.fromkeys([])):
            assert len(empty) == 0
            assert not empty
            assert list(empty) == []
            assert empty == {}
            empty._check()

    @pytest.mark.parametrize(
        "source",
        [
            {"a": 1, "b": 2},
            OrderedDict(a=1, b=2),
            defaultdict(int, a=1, b=2),
            Counter(a=1, b=2),
            UserDict(a=1, b=2),
            ChainMap({"a": 1}, {"a": 3, "b": 2}),
            MappingProxyType({"a": 1, "b": 2}),
            [("a", 1), ("b", 2)],
            (["a", 1], ["b", 2]),
            [("a", 0), ("b", 2), ("a", 1)],
            {"a": 1, "b": 2}.items(),
            Map({"a": 1, "b": 2}).items(),
        ],
        ids=lambda source: type(source).__name__,
    )
    def test_from_each_kind_of_source(self, source: Any) -> None:
        built = Map(source)
        built._check()
        assert type(built) is Map
        assert dict(built.items()) == {"a": 1, "b": 2}
        assert Map(source, b=3, c=4) == {"a": 1, "b": 3, "c": 4}

    def test_from_iterators_and_odd_pairs(self) -> None:
        assert Map((k, v) for k, v in ABC.items()) == ABC
        assert Map(["ab", "cd"]) == {"a": "b", "c": "d"}
        assert Map(iter([iter("ab")])) == {"a": "b"}
        assert Map(zip("ab", range(2), strict=True)) == {"a": 0, "b": 1}
        assert Map(Keyed()) == {"x": "xx", "y": "yy"}
        assert Map(Keyed(), x=1) == {"x": 1, "y": "yy"}

    def test_keyword_names_are_only_keys(self) -> None:
        for name in ("self", "cls", "mapping", "x", "pairs", "source", "iterable", "key"):
            assert Map(**{name: 1}) == {name: 1}
            assert Map({"z": 0}, **{name: 1}) == {"z": 0, name: 1}
            assert Map.create(**{name: 1}) == {name: 1}
            assert Map().update(**{name: 1}) == {name: 1}

    @pytest.mark.parametrize("count", [3, 20, 500, 5000])
    def test_repeated_keys(self, count: int) -> None:
        """Of equal keys the first stays, with the value of the last; also where they are built in bulk."""
        for family in ("spread", "low 10 equal", "two of a kind", "all 64 bits equal"):
            distinct = min(count // 3, 40 if family == "all 64 bits equal" else count)
            pairs = [(Key(family, i * 7 % distinct), i) for i in range(count)]
            built = Map(pairs)
            built._check()
            assert {id(key): value for key, value in built.items()} == {
                id(key): value for key, value in dict(pairs).items()
            }
            assert Map().update(iter(pairs)) == built

    def test_a_map_of_a_map_is_that_map(self, m: Map[str, int]) -> None:
        assert Map(m) is m
        assert Map.from_dict(m) is m
        assert Map(m, d=4) == {**ABC, "d": 4}
        assert Map(m, a=1) == ABC

    def test_overridden_methods_of_dict_subclasses_count(self) -> None:
        loud = Loud(a=1, b=2)
        assert Map(loud) == {"A": 10, "B": 20}
        assert Map.from_dict(loud) == {"A": 10, "B": 20}
        assert Map().update(loud) == {"A": 10, "B": 20}
        assert Map() | loud == {"A": 10, "B": 20}
        assert Map().merge(loud) == {"A": 10, "B": 20}
        transient = Map().mutate()
        transient.update(loud)
        assert transient.finish() == {"A": 10, "B": 20}
        doubling = Doubling(a=1)
        assert Map(doubling)["a"] == doubling["a"] == 2

    def test_a_source_is_copied(self) -> None:
        source = dict(ABC)
        built = Map(source)
        source["a"] = 0
        del source["b"]
        assert built == ABC

    def test_create_and_from_dict(self) -> None:
        assert Map.create(a=1, b=2, c=3) == ABC
        assert Map.from_dict(ABC) == ABC
        assert Map.from_dict(OrderedDict(ABC)) == ABC
        with pytest.raises(TypeError, match=r"from_dict\(\) argument.*list"):
            Map.from_dict([("a", 1)])  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Map.create(ABC)  # type: ignore[call-arg]

    def test_fromkeys(self) -> None:
        assert Map.fromkeys("abc") == dict.fromkeys("abc")
        assert Map.fromkeys("abc", 7) == dict.fromkeys("abc", 7)
        assert Map.fromkeys({"a": 1, "b": 2}, 0) == {"a": 0, "b": 0}
        assert Map.fromkeys({"a", "b"}, 0) == {"a": 0, "b": 0}
        assert Map.fromkeys(Map(ABC), 0) == dict.fromkeys(ABC, 0)
        assert Map.fromkeys(iter(range(100)), 0) == dict.fromkeys(range(100), 0)
        shared: list[int] = []
        assert all(value is shared for value in Map.fromkeys(range(50), shared).values())

    @pytest.mark.parametrize(
        ("args", "error", "message"),
        [
            ((1,), TypeError, r"Map\(\) argument must be a mapping or an iterable of pairs, not 'int'"),
            (([1],), TypeError, "cannot convert Map sequence element #0 to a sequence"),
            (([("a", 1), None],), TypeError, "cannot convert Map sequence element #1 to a sequence"),
            (([(1, 2, 3)],), ValueError, "Map sequence element #0 has length 3; 2 is required"),
            (([(1, 2), (1,)],), ValueError, "Map sequence element #1 has length 1; 2 is required"),
            (({}, {}), TypeError, r"at most 1 .*argument.*2"),
            (([([], 1)],), TypeError, "unhashable type: 'list'"),
        ],
    )
    def test_bad_sources(self, args: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            Map(*args)
        if len(args) == 1:
            with pytest.raises(error, match=message.replace("Map", r"\w+")):
                Map(a=1).update(*args)

    def test_errors_of_the_source_pass_through(self) -> None:
        class Bad(Exception): ...

        class BadKeys:
            def keys(self) -> Any:
                raise Bad

        class BadItem(Keyed):
            def __getitem__(self, key: str) -> str:
                raise Bad

        class NoIterKeys(Keyed):
            def keys(self) -> Any:
                return 5

        def failing() -> Iterator[tuple[str, int]]:
            yield "a", 1
            raise Bad

        for source in (BadKeys(), BadItem(), failing()):
            with pytest.raises(Bad):
                Map(source)
        with pytest.raises(Bad):
            Map(a=1).update(failing())
        with pytest.raises(TypeError, match="not iterable|keys"):
            Map(NoIterKeys())

    def test_an_attribute_error_inside_keys_is_not_taken_for_no_keys(self) -> None:
        class Odd:
            @property
            def keys(self) -> Any:
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            Map(Odd())


# -- read -------------------------------------------------------------------------------------------------


class TestRead:
    def test_look_up(self, m: Map[str, int]) -> None:
        assert m["a"] == 1
        assert m.get("a") == 1
        assert m.get("z") is None
        assert m.get("z", 5) == 5
        assert m.get("a", 5) == 1
        assert m.get("z", default=5) == 5
        assert "a" in m
        assert "z" not in m
        assert m.contains("a") is True
        assert m.contains("z") is False

    def test_a_missing_key_is_named(self, m: Map[Any, int]) -> None:
        for key in ("z", None, (1, 2), ()):
            with pytest.raises(KeyError) as caught:
                m[key]
            assert caught.value.args == (key,)
            assert caught.value.args[0] is key

    def test_keys_that_are_equal_are_one_key(self) -> None:
        one: Map[Any, str] = Map({1: "int"})
        assert one[1.0] == one[True] == one[1 + 0j] == "int"
        for key in (1.0, True):
            other = one.set(key, "new")
            assert len(other) == 1
            assert other[1] == "new"
            assert type(next(iter(other))) is int  # as in a dict, the first key object stays
        assert type(next(iter(Map([(1, "a"), (True, "b")])))) is int
        assert Map({-1: "a", -2: "b"}) == {-1: "a", -2: "b"}
        assert Map({"a": 1, b"a": 2}) == {"a": 1, b"a": 2}
        assert 0.0 in Map({-0.0: 1})

    def test_any_key_and_value(self) -> None:
        things = [None, True, 0.5, 1j, "", b"", (), frozenset(), Map(), int, len, ..., NotImplemented, object()]
        built = Map((thing, thing) for thing in things)
        assert len(built) == len(things)
        for thing in things:
            assert built[thing] is thing
        assert Map({None: None})[None] is None
        assert Map({None: None}).get(None, 1) is None

    def test_missing_of_a_subclass_has_no_part(self) -> None:
        counts = Map(Counter(a=1))
        with pytest.raises(KeyError):
            counts["b"]

    @pytest.mark.parametrize("size", [0, 1, 2, 5, 31, 32, 33, 100, 1023, 5000])
    def test_iteration(self, size: int) -> None:
        source = {f"key {i}": i for i in range(size)}
        built = Map(source)
        built._check()
        assert len(built) == size
        assert sorted(built) == sorted(source)
        assert dict(built.items()) == source
        assert sorted(built.values()) == list(range(size))
        assert list(built) == list(built.keys()) == [k for k, _ in built.items()]
        assert [built[k] for k in built] == list(built.values())
        assert list(built) == list(built)
        assert dict(built) == source
        assert {**built} == source

    @pytest.mark.parametrize("name", ["__iter__", "keys", "values", "items"])
    def test_iterators(self, name: str) -> None:
        built = Map({i: str(i) for i in range(100)})
        iterator = iter(getattr(built, name)())
        assert iter(iterator) is iterator
        seen = []
        for left in range(100, 0, -1):
            assert operator.length_hint(iterator) == left
            seen.append(next(iterator))
        assert operator.length_hint(iterator) == 0
        for _ in range(3):
            with pytest.raises(StopIteration):
                next(iterator)
        assert seen == list(getattr(built, name)())

    def test_an_iterator_keeps_what_it_iterates(self) -> None:
        iterators = []
        for name in ("__iter__", "keys", "values", "items"):
            built = Map({i: str(i) for i in range(1000)})
            iterators.append(iter(getattr(built, name)()))
            del built
        gc.collect()
        assert sorted(iterators[0]) == list(range(1000))
        assert sorted(iterators[1]) == list(range(1000))
        assert sorted(map(int, iterators[2])) == list(range(1000))
        assert dict(iterators[3]) == {i: str(i) for i in range(1000)}

    def test_items_are_new_tuples_or_safely_reused(self) -> None:
        built = Map({i: i for i in range(10)})
        kept = list(built.items())
        assert sorted(kept) == [(i, i) for i in range(10)]
        iterator = iter(built.items())
        first = next(iterator)
        copied = tuple(first)
        next(iterator)
        assert first == copied

    def test_get_in(self) -> None:
        nested = Map(a=Map(b=Map(c=1)), d={"e": [1]}, f=None, g=0)
        assert nested.get_in(["a", "b", "c"]) == 1
        assert nested.get_in(("a", "b")) == {"c": 1}
        assert nested.get_in(iter("abc")) == 1
        assert nested.get_in(["a", "x", "c"]) is None
        assert nested.get_in(["a", "b", "x"], 7) == 7
        assert nested.get_in(["x"], default=7) == 7
        assert nested.get_in(["d", "e"]) == [1]
        assert nested.get_in(["f"], 7) is None
        assert nested.get_in([]) is nested
        for path in (["g", "x"], ["d", "e", 0], ["f", "x"]):
            with pytest.raises(TypeError, match=r"get_in\(\).*(int|list|NoneType)"):
                nested.get_in(path, 7)
        with pytest.raises(TypeError, match=r"path"):
            nested.get_in(5)  # type: ignore[arg-type]


# -- one entry --------------------------------------------------------------------------------------------


class TestEdit:
    @pytest.mark.parametrize("name", ["assoc", "set"])
    def test_set(self, m: Map[str, int], name: str) -> None:
        put = getattr(m, name)
        assert put("d", 4) == {**ABC, "d": 4}
        assert put("a", 9) == {**ABC, "a": 9}
        assert m == ABC
        put("d", 4)._check()

    def test_the_same_object_back_when_nothing_changes(self, m: Map[Any, Any]) -> None:
        assert m.assoc("a", m["a"]) is m
        assert m.set("a", m["a"]) is m
        assert m.assoc("a", m["a"], "b", m["b"]) is m
        assert m.dissoc("z") is m
        assert m.dissoc("z", "y") is m
        assert m.delete("z") is m
        assert m.discard("z") is m
        assert m.pop("z", 0)[1] is m
        assert m.update() is m
        assert m.update({}) is m
        assert m.update([]) is m
        assert m.update(m) is m
        assert m.update({"a": m["a"]}) is m
        assert m.update(a=m["a"]) is m
        assert m.merge() is m
        assert m.merge(m, {}) is m
        assert m.merge(m, with_=lambda left, right: left) is m
        assert m | m is m
        assert m | {} is m
        assert {} | m == m
        assert m | Map() is m
        assert Map() | m is m
        assert m.copy() is m
        assert Map().clear() == Map()
        assert m.assoc_in(["a"], m["a"]) is m
        assert m.dissoc_in(["z"]) is m
        assert m.dissoc_in(["z", "y"]) is m
        assert m.update_in(["a"], lambda value: value) is m
        nested = m.set("n", Map(x=1))
        assert nested.assoc_in(["n", "x"], 1) is nested
        assert nested.dissoc_in(["n", "z"]) is nested
        assert nested.update_in(["n", "x"], lambda value: value) is nested

    def test_an_equal_value_that_is_another_object_is_stored(self) -> None:
        old, new = [1], [1]
        one = Map(a=old)
        assert one.set("a", new) is not one
        assert one.set("a", new)["a"] is new
        assert one.update(a=new)["a"] is new
        assert (one | {"a": new})["a"] is new
        assert (one | Map(a=new))["a"] is new

    def test_the_first_key_stays(self) -> None:
        first, second = "".join(["k", "ey"]), "".join(["ke", "y"])
        assert first is not second
        one = Map({first: 1})
        for other in (one.set(second, 2), one.update({second: 2}), one | {second: 2}, one | Map({second: 2})):
            assert next(iter(other)) is first
        assert next(iter({second: 0} | one)) is second

    def test_assoc_many(self, m: Map[str, int]) -> None:
        assert m.assoc("a", 9, "d", 4, "a", 8) == {**ABC, "a": 8, "d": 4}
        for args in ((), ("a",), ("a", 1, "b")):
            with pytest.raises(TypeError, match="assoc"):
                m.assoc(*args)
        with pytest.raises(TypeError, match=r"set\(?\)?.*2"):
            m.set("a", 1, "b", 2)  # type: ignore[call-overload]

    def test_remove(self, m: Map[str, int]) -> None:
        less = {"b": 2, "c": 3}
        assert m.dissoc("a") == m.delete("a") == m.remove("a") == m.discard("a") == less
        assert m.dissoc("a", "z", "b") == m.delete("a", "z", "b") == {"c": 3}
        assert m.dissoc("a", "b", "c") == {}
        assert m == ABC
        with pytest.raises(KeyError) as caught:
            m.remove("z")
        assert caught.value.args == ("z",)
        with pytest.raises(TypeError, match="dissoc"):
            m.dissoc()  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            m.remove()  # type: ignore[call-arg]

    def test_pop(self, m: Map[str, int]) -> None:
        value, rest = m.pop("a")
        assert (value, rest) == (1, {"b": 2, "c": 3})
        assert type(m.pop("a")) is tuple
        assert m.pop("a", 9) == (1, rest)
        assert m.pop("z", 9) == (9, m)
        assert m.pop("z", None) == (None, m)
        with pytest.raises(KeyError) as caught:
            m.pop("z")
        assert caught.value.args == ("z",)
        for args in ((), ("a", 1, 2)):
            with pytest.raises(TypeError, match="pop"):
                m.pop(*args)

    @pytest.mark.parametrize("size", [1, 2, 40, 2000])
    def test_grow_and_shrink_back(self, size: int) -> None:
        versions = [Map()]
        for i in range(size):
            versions.append(versions[-1].set(i, str(i)))
        for i in range(size - 1, -1, -1):
            back = versions[i + 1].dissoc(i)
            assert back == versions[i]
            assert len(back) == i
        versions[-1]._check()
        assert versions[-1].dissoc(*range(size)) == Map()

    def test_assoc_in(self) -> None:
        one = Map().assoc_in(["a", "b", "c"], 1)
        assert one == {"a": {"b": {"c": 1}}}
        assert type(one["a"]) is type(one["a"]["b"]) is Map
        two = one.assoc_in(("a", "x"), 2)
        assert two == {"a": {"b": {"c": 1}, "x": 2}}
        assert two["a"]["b"] is one["a"]["b"]
        assert one.assoc_in(iter(["q"]), 3) == {"a": {"b": {"c": 1}}, "q": 3}
        assert one.assoc_in("ab", 3) == {"a": {"b": 3}}

    def test_update_in(self) -> None:
        one = Map(a=Map(n=1))
        assert one.update_in(["a", "n"], operator.add, 5) == {"a": {"n": 6}}
        assert one.update_in(["a", "n"], lambda *args: args, 2, 3) == {"a": {"n": (1, 2, 3)}}
        assert one.update_in(["a", "new"], lambda old: old) == {"a": {"n": 1, "new": None}}
        assert one.update_in(["x", "y"], lambda old, new: (old, new), 1) == {"a": {"n": 1}, "x": {"y": (None, 1)}}
        with pytest.raises(ZeroDivisionError):
            one.update_in(["a", "n"], lambda old: old // 0)

    def test_dissoc_in(self) -> None:
        one = Map(a=Map(b=1, c=2), d=3)
        assert one.dissoc_in(["a", "b"]) == {"a": {"c": 2}, "d": 3}
        assert one.dissoc_in(["a"]) == {"d": 3}
        assert one.dissoc_in(["a", "z"]) is one
        assert one.dissoc_in(["z", "y", "x"]) is one
        # A level that was emptied stays: what was not named is not removed.
        assert Map(a=Map(b=1)).dissoc_in(["a", "b"]) == {"a": {}}

    @pytest.mark.parametrize("name", ["assoc_in", "update_in", "dissoc_in"])
    def test_bad_paths(self, name: str) -> None:
        one = Map(a=1, d={"x": 1}, n=None)
        rest = {"assoc_in": [1], "update_in": [abs], "dissoc_in": []}[name]
        edit = getattr(one, name)
        with pytest.raises(ValueError, match="path"):
            edit([], *rest)
        with pytest.raises(ValueError, match="path"):
            edit(iter(()), *rest)
        with pytest.raises(TypeError, match="path"):
            edit(5, *rest)
        for path, kind in ((["a", "b"], "int"), (["d", "x"], "dict"), (["n", "x"], "NoneType")):
            with pytest.raises(TypeError, match=rf"{name}\(\).*{kind}") as caught:
                edit(path, *rest)
            assert repr(path[0]) in str(caught.value)
        assert one == {"a": 1, "d": {"x": 1}, "n": None}


# -- many entries -----------------------------------------------------------------------------------------


class TestManyEntries:
    def test_update(self, m: Map[Any, Any]) -> None:
        expected = {**ABC, "a": 9, "d": 4}
        assert m.update({"a": 9, "d": 4}) == expected
        assert m.update([("a", 9), ["d", 4]]) == expected
        assert m.update(Map(a=9, d=4)) == expected
        assert m.update(a=9, d=4) == expected
        assert m.update({"a": 8, "d": 4}, a=9) == expected
        assert m.update(Keyed()) == {**ABC, "x": "xx", "y": "yy"}
        assert m == ABC
        with pytest.raises(TypeError, match="at most 1"):
            m.update({}, {})  # type: ignore[call-overload]

    def test_merge(self, m: Map[Any, Any]) -> None:
        assert m.merge({"a": 9}, Map(a=8, d=4), ChainMap({"e": 5})) == {**ABC, "a": 8, "d": 4, "e": 5}
        assert m.merge({"a": 9}, with_=operator.add) == {**ABC, "a": 10}
        assert m.merge({"a": 9}, Map(a=10, d=1), with_=lambda *pair: pair) == {**ABC, "a": ((1, 9), 10), "d": 1}
        assert m.merge({"a": 9}, with_=None) == {**ABC, "a": 9}
        assert m.merge(Map(a=1, z=1), with_=lambda left, right: left) == {**ABC, "z": 1}
        with pytest.raises(ZeroDivisionError):
            m.merge(m, with_=lambda left, right: left // 0)
        assert m == ABC

    @pytest.mark.parametrize("size", [3, 50, 3000])
    def test_with_sees_each_shared_key_once(self, size: int) -> None:
        left = Map({i: ("left", i) for i in range(size)})
        right = Map({i: ("right", i) for i in range(size // 2, size * 2)})
        calls = []

        def settle(a: Any, b: Any) -> Any:
            assert a[0] == "left" and b[0] == "right" and a[1] == b[1]
            calls.append(a[1])
            return a[1]

        merged = left.merge(right, with_=settle)
        merged._check()
        assert sorted(calls) == list(range(size // 2, size))
        assert merged == {**left, **right, **{i: i for i in range(size // 2, size)}}

    def test_or(self, m: Map[Any, Any]) -> None:
        for other in ({"a": 9}, Map(a=9), OrderedDict(a=9), UserDict(a=9), ChainMap({"a": 9}), MappingProxyType({"a": 9})):
            assert m | other == {**ABC, "a": 9}
            assert type(m | other) is Map
        for other in ({"a": 9, "z": 0}, OrderedDict(a=9, z=0), UserDict(a=9, z=0)):
            assert other | m == {**ABC, "z": 0}
            assert type(other | m) is Map
        mine = m
        mine |= {"d": 4}
        assert mine == {**ABC, "d": 4}
        assert m == ABC
        plain = {"a": 9}
        plain |= m
        assert plain == ABC
        for bad in (5, None, [("a", 1)], {"a"}, Keyed()):
            with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \|"):
                m | bad
            with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \|"):
                bad | m
        assert Map.__or__(m, 5) is NotImplemented
        assert Map.__ror__(m, [("a", 1)]) is NotImplemented

    def test_clear_and_copy(self, m: Map[str, int]) -> None:
        assert m.clear() == {}
        assert m.copy() is m
        assert m == ABC


# -- comparison and hash ----------------------------------------------------------------------------------


class TestCompare:
    @pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType, UserDict, ChainMap, Map])
    def test_with_every_mapping(self, m: Map[str, int], kind: Any) -> None:
        for content in (ABC, {}, {**ABC, "a": 0}, {"a": 1}, {**ABC, "d": 4}, {"a": 1, "b": 2, "d": 3}):
            other = kind(dict(content))
            assert (m == other) is (content == ABC)
            assert (other == m) is (content == ABC)
            assert (m != other) is (content != ABC)
            assert (other != m) is (content != ABC)

    def test_comparing_leaves_a_defaultdict_alone(self, m: Map[str, int]) -> None:
        other = defaultdict(lambda: 1, x=1, y=2, z=3)
        assert m != other
        assert sorted(other) == ["x", "y", "z"]

    def test_with_anything_else(self, m: Map[str, int]) -> None:
        for other in (None, 5, "abc", [("a", 1)], set(ABC), Keyed(), object()):
            assert (m == other) is False
            assert (m != other) is True
        assert m == mock.ANY
        assert mock.ANY == m
        assert Map.__eq__(m, 5) is NotImplemented

    def test_values_are_compared_by_identity_first(self) -> None:
        nan = float("nan")
        assert Map(a=nan) == Map(a=nan) == {"a": nan}
        assert Map(a=nan) != Map(a=float("nan"))
        assert Map({nan: 1}) == {nan: 1}
        assert Map({nan: 1}) != {float("nan"): 1}

    def test_nested(self) -> None:
        assert Map(a=Map(b=Map())) == {"a": {"b": {}}}
        assert Map(a={"b": Map()}) == {"a": Map(b={})}
        assert [Map(a=1)] == [{"a": 1}]

    def test_errors_pass_through(self) -> None:
        class Bad:
            def __eq__(self, other: object) -> bool:
                raise ZeroDivisionError

            __hash__ = object.__hash__

        with pytest.raises(ZeroDivisionError):
            Map(a=Bad()) == Map(a=Bad())
        with pytest.raises(ZeroDivisionError):
            Map(a=Bad()) == {"a": 1}

    def test_no_order(self, m: Map[str, int]) -> None:
        for compare in (operator.lt, operator.le, operator.gt, operator.ge):
            for other in (m, ABC, 5):
                with pytest.raises(TypeError, match="not supported between instances"):
                    compare(m, other)

    @pytest.mark.parametrize("size", [0, 1, 2, 3, 31, 33, 100, 3000])
    def test_the_hash_is_that_of_the_frozenset_of_items(self, size: int) -> None:
        built = Map({f"key {i}": i * i for i in range(size)})
        expected = hash(frozenset(built.items()))
        assert hash(built) == expected
        assert hash(built) == expected
        # Whatever the history, and whether or not the nodes had their part of it already.
        undone = built.set("other", 1).dissoc("other")
        assert hash(undone) == expected
        more = built.set("other", 1)
        assert hash(more) == hash(frozenset(more.items())) != expected
        if size:
            less = more.dissoc("key 0")
            assert hash(less) == hash(frozenset(less.items()))
            changed = more.set("key 0", -5)
            assert hash(changed) == hash(frozenset(changed.items()))

    def test_equal_maps_have_equal_hashes(self) -> None:
        assert hash(Map({1: 2.0})) == hash(Map({1.0: 2})) == hash(Map({True: 2}))

    def test_an_unhashable_value(self, m: Map[str, Any]) -> None:
        bad = m.set("a", [])
        for _ in range(2):
            with pytest.raises(TypeError, match="unhashable type: 'list'"):
                hash(bad)
        assert hash(bad.set("a", 1)) == hash(frozenset(ABC.items()))

    def test_maps_as_keys_and_values_of_maps(self) -> None:
        inner = Map(x=1)
        outer = Map({inner: inner, Map(): "empty"})
        assert outer[Map(x=1)] is inner
        assert outer[Map()] == "empty"
        assert Map(x=2) not in outer
        assert {Map(x=1): 1}[inner] == 1
        assert hash(outer) == hash(frozenset(outer.items()))
        assert outer == Map({Map(): "empty", Map([("x", 1)]): {"x": 1}})
        with pytest.raises(TypeError, match="unhashable"):
            {"x": 1} in outer


# -- as an object -----------------------------------------------------------------------------------------


class TestObject:
    def test_repr(self) -> None:
        assert repr(Map()) == "holdfast.Map()"
        assert repr(Map(a=1)) == str(Map(a=1)) == "holdfast.Map({'a': 1})"
        assert repr(Map({1: Map(x=())})) == "holdfast.Map({1: holdfast.Map({'x': ()})})"
        big = Map({i: str(i) for i in range(200)})
        assert eval(repr(big)) == big
        class Bad:
            def __repr__(self) -> str:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            repr(Map(a=Bad()))
        # After an error the guard against recursion is off again.
        again = Map(a=Bad())
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                repr(again)

    def test_recursive_repr(self) -> None:
        inside: list[Any] = []
        m = Map(a=inside)
        inside.append(m)
        assert repr(m) == "holdfast.Map({'a': [holdfast.Map(...)]})"
        assert repr(inside) == "[holdfast.Map({'a': [...]})]"

    def test_registered_as_a_mapping(self, m: Map[str, int]) -> None:
        for kind in (collections.abc.Mapping, collections.abc.Hashable, collections.abc.Collection):
            assert isinstance(m, kind)
            assert issubclass(Map, kind)
        for kind in (collections.abc.MutableMapping, collections.abc.Sequence, collections.abc.Set, collections.abc.Reversible):
            assert not isinstance(m, kind)
            assert not issubclass(Map, kind)
        with pytest.raises(TypeError, match="not reversible"):
            reversed(m)  # type: ignore[arg-type]

    def test_match(self, m: Map[str, int]) -> None:
        def matched(subject: Any) -> Any:
            match subject:
                case {"a": 1, "b": Map(x=_)}:
                    return "attribute"
                case {"a": int(found), **rest}:
                    assert type(rest) is dict
                    return found, rest
                case {"deep": {"er": value}}:
                    return value
                case Map():
                    return "a map"
                case _:
                    return "no map"

        assert matched(m) == (1, {"b": 2, "c": 3})
        assert matched(Map(deep=Map(er=5))) == 5
        assert matched(Map(z=1)) == "a map"
        assert matched(Map()) == "a map"
        assert matched([m]) == "no map"
        match Map():
            case {}:
                pass
            case _:
                pytest.fail("an empty map is a mapping")

    def test_copy(self, m: Map[str, int]) -> None:
        assert copy.copy(m) is m
        assert copy.deepcopy(m) == m

    def test_weakref(self) -> None:
        gone = []
        m = Map(a=1, b=[])
        reference = weakref.ref(m, gone.append)
        assert reference() is m
        cache = weakref.WeakValueDictionary({"m": m})
        assert cache["m"] is m
        del m
        gc.collect()
        assert reference() is None
        assert gone == [reference]
        assert not cache

    def test_generic_alias(self) -> None:
        alias = Map[str, int]
        assert isinstance(alias, types.GenericAlias)
        assert typing.get_origin(alias) is Map
        assert typing.get_args(alias) == (str, int)
        assert alias(a=1) == Map(a=1)
        assert typing.get_origin(holdfast.TransientMap[str, int]) is holdfast.TransientMap

    def test_final(self) -> None:
        for cls in (Map, holdfast.TransientMap, holdfast.MapKeys, holdfast.MapValues, holdfast.MapItems, MissingType):
            with pytest.raises(TypeError, match="not an acceptable base type"):
                type("Sub", (cls,), {})

    def test_immutable(self, m: Map[str, int]) -> None:
        with pytest.raises(TypeError):
            m["a"] = 2  # type: ignore[index]
        with pytest.raises(TypeError):
            del m["a"]  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            m.color = "red"  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            m.set = None  # type: ignore[method-assign, assignment]
        with pytest.raises(TypeError):
            Map.color = "red"  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            m.__class__ = dict  # type: ignore[assignment]
        with pytest.raises(TypeError):
            object.__new__(Map)
        with pytest.raises(TypeError):
            Map.__new__(dict)  # type: ignore[type-var]
        for init in (lambda: m.__init__({"a": 2}), lambda: m.__init__(a=2)):  # type: ignore[misc]
            try:
                init()
            except TypeError:
                pass
            assert m == ABC
        assert not hasattr(m, "__dict__")
        assert not hasattr(m, "__setstate__")

    def test_names(self) -> None:
        for name in holdfast.__all__:
            thing = getattr(holdfast, name)
            if isinstance(thing, type) or callable(thing):
                assert thing.__module__ == "holdfast"
                assert thing.__name__ == thing.__qualname__ == name
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", holdfast.__version__)

    def test_everything_public_is_documented(self) -> None:
        for name in holdfast.__all__:
            thing = getattr(holdfast, name)
            if not (isinstance(thing, type) or callable(thing)):
                continue
            assert thing.__doc__, name
            if isinstance(thing, type) and not issubclass(thing, tuple):
                for method, value in vars(thing).items():
                    if not method.startswith("_"):
                        assert value.__doc__, f"{name}.{method}"

    def test_sizeof(self) -> None:
        small, big = Map(a=1), Map.fromkeys(range(10_000))
        assert 0 < small.__sizeof__() < 300
        assert 10_000 * 16 < big.__sizeof__() < 10_000 * 60


# -- versions ---------------------------------------------------------------------------------------------


class TestVersions:
    def test_diff(self, m: Map[Any, Any]) -> None:
        assert m.diff(m) == []
        assert m.diff(Map(ABC)) == []
        assert sorted(m.diff(m.assoc("a", 9, "d", 4).dissoc("b"))) == [("a", 1, 9), ("b", 2, MISSING), ("d", MISSING, 4)]
        assert Map().diff(Map(a=1)) == [("a", MISSING, 1)]
        assert Map(a=1).diff(Map()) == [Change("a", 1, MISSING)]
        nan = float("nan")
        assert Map(a=nan).diff(Map(a=nan)) == []
        assert len(Map(a=nan).diff(Map(a=float("nan")))) == 1
        assert Map(a=[1]).diff(Map(a=[1])) == []

    @pytest.mark.parametrize("size", [10, 100, 5000])
    def test_diff_of_many(self, size: int) -> None:
        old = Map({i: i for i in range(size)})
        new = Map({i: i * (i % 3 != 0) for i in range(size // 4, size * 2)})
        changes = old.diff(new)
        assert all(type(change) is Change for change in changes)
        assert {c.key: (c.old, c.new) for c in changes} == {
            i: (old.get(i, MISSING), new.get(i, MISSING))
            for i in range(size * 2)
            if old.get(i, MISSING) != new.get(i, MISSING)
        }
        assert {c.key: (c.new, c.old) for c in new.diff(old)} == {c.key: (c.old, c.new) for c in changes}

    def test_change_is_a_named_tuple(self) -> None:
        change = Change("k", 1, MISSING)
        assert Change._fields == ("key", "old", "new")
        assert change == ("k", 1, MISSING)
        assert change.key == "k" and change.old == 1 and change.new is MISSING
        assert repr(change) == "Change(key='k', old=1, new=holdfast.MISSING)"
        assert change._replace(new=2) == Change(key="k", old=1, new=2)
        assert change._asdict() == {"key": "k", "old": 1, "new": MISSING}
        assert isinstance(change, tuple)
        match change:
            case Change(key="k", new=new):
                assert new is MISSING
            case _:
                pytest.fail("a Change can be matched")
        assert Change[str, int]

    def test_missing(self) -> None:
        assert type(MISSING) is MissingType
        assert repr(MISSING) == "holdfast.MISSING"
        assert bool(MISSING) is True
        assert copy.copy(MISSING) is MISSING
        assert copy.deepcopy([MISSING]) == [MISSING]
        assert MISSING == MISSING
        assert len({MISSING, MISSING}) == 1
        with pytest.raises(TypeError):
            MissingType()
        with pytest.raises(AttributeError):
            MISSING.x = 1  # type: ignore[attr-defined]

    def test_merge3(self) -> None:
        base = Map(same=0, mine=0, theirs=0, gone=0, went=0)
        mine = base.assoc("mine", 1, "new", 1, "both", 5).dissoc("gone")
        theirs = base.assoc("theirs", 2, "other", 2, "both", 5).dissoc("went", "gone")
        expected = {"same": 0, "mine": 1, "theirs": 2, "new": 1, "other": 2, "both": 5}
        assert Map.merge3(base, mine, theirs) == expected
        assert Map.merge3(base, theirs, mine) == expected
        assert Map.merge3(base=base, mine=mine, theirs=theirs, resolve=None) == expected
        assert Map.merge3(base, base, base) is base
        assert Map.merge3(base, mine, base) is mine
        assert Map.merge3(base, base, theirs) is theirs
        assert Map.merge3(base, mine, mine) is mine

    def test_merge3_conflicts(self) -> None:
        base = Map(a=0, b=0, c=0)
        mine = base.assoc("a", 1, "n", 1).dissoc("c")
        theirs = base.assoc("c", 2, "n", 2).dissoc("a")
        with pytest.raises(Conflict) as caught:
            Map.merge3(base, mine, theirs)
        assert type(caught.value.keys) is tuple
        assert sorted(caught.value.keys) == ["a", "c", "n"]
        assert isinstance(caught.value, ValueError)
        assert "'a'" in str(caught.value) and "'n'" in str(caught.value)
        seen = []

        def resolve(*args: Any) -> Any:
            seen.append(args)
            return {"a": MISSING, "c": None, "n": 3}[args[0]]

        assert Map.merge3(base, mine, theirs, resolve) == {"b": 0, "c": None, "n": 3}
        assert sorted(seen) == [("a", 0, 1, MISSING), ("c", 0, MISSING, 2), ("n", MISSING, 1, 2)]
        with pytest.raises(ZeroDivisionError):
            Map.merge3(base, mine, theirs, lambda *args: 1 // 0)

    def test_a_conflict_with_many_keys_has_a_short_message(self) -> None:
        base: Map[int, int] = Map()
        with pytest.raises(Conflict) as caught:
            Map.merge3(base, Map.fromkeys(range(10_000), 1), Map.fromkeys(range(10_000), 2))
        assert sorted(caught.value.keys) == list(range(10_000))
        assert len(str(caught.value)) < 500

    def test_merge3_of_many(self) -> None:
        base = Map({i: 0 for i in range(3000)})
        mine = base.update({i: 1 for i in range(0, 3000, 3)}).dissoc(*range(1, 3000, 30))
        theirs = base.update({i: 2 for i in range(2, 3000, 3)}).update({i: 2 for i in range(3000, 4000)})
        merged = Map.merge3(base, mine, theirs)
        merged._check()
        expected = {i: (1, 0, 2)[i % 3] for i in range(3000)} | {i: 2 for i in range(3000, 4000)}
        for i in range(1, 3000, 30):
            del expected[i]
        assert merged == expected


# -- the names of arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda m: m.diff(ABC), ["diff", "other", "dict"]),
        (lambda m: m.diff(None), ["diff", "other", "NoneType"]),
        (lambda m: Map.merge3(ABC, m, m), ["merge3", "base", "dict"]),
        (lambda m: Map.merge3(m, ABC, m), ["merge3", "mine", "dict"]),
        (lambda m: Map.merge3(m, m, ABC), ["merge3", "theirs", "dict"]),
        (lambda m: Map.merge3(m, m, m, 5), ["merge3", "resolve", "int"]),
        (lambda m: m.merge(5), ["merge", "int"]),
        (lambda m: m.merge(m, [("a", 1)]), ["merge", "list"]),
        (lambda m: m.merge(m, with_=5), ["merge", "with_", "int"]),
        (lambda m: m.update_in(["a"], 5), ["update_in", "fn", "int"]),
        (lambda m: m.assoc_in(5, 1), ["assoc_in", "path", "int"]),
        (lambda m: m.update_in(5, abs), ["update_in", "path", "int"]),
        (lambda m: m.dissoc_in(5), ["dissoc_in", "path", "int"]),
        (lambda m: m.get_in(5), ["get_in", "path", "int"]),
        (lambda m: Map.from_dict(5), ["from_dict", "argument", "int"]),
        (lambda m: holdfast.footprint(m, 5), ["footprint", "int"]),
        (lambda m: m.update(5), ["int"]),
        (lambda m: Map.fromkeys(5), ["int"]),
    ],
)
def test_a_wrong_type_is_named(m: Map[str, int], call: Any, names: list[str]) -> None:
    with pytest.raises(TypeError) as caught:
        call(m)
    for name in names:
        assert re.search(rf"\b{name}\b", str(caught.value)), f"{caught.value} does not name {name}"


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.get(),
        lambda m: m.get("a", 1, 2),
        lambda m: m.get("a", nonsense=1),
        lambda m: m.contains(),
        lambda m: m.set("a"),
        lambda m: m.keys(1),
        lambda m: m.clear(1),
        lambda m: m.diff(),
        lambda m: m.merge(nonsense=1),
        lambda m: m.assoc_in(["a"]),
        lambda m: m.update_in(["a"]),
        lambda m: m.mutate(1),
        lambda m: Map.merge3(m, m),
        lambda m: Map.merge3(m, m, m, None, None),
        lambda m: Map.merge3(m, m, m, nonsense=1),
        lambda m: Map.merge3(m, m, mine=m),
        lambda m: Map.fromkeys(),
        lambda m: Map.from_dict(),
    ],
)
def test_wrong_numbers_of_arguments(m: Map[str, int], call: Any) -> None:
    with pytest.raises(TypeError):
        call(m)


def test_all_is_exported() -> None:
    expected = {
        "MISSING", "Change", "Conflict", "Map", "MapItems", "MapKeys", "MapValues", "MissingType", "TransientMap",
        "footprint", "__version__", "HoldfastError", "register_codec",
        "SharedInfo", "SharedMap", "SharedSnapshot", "SharedStats", "list_shared",
        "Cask", "CaskBatch", "CaskFault", "CaskFile", "CaskInfo", "CaskMerged", "CaskSnapshot", "CaskStatus",
    }  # fmt: skip
    expected |= {error.__name__ for error in holdfast.HoldfastError.__subclasses__()}
    assert expected - {"__version__"} <= set(holdfast.__all__) <= expected
