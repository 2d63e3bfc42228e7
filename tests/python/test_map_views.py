"""keys(), values() and items() of a Map: what the views of a dict do, on the same contents."""

from __future__ import annotations

import collections.abc
import gc
import itertools
import operator
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Map, MapItems, MapKeys, MapValues

SOURCE = {f"k{i}": i for i in range(40)}
OPERATORS = [
    operator.and_, operator.or_, operator.sub, operator.xor,
    operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
]  # fmt: skip

OTHERS: dict[str, Callable[[], Any]] = {
    "set": lambda: {"k1", "k2", "z"},
    "an equal set": lambda: set(SOURCE),
    "a bigger set": lambda: {*SOURCE, "z"},
    "frozenset": lambda: frozenset(["k1", "z"]),
    "set of items": lambda: {("k1", 1), ("k2", 9), ("k1", 1, 1)},
    "all items": lambda: set(SOURCE.items()),
    "empty set": set,
    "dict keys": lambda: {"k1": 0, "z": 0}.keys(),
    "dict items": lambda: {"k1": 1, "k2": 0, "z": 0}.items(),
    "Map keys": lambda: Map(k1=0, z=0).keys(),
    "Map items": lambda: Map(k1=1, k2=0, z=0).items(),
    "equal Map keys": lambda: Map.fromkeys(SOURCE).keys(),
    "equal Map items": lambda: Map(SOURCE).items(),
    "list": lambda: ["k1", "k1", "z"],
    "list of pairs": lambda: [("k1", 1), ("k2", 9)],
    "tuple": lambda: ("k1",),
    "iterator": lambda: iter(["k1", "z"]),
    "string": lambda: "k1",
    "dict": lambda: {"k1": 1},
    "Map": lambda: Map(k1=1, z=2),
    "list of unhashables": lambda: [[], "k1"],
    "values view": lambda: SOURCE.values(),
    "int": lambda: 5,
    "None": lambda: None,
}


def outcome(call: Callable[[], Any]) -> Any:
    try:
        result = call()
    except TypeError:
        return TypeError
    return type(result), result


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("view", ["keys", "items"])
def test_set_algebra_is_that_of_dict_views(view: str, other: str, op: Any) -> None:
    ours, theirs = getattr(Map(SOURCE), view)(), getattr(SOURCE, view)()
    make = OTHERS[other]
    assert outcome(lambda: op(ours, make())) == outcome(lambda: op(theirs, make()))
    if not (other == "Map" and op is operator.or_):  # there the Map would answer
        assert outcome(lambda: op(make(), ours)) == outcome(lambda: op(make(), theirs))


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("view", ["keys", "items"])
def test_isdisjoint_is_that_of_dict_views(view: str, other: str) -> None:
    ours, theirs = getattr(Map(SOURCE), view)(), getattr(SOURCE, view)()
    make = OTHERS[other]
    assert outcome(lambda: ours.isdisjoint(make())) == outcome(lambda: theirs.isdisjoint(make()))


@pytest.mark.parametrize("view", ["keys", "items"])
def test_set_algebra_of_a_view_with_itself(view: str) -> None:
    ours, theirs = getattr(Map(SOURCE), view)(), getattr(SOURCE, view)()
    for op in OPERATORS:
        assert outcome(lambda: op(ours, ours)) == outcome(lambda: op(theirs, theirs))  # noqa: B023
    assert not ours.isdisjoint(ours)
    empty = getattr(Map(), view)()
    assert empty.isdisjoint(empty)
    assert empty <= ours and ours >= empty and empty < ours and not ours < ours


def test_sized_iterable_containers() -> None:
    m = Map(SOURCE)
    for view, plain in ((m.keys(), SOURCE.keys()), (m.values(), SOURCE.values()), (m.items(), SOURCE.items())):
        assert len(view) == 40
        assert bool(view)
        assert sorted(view) == sorted(plain)  # type: ignore[type-var]
        assert list(view) == list(view)
    for empty in (Map().keys(), Map().values(), Map().items()):
        assert len(empty) == 0 and not empty and list(empty) == []


def test_membership() -> None:
    nan = float("nan")
    m: Map[Any, Any] = Map({"a": 1, "n": nan, None: [1]})
    assert "a" in m.keys() and "z" not in m.keys()  # noqa: SIM118
    assert 1 in m.values() and 1.0 in m.values() and 2 not in m.values()
    assert nan in m.values() and float("nan") not in m.values()
    assert [1] in m.values()
    items = m.items()
    assert ("a", 1) in items and ("a", 1.0) in items and (None, [1]) in items and ("n", nan) in items
    for absent in (("a", 2), ("z", 1), ("a",), ("a", 1, 1), "a", 5, None, ["a", 1], ("n", float("nan"))):
        assert absent not in items
    for view in (m.keys(), {"a": 1}.keys()):
        with pytest.raises(TypeError, match="unhashable type: 'list'"):
            [] in view  # noqa: B015
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        ([], 1) in items  # noqa: B015


