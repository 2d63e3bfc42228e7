"""What a type checker must accept, and infer exactly. mypy --strict reads this file; nothing runs it."""

import copy
import math
import pickle
from collections import ChainMap, OrderedDict
from collections.abc import Hashable, ItemsView, Iterator, KeysView, Mapping, MutableMapping, Sequence, ValuesView
from datetime import datetime, timedelta
from operator import add
from pathlib import Path
from types import MappingProxyType
from typing import Any, assert_type

import holdfast
from holdfast import (
    MISSING,
    Cask,
    CaskBatch,
    CaskFault,
    CaskMerged,
    CaskSnapshot,
    Change,
    Conflict,
    Map,
    MapItems,
    MapKeys,
    MapValues,
    MissingType,
    SharedInfo,
    SharedMap,
    SharedSnapshot,
    TransientMap,
    footprint,
    list_shared,
)


class Animal: ...


class Cat(Animal): ...


def build(words: list[str], rows: Iterator[list[str]], pairs: Iterator[tuple[int, Cat]]) -> None:
    empty: Map[str, int] = Map()
    assert_type(empty, Map[str, int])
    assert_type(Map().set("a", 1), Map[str, int])
    assert_type(Map(a=1, b=2), Map[str, int])
    assert_type(Map({1: "one"}), Map[int, str])
    assert_type(Map({"a": 1}, b=2), Map[str, int])
    assert_type(Map([("a", 1)], b=2), Map[str, int])
    assert_type(Map(pairs), Map[int, Cat])
    assert_type(Map(zip(words, range(3))), Map[str, int])
    assert_type(Map(rows), Map[str, str])
    assert_type(Map(empty), Map[str, int])
    assert_type(Map.create(a=1, b=2), Map[str, int])
    assert_type(Map.from_dict({1: "one"}), Map[int, str])
    assert_type(Map.from_dict(MappingProxyType(dict(pairs))), Map[int, Cat])
    assert_type(Map.fromkeys(words, 0), Map[str, int])
    assert_type(Map.fromkeys(words), Map[str, Any | None])


def add_any_animal(animals: Map[str, Animal]) -> Map[str, Animal]:
    # Called with a map of cats, this widens what it returns, so that nobody is lied to.
    assert_type(animals.set("rex", Animal()), Map[str, Animal])
    return animals.set("rex", Animal())


def covariance(cats: Map[str, Cat], flags: Map[str, bool]) -> None:
    assert_type(add_any_animal(cats), Map[str, Animal])
    mapping: Mapping[str, Animal] = cats
    hashable: Hashable = flags
    numbers: Map[str, int] = flags
    assert_type(cats.set("rex", Animal()), Map[str, Cat | Animal])
    keys: KeysView[object] = cats.keys()
    values: ValuesView[Animal] = cats.values()
    items: ItemsView[object, Animal] = cats.items()
    print(mapping, hashable, numbers, keys, values, items)


def read(m: Map[str, int]) -> None:
    assert_type(m["a"], int)
    assert_type(m.get("a"), int | None)
    assert_type(m.get("a", None), int | None)
    assert_type(m.get("a", 0), int)
    assert_type(m.get("a", default=0), int)
    assert_type(m.get("a", 1.5), int | float)
    assert_type(m.get("a", "none"), int | str)
    assert_type("a" in m, bool)
    assert_type(m.contains(b"a"), bool)
    assert_type(len(m), int)
    assert_type(list(m), list[str])
    assert_type(sorted(m.items()), list[tuple[str, int]])
    assert_type(m.get_in(["a", 1, "b"]), Any)
    assert_type(m.get_in(("a",), default=3), Any)
    assert_type(m == {"a": 1}, bool)
    assert_type(hash(m), int)
    assert_type(copy.copy(m), Map[str, int])
    assert_type(copy.deepcopy(m), Map[str, int])
    pickle.dumps(m)


def edit(m: Map[str, int]) -> None:
    assert_type(m.set("a", 1), Map[str, int])
    assert_type(m.set("a", 1.5), Map[str, int | float])
    assert_type(m.set(b"a", 1), Map[str | bytes, int])
    assert_type(m.set(b"a", "x"), Map[str | bytes, int | str])
    assert_type(m.assoc("a", 1), Map[str, int])
    assert_type(m.assoc("a", 1.5), Map[str, int | float])
    assert_type(m.assoc("a", 1, "b", 2), Map[Any, Any])
    assert_type(m.delete("a"), Map[str, int])
    assert_type(m.dissoc("a", "b"), Map[str, int])
    assert_type(m.discard("a"), Map[str, int])
    assert_type(m.remove("a"), Map[str, int])
    assert_type(m.pop("a"), tuple[int, Map[str, int]])
    assert_type(m.pop("a", 0), tuple[int, Map[str, int]])
    assert_type(m.pop("a", None), tuple[int | None, Map[str, int]])
    assert_type(m.assoc_in(["a", "b"], 1), Map[str, Any])
    assert_type(m.update_in(["a", "b"], add, 1), Map[str, Any])
    assert_type(m.dissoc_in(["a"]), Map[str, int])
    assert_type(m.clear(), Map[str, int])
    assert_type(m.copy(), Map[str, int])
    # The first overload gives the context in which an empty list has a type.
    lists: Map[str, Sequence[int]] = Map()
    assert_type(lists.set("a", []), Map[str, Sequence[int]])


def min_of(left: int, right: int) -> int:
    return min(left, right)


def edit_many(m: Map[str, int], n: Map[int, str], d: dict[str, int], pairs: list[tuple[bytes, float]]) -> None:
    assert_type(m.update({"b": 2}), Map[str, int])
    assert_type(m.update([("b", 2)]), Map[str, int])
    assert_type(m.update(m), Map[str, int])
    assert_type(m.update(n), Map[str | int, int | str])
    assert_type(m.update(pairs), Map[str | bytes, int | float])
    assert_type(m.update(b=2), Map[str, int])
    assert_type(m.update(b=2.5), Map[str, int | float])
    assert_type(m.update({"b": 2}, c=3), Map[str, int])
    assert_type(m.update([("b", 2)], c=3), Map[str, int])
    assert_type(m.merge(), Map[str, int])
    assert_type(m.merge(m, d), Map[str, int])
    assert_type(m.merge(m, d, with_=min_of), Map[str, int])
    summed: Map[str, int] = m.merge(d, with_=lambda left, right: left + right)
    added: Map[str, int] = m.merge(summed, with_=add)
    print(added)
    assert_type(m.merge(n), Map[str | int, int | str])
    assert_type(m | m, Map[str, int])
    assert_type(m | d, Map[str, int])
    assert_type(d | m, Map[str, int])
    assert_type(m | n, Map[str | int, int | str])
    assert_type({1: "one"} | m, Map[str | int, int | str])
    assert_type(OrderedDict(d) | m, Map[str, int])
    m |= {"c": 3}
    assert_type(m, Map[str, int])


def combine(left: Map[str, int], right: Map[str, str]) -> None:
    def join(a: int | float, b: str) -> float:
        return a + len(b)

    assert_type(left.merge(right, with_=join), Map[str, int | str | float])


def views(m: Map[str, int]) -> None:
    assert_type(m.keys(), MapKeys[str, int])
    assert_type(m.values(), MapValues[str, int])
    assert_type(m.items(), MapItems[str, int])
    assert_type(m.keys().mapping, Map[str, int])
    assert_type(m.values().mapping, Map[str, int])
    assert_type(m.items().mapping, Map[str, int])
    assert_type(m.keys() & {"a"}, set[str])
    assert_type(m.keys() | {1}, set[str | int])
    assert_type(m.keys() - m.keys(), set[str])
    assert_type(m.items() ^ {("a", 1)}, set[tuple[str, int]])
    assert_type(m.keys() <= {"a"}, bool)
    assert_type(m.keys().isdisjoint([1]), bool)
    assert_type(m.items().isdisjoint([]), bool)
    for key, value in m.items():
        assert_type(key, str)
        assert_type(value, int)


def matched(m: Map[str, int]) -> int:
    match m:
        case {"a": found, **rest}:
            assert_type(found, int)
            assert_type(rest, dict[str, int])
            return found
        case _:
            return 0


def transient(m: Map[str, int]) -> None:
    with m.mutate() as t:
        assert_type(t, TransientMap[str, int])
        t["a"] = 1
        t |= {"b": 2}
        t |= [("c", 3)]
        t.update({"d": 4}, e=5)
        del t["b"]
        assert_type(t["a"], int)
        assert_type(t.get("z"), int | None)
        assert_type(t.pop("z", None), int | None)
        assert_type(t.popitem(), tuple[str, int])
        assert_type(t.setdefault("f", 6), int)
        assert_type(t.set("g", 7).delete("g").set("h", 8), TransientMap[str, int])
        assert_type(t.keys(), KeysView[str])
        mutable: MutableMapping[str, int] = t
        print(mutable)
    assert_type(t.finish(), Map[str, int])
    assert_type(m.transient().persistent(), Map[str, int])


def widen(m: Map[str, float]) -> Map[str, float]:
    # May be called with a Map[str, int]: the transient is a new object, so it takes the wider values.
    wide: TransientMap[str, float] = m.mutate()
    wide["a"] = 1.5
    return wide.finish()