def test_items_with_unhashable_values() -> None:
    m: Map[str, Any] = Map(a=[1], b=2)
    assert m.items() == {"a": [1], "b": 2}.items()
    assert m.items() == Map(a=[1], b=2).items()
    assert m.items() != {"a": [2], "b": 2}.items()
    assert outcome(lambda: m.items() | set()) is TypeError
    assert outcome(lambda: m.items() & {("b", 2)}) == outcome(lambda: {"a": [1], "b": 2}.items() & {("b", 2)})


def test_views_know_their_map() -> None:
    m = Map(SOURCE)
    for view, cls in ((m.keys(), MapKeys), (m.values(), MapValues), (m.items(), MapItems)):
        assert type(view) is cls
        assert view.mapping is m  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            view.mapping = m  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            cls()  # type: ignore[call-arg]
        with pytest.raises(AttributeError):
            view.x = 1  # type: ignore[attr-defined]


def test_registered() -> None:
    m = Map(a=1)
    assert isinstance(m.keys(), collections.abc.KeysView) and isinstance(m.keys(), collections.abc.Set)
    assert isinstance(m.values(), collections.abc.ValuesView)
    assert isinstance(m.items(), collections.abc.ItemsView) and isinstance(m.items(), collections.abc.Set)
    assert not isinstance(m.values(), collections.abc.Set)


def test_not_hashable_not_reversible() -> None:
    m = Map(a=1)
    for view in (m.keys(), m.items()):
        with pytest.raises(TypeError, match="unhashable"):
            hash(view)
    for view in (m.keys(), m.values(), m.items()):
        with pytest.raises(TypeError):
            reversed(view)  # type: ignore[call-overload]


def test_values_are_equal_to_themselves_only() -> None:
    m = Map(a=1)
    view = m.values()
    assert view == view
    assert view != Map(a=1).values()


def test_repr() -> None:
    m: Map[str, Any] = Map(a=1)
    assert repr(m.keys()) == "holdfast.MapKeys(['a'])"
    assert repr(m.values()) == "holdfast.MapValues([1])"
    assert repr(m.items()) == "holdfast.MapItems([('a', 1)])"
    for name in ("values", "items"):
        inside: list[Any] = []
        m = Map(a=inside)
        view = getattr(m, name)()
        inside.append(view)
        assert "..." in repr(view)


def test_a_view_keeps_its_map_and_lets_go() -> None:
    m: Map[str, Any] = Map(a=[1])
    reference = weakref.ref(m)
    views = [m.keys(), m.values(), m.items()]
    del m
    assert reference() is not None
    assert [list(view) for view in views] == [["a"], [[1]], [("a", [1])]]
    del views
    gc.collect()
    assert reference() is None


def test_a_cycle_through_a_view_is_collected() -> None:
    inside: list[Any] = []
    m = Map(a=inside)
    reference = weakref.ref(m)
    inside.extend([m.keys(), m.values(), m.items(), iter(m), iter(m.items())])
    del m, inside
    gc.collect()
    assert reference() is None


def test_the_elements_of_an_intersection_are_those_that_a_dict_would_give() -> None:
    """Where equal elements differ: 1 and 1.0, a dict and a Map. The sizes and kinds of the operands decide."""
    ones: list[Any] = [1, 1.0, True]
    for left, right in itertools.product(ones, ones):
        for extra_left, extra_right in itertools.product(range(3), range(3)):
            a = {left: 0} | {f"a{i}": i for i in range(extra_left)}
            b = {right: 0} | {f"b{i}": i for i in range(extra_right)}
            others: list[Callable[[Any], Any]] = [lambda d: d.keys(), lambda d: set(d), lambda d: list(d), lambda d: frozenset(d)]
            for other in others:
                expected = a.keys() & other(b)
                for found in (Map(a).keys() & other(b), Map(a).keys() & other(Map(b))):
                    assert [(type(x), x) for x in found] == [(type(x), x) for x in expected]
            if extra_left == extra_right == 0:
                with pytest.raises(TypeError, match="unhashable"):
                    Map({left: Map()}).items() & Map({right: {}}).items()
                assert Map({left: {}}).items() & Map({right: Map()}).items() == {(1, Map())}