def versions(a: Map[str, int], b: Map[str, int]) -> None:
    changes = a.diff(b)
    assert_type(changes, list[Change[str, int]])
    for change in changes:
        assert_type(change.key, str)
        assert_type(change.old, int | MissingType)
        if isinstance(change.new, MissingType):
            assert_type(change.new, MissingType)
        else:
            assert_type(change.new, int)
        key, old, new = change
        assert_type(key, str)
        print(old, new)
    wider: Change[object, object] = changes[0]
    print(wider, MISSING)

    def newest(
        key: str, base: int | MissingType, mine: int | MissingType, theirs: int | MissingType
    ) -> int | MissingType:
        return mine if not isinstance(mine, MissingType) else theirs

    def drop(key: str, base: object, mine: object, theirs: object) -> MissingType:
        return MISSING

    def text(key: str, base: object, mine: object, theirs: object) -> str:
        return f"{base}: {mine} or {theirs}"

    assert_type(Map.merge3(a, b, a), Map[str, int])
    assert_type(Map.merge3(base=a, mine=b, theirs=a), Map[str, int])
    assert_type(Map.merge3(a, b, a, newest), Map[str, int])
    assert_type(Map.merge3(a, b, a, resolve=text), Map[str, int | str])
    dropped: Map[str, int] = Map.merge3(a, b, a, drop)
    try:
        Map.merge3(a, b, dropped)
    except Conflict as conflict:
        assert_type(conflict.keys, tuple[Any, ...])
    assert_type(footprint(a, b), int)
    assert_type(footprint(), int)


def in_annotations(layers: ChainMap[str, int]) -> str:
    nested: dict[Map[str, int], Map[str, Map[int, bytes]]] = {}
    alias = Map[str, int]
    made = alias(layers)
    assert_type(made, Map[str, int])
    print(nested)
    return holdfast.__version__


def shared(name: str, things: dict[str, int]) -> None:
    with SharedMap[str, int](name, create=None, capacity=10, timeout=1.5) as m:
        assert_type(m, SharedMap[str, int])
        assert_type(m["a"], int)
        assert_type(m.get("a"), int | None)
        assert_type(m.get("a", 0), int)
        assert_type(m.get("a", default=None), int | None)
        assert_type(m.pop("a"), int)
        assert_type(m.pop("a", 0), int)
        assert_type(m.popitem(), tuple[str, int])
        assert_type(m.setdefault("a", 1), int)
        assert_type(m.incr("a"), int)
        assert_type(m.delete("a"), bool)
        assert_type(m.compare_and_set("a", MISSING, 1), bool)
        assert_type(m.update_with("a", lambda value: value + 1, 0), int)
        assert_type(list(m), list[str])
        assert_type(dict(m.items()), dict[str, int])
        assert_type(m.copy(), dict[str, int])
        assert_type(m | {1: b""}, dict[str | int, int | bytes])
        assert_type({1: b""} | m, dict[str | int, int | bytes])
        m |= things
        m.update(things, b=2)
        m.update([("a", 1)])
        m.update(a=1)
        with m.transaction():
            m["b"] = m["a"]
        with m.snapshot() as s:
            assert_type(s, SharedSnapshot[str, int])
            assert_type(s["a"], int)
            assert_type(s.diff(m.snapshot()), list[Change[str, int]])
            assert_type(s.version, int)
            mapping: Mapping[str, int] = s
        mutable: MutableMapping[str, int] = m
        assert_type(m.stats().entries, int)
        print(mapping, mutable, m.keys() & {"a"}, m.name, m.closed)
    assert_type(list_shared(), list[SharedInfo])


def on_disk(path: Path, things: dict[str, int]) -> None:
    with Cask[str, int](path, mode="x", sync=timedelta(seconds=1), ttl=5, dead_bytes_trigger=math.inf) as c:
        assert_type(c, Cask[str, int])
        assert_type(c["a"], int)
        assert_type(c.get("a"), int | None)
        assert_type(c.get("a", 0), int)
        assert_type(c.pop("a"), int)
        assert_type(c.pop("a", None), int | None)
        assert_type(c.popitem(), tuple[str, int])
        assert_type(c.setdefault("a", 1), int)
        assert_type(c.delete("a"), bool)
        c.put("a", 1)
        c.put("a", 1, ttl=timedelta(days=1))
        c.put("a", 1, 0.5)
        assert_type(list(c), list[str])
        assert_type(c.list_keys(), list[str])
        assert_type(dict(c.items()), dict[str, int])
        assert_type(c.copy(), dict[str, int])
        assert_type(c | {1: b""}, dict[str | int, int | bytes])
        c |= things
        c.update(things, b=2)
        assert_type(c.fold(lambda key, value, total: total + value, 0), int)
        assert_type(c.info("a").expires, datetime | None)
        with c.batch() as b:
            assert_type(b, CaskBatch[str, int])
            b["a"] = 1
            del b["a"]
            b.put("a", 1, ttl=5)
            b.update(things, c=1)
            b.commit()
        with c.snapshot() as s:
            assert_type(s, CaskSnapshot[str, int])
            assert_type(s["a"], int)
            assert_type(s.fold(lambda key, value, keys: keys + [key], list[str]()), list[str])
            mapping: Mapping[str, int] = s
        mutable: MutableMapping[str, int] = c
        assert_type(c.status().files[0].fragmentation, int)
        assert_type(c.merge(), CaskMerged)
        assert_type(c.merge(3).copied, int)
        assert_type(c.needs_merge(), bool)
        c.backup(b"there")
        print(mapping, mutable, c.keys() & {"a"}, c.path, c.closed, c.read_only)
    assert_type(Cask.salvage("here", path), list[CaskFault])
