"""Edits that are put off until somebody looks (python/src/pending.c): nobody may be able to tell.

Whichever dies or is read first, the Map that was edited, the one that came of it, or a second one that came of
it: the contents, the references held and the moment at which a value is let go of are as if each edit were
made at once.
"""

from __future__ import annotations

import copy
import gc
import pickle
import random
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from holdfast import Map, footprint
from model import exactly
from support import FAMILIES, TORTURE, Key, check_python, refcounts


class Thing:
    """Tracked by the collector, and can be seen to die."""

    dead: ClassVar[set[int]] = set()

    def __del__(self) -> None:
        Thing.dead.add(id(self))


def atom() -> str:
    """Not tracked: its nodes are of the plain kind. No type made in Python is, so nobody can see it die."""
    return f"atom {random.random()}"


assert gc.is_tracked(Thing()) and not gc.is_tracked(atom())
VALUES = pytest.mark.parametrize("make", [Thing, atom], ids=["tracked", "plain"])


def watch(thing: object) -> Callable[[], bool]:
    """Says whether anybody but the caller holds the thing."""
    if isinstance(thing, str):
        return lambda: sys.getrefcount(thing) > 2
    number = id(thing)
    Thing.dead.discard(number)
    return lambda: number not in Thing.dead


# -- when things are let go of --------------------------------------------------------------------------


@VALUES
@pytest.mark.parametrize("size", [1, 2, 40, 3000])
def test_a_replaced_value_dies_with_the_last_version_that_has_it(make: Any, size: int) -> None:
    m: Map[Any, Any] = Map({i: make() for i in range(size)})
    alive = watch(m[0])
    m = m.set(0, None)
    assert not alive()
    m._check()


@VALUES
@pytest.mark.parametrize("size", [1, 2, 3, 40, 3000])
def test_a_removed_value_dies_with_the_last_version_that_has_it(make: Any, size: int) -> None:
    m: Map[Any, Any] = Map({i: make() for i in range(size)})
    alive = watch(m[0])
    m = m.delete(0)
    assert not alive()
    m._check()
    assert len(m) == size - 1


@VALUES
def test_a_value_lives_as_long_as_any_version_has_it(make: Any) -> None:
    first: Map[Any, Any] = Map({i: make() for i in range(100)})
    alive = watch(first[7])
    second = first.set(7, None)
    twin = first.set(8, None)
    del first
    assert alive() and type(twin[7]) is type(make())
    assert second[7] is None
    del twin
    assert not alive()


@VALUES
def test_an_edit_whose_result_is_dropped_holds_nothing(make: Any) -> None:
    m: Map[Any, Any] = Map({i: i for i in range(100)})
    value = make()
    alive = watch(value)
    edited = m.set(7, value)
    del value
    assert alive()
    del edited
    assert not alive()
    assert m[7] == 7


@VALUES
def test_references_are_counted_as_by_an_edit_made_at_once(make: Any) -> None:
    keys, values = [Key("low 10 equal", i) for i in range(60)], [make() for i in range(60)]
    for order in range(3):
        before = refcounts(keys + values)
        base: Any = Map(zip(keys[:50], values[:50], strict=True))
        derived: Any = base.set(keys[55], values[55]).delete(keys[3]).set(keys[4], values[5])
        if order == 0:
            del base
            derived._check()
        elif order == 1:
            derived._check()
            del base
        else:
            del derived
            base._check()
        base = derived = None
        assert refcounts(keys + values) == before


# -- what is read ---------------------------------------------------------------------------------------

# Each gives what the Map `m`, its equal `e` (built at once) and the dict `d` with the same contents must give alike. Nothing
# looks at `m` before the operation named does.
LOOKS: dict[str, Callable[[Any, Any, Any], bool]] = {
    "m[k]": lambda m, e, d: m[6] == 6,
    "get": lambda m, e, d: m.get(7) == d.get(7),
    "in": lambda m, e, d: [k in m for k in (7, 99, 5, 77)] == [k in d for k in (7, 99, 5, 77)],
    "len": lambda m, e, d: len(m) == len(d) and bool(m),
    "iter": lambda m, e, d: set(m) == set(d),
    "items": lambda m, e, d: sorted(m.items(), key=str) == sorted(d.items(), key=str),
    "in keys": lambda m, e, d: (7 in m.keys()) == (7 in d),
    "in items": lambda m, e, d: ((7, 7) in m.items()) == (d.get(7) == 7) and (5, 5) in m.items(),
    "values": lambda m, e, d: sorted(m.values(), key=str) == sorted(d.values(), key=str),
    "keys &": lambda m, e, d: m.keys() & {7, 77} == d.keys() & {7, 77},
    "== Map": lambda m, e, d: m == e,
    "Map ==": lambda m, e, d: e == m,
    "!= Map": lambda m, e, d: m != e.set(5, "other"),
    "== dict": lambda m, e, d: m == d,
    "dict ==": lambda m, e, d: d == m,
    "!= dict": lambda m, e, d: m != d | {5: "other"},
    "== of its Map": lambda m, e, d: Map({1: m}) == Map({1: e}),
    "hash": lambda m, e, d: hash(m) == hash(e),
    "hash of its Map": lambda m, e, d: hash(Map({1: m})) == hash(Map({1: e})),
    "repr": lambda m, e, d: sorted(repr(m)) == sorted(repr(e)),
    "set": lambda m, e, d: dict(m.set(3, "three")) == d | {3: "three"},
    "set the same": lambda m, e, d: m.set(5, m[5]) is m,
    "delete": lambda m, e, d: dict(m.delete(5)) == {k: v for k, v in d.items() if k != 5},
    "remove": lambda m, e, d: dict(m.remove(5)) == {k: v for k, v in d.items() if k != 5},
    "pop": lambda m, e, d: m.pop(5) == (5, {k: v for k, v in d.items() if k != 5}),
    "assoc": lambda m, e, d: dict(m.assoc(1, 2, 3, 4)) == d | {1: 2, 3: 4},
    "dissoc": lambda m, e, d: dict(m.dissoc(1, 2)) == {k: v for k, v in d.items() if k not in (1, 2)},
    "assoc_in": lambda m, e, d: m.assoc_in([200, 1], 2) == d | {200: {1: 2}},
    "get_in": lambda m, e, d: Map({1: m}).get_in([1, 6]) == 6,
    "update with a dict": lambda m, e, d: dict(m.update({1: 2})) == d | {1: 2},
    "update with keywords": lambda m, e, d: dict(m.update(a=2)) == d | {"a": 2},
    "update of another": lambda m, e, d: dict(Map({1: 2}).update(m, a=1)) == {1: 2} | d | {"a": 1},
    "Map(m, **kw)": lambda m, e, d: dict(Map(m, a=1)) == d | {"a": 1},
    "| Map": lambda m, e, d: dict(m | Map({1: 2})) == d | {1: 2},
    "Map |": lambda m, e, d: dict(Map({1: 2}) | m) == {1: 2} | d,
    "| dict": lambda m, e, d: dict(m | {1: 2}) == d | {1: 2},
    "dict |": lambda m, e, d: dict({1: 2} | m) == {1: 2} | d,
    "merge": lambda m, e, d: m.merge({1: 2}, with_=lambda a, b: (a, b))[1] == (1, 2),
    "mutate": lambda m, e, d: dict(m.mutate()) == d,
    "t.update": lambda m, e, d: dict(updated(Map({1: 2}), m)) == {1: 2} | d,
    "t.update of few": lambda m, e, d: dict(updated(Map({i: 0 for i in range(90)}), m)) == dict.fromkeys(range(90), 0) | d,
    "diff": lambda m, e, d: m.diff(e) == [],
    "diff to": lambda m, e, d: e.diff(m) == [],
    "diff of what differs": lambda m, e, d: m.diff(e.set(5, 0)) == [(5, 5, 0)],
    "merge3 mine": lambda m, e, d: Map.merge3(e, m, e.set(2, 0)) == d | {2: 0},
    "merge3 theirs": lambda m, e, d: Map.merge3(e, e.set(2, 0), m) == d | {2: 0},
    "merge3 base": lambda m, e, d: Map.merge3(m, e.set(1, 0), e.set(2, 0)) == d | {1: 0, 2: 0},
    "pickle": lambda m, e, d: dict(pickle.loads(pickle.dumps(m))) == d,
    "deepcopy": lambda m, e, d: dict(copy.deepcopy(m)) == d,
    "copy": lambda m, e, d: dict(copy.copy(m)) == d,
    "sizeof": lambda m, e, d: m.__sizeof__() == e.__sizeof__(),
    "footprint": lambda m, e, d: footprint(m) == footprint(e),
    "match": lambda m, e, d: matches(m) == matches(d),
    "**": lambda m, e, d: dict(**Map({"a": 1, "c": 3}).set("b", 2)) == {"a": 1, "b": 2, "c": 3},
    "check": lambda m, e, d: m._check() is None,
}


def updated(m: Any, source: Any) -> Any:
    t = m.mutate()
    t.update(source)
    return t


def matches(m: Any) -> Any:
    match m:
        case {7: "new", 5: five}:
            return "replaced", five
        case {77: "new"}:
            return "added"
        case {5: five}:
            return "other", five


NEW_LIST = ("new", ["list"])
EDITS: dict[str, Callable[[Any], Any]] = {
    "replace": lambda m: m.set(7, "new"),
    "add": lambda m: m.set(77, "new"),
    "add deep": lambda m: m.set(7 + 2**40, "new"),
    "remove": lambda m: m.delete(7),
    "tracked": lambda m: m.set(7, NEW_LIST),
}


@pytest.mark.parametrize("alive", [True, False], ids=["base alive", "base gone"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("look", LOOKS)
def test_each_way_to_look_sees_the_edit(look: str, edit: str, alive: bool) -> None:
    content = {i: i for i in range(20)}
    base: Any = Map(content)
    model = dict(content)
    derived = EDITS[edit](base)
    if edit == "remove":
        del model[7]
    else:
        model[{"add": 77, "add deep": 7 + 2**40}.get(edit, 7)] = NEW_LIST if edit == "tracked" else "new"
    equal: Any = Map(model)
    if not alive:
        base = None
    if edit == "tracked" and "hash" in look:
        with pytest.raises(TypeError, match="unhashable"):
            LOOKS[look](derived, equal, model)
    else:
        assert LOOKS[look](derived, equal, model)
    derived._check()
    assert dict(derived) == model
    if alive:
        base._check()
        assert dict(base) == content


# -- programs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@VALUES
def test_random_programs(family: str, make: Any, rng: random.Random) -> None:
    """Versions are edited, read and dropped in any order; each must have exactly what it had."""
    keys = [Key(family, i) for i in range(40)]
    start = {k: make() for k in keys[:20]}
    pool: list[tuple[Any, dict[Any, Any]]] = [(Map(start), start)]
    for _ in range(30_000 if TORTURE else 1500):
        at = rng.randrange(len(pool))
        m, model = pool[at]
        action = rng.random()
        if action < 0.55:
            k, v = rng.choice(keys), rng.choice([None, 1, make()])
            made = m.set(k, v), model | {k: v}
        elif action < 0.85:
            k = rng.choice(keys)
            made = m.discard(k), {key: value for key, value in model.items() if key != k}
        elif action < 0.95:
            m._check()
            assert exactly(m) == exactly(model)
            continue
        else:
            t = m.mutate()
            t[keys[0]] = None
            made = t.finish(), model | {keys[0]: None}
        assert len(made[0]) == len(made[1])
        if rng.random() < 0.6:
            pool[at] = made  # the base dies, unless it is in the pool twice
        elif len(pool) < 12:
            pool.append(made)
        else:
            pool[rng.randrange(len(pool))] = made
        del m, made, model
    for m, model in pool:
        m._check()
        assert exactly(m) == exactly(model)


# -- foreign code ---------------------------------------------------------------------------------------


class Last:
    """Calls `act` as it dies."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


def test_a_finalizer_that_reads_and_edits_what_is_being_settled() -> None:
    for size in (1, 5, 100, 2000):
        seen: list[Any] = []
        box: list[Any] = []

        def act() -> None:
            m = box[0]
            seen.append(m["x"])  # noqa: B023
            box[0] = m.set("y", 1)  # noqa: B023
            gc.collect()

        base: Any = Map({i: i for i in range(size)}).set("x", Last(act))
        box.append(base.set("x", "new"))
        del base
        assert seen == ["new"]
        box[0]._check()
        assert dict(box[0]) == {i: i for i in range(size)} | {"x": "new", "y": 1}


def test_a_finalizer_that_drops_what_is_being_settled() -> None:
    box: list[Any] = []
    base: Any = Map({i: i for i in range(100)}).set("x", Last(box.clear))
    box.append(base.set("x", "new"))
    del base
    assert box == []


def test_edits_of_the_same_map_in_the_middle_of_an_edit() -> None:
    """__eq__ edits the Map whose edit is being worked out: the earlier edit is settled, the later one stands."""
    made: list[Any] = []
    m: Any = None

    class Meddler:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            if m is not None and not made:
                made.append(None)
                made[0] = m.set("inner", 1)
            return isinstance(other, Meddler)

    m = Map({i: i for i in range(50)}).set(Meddler(), "stored")
    outer = m.set(Meddler(), "outer")
    assert len(outer) == 51 and len(made[0]) == 52
    for version in (m, outer, made[0]):
        version._check()
    assert outer[Meddler()] == "outer" and made[0][Meddler()] == m[Meddler()] == "stored"


def test_an_exception_on_its_way_is_kept() -> None:
    def edit() -> Any:
        base = Map({i: i for i in range(100)})
        derived = base.set(1, [])
        results.append(derived)
        raise KeyError("mine")

    results: list[Any] = []
    with pytest.raises(KeyError, match="mine"):
        edit()
    assert results[0][1] == []


# -- the collector --------------------------------------------------------------------------------------


def test_a_cycle_through_a_put_off_edit_is_collected() -> None:
    for alive in (True, False):
        thing: Any = Thing()
        base = Map({i: i for i in range(100)})
        thing.map = base.set(7, thing)
        if alive:
            thing.base = base
        del base
        seen = watch(thing)
        del thing
        assert seen()
        gc.collect()
        assert not seen()


def test_what_only_a_put_off_edit_holds_is_not_collected() -> None:
    """Neither the nodes of a base that is garbage, nor the new value."""
    box: Any = Thing()
    base: Any = Map({i: [i] for i in range(100)})
    box.me, box.base = box, base
    derived = base.set(7, ["new"])
    del box, base
    gc.collect()
    derived._check()
    assert dict(derived) == {i: [i] for i in range(100)} | {7: ["new"]}


def test_the_collector_is_as_it_was() -> None:
    for enabled in (False, True):
        (gc.enable if enabled else gc.disable)()
        try:
            m: Any = Map({i: [i] for i in range(100)})
            for i in range(50):
                m = m.set(i, [])
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
    assert dict(m) == {i: [] if i < 50 else [i] for i in range(100)}


# -- memory ---------------------------------------------------------------------------------------------


def test_no_memory_when_the_base_dies() -> None:
    """The edit is put off further, and whoever looks gets the MemoryError or the Map."""
    check_python(
        """
        from _testcapi import remove_mem_hooks, set_nomemory
        from holdfast import Map

        def drop(box):
            set_nomemory(0)
            try:
                box.clear()
            finally:
                remove_mem_hooks()

        def look(m):
            set_nomemory(0)
            try:
                return m[5]
            except MemoryError:
                return MemoryError
            finally:
                remove_mem_hooks()

        for value in ("plain", ["tracked"]):
            for edit in (lambda m: m.set("new", value), lambda m: m.delete(7), lambda m: m.set(7, value)):
                box = [Map({i: i for i in range(100)})]
                derived = edit(box[0])
                length = len(derived)
                drop(box)
                first = look(derived)
                assert first in (5, MemoryError)
                derived._check()
                assert derived[5] == 5 and len(derived) == length
                assert edit(Map({i: i for i in range(100)})) == derived
        """
    )


def test_a_chain_costs_no_more_memory_than_one_version() -> None:
    numbers = list(range(1000))
    m: Any = Map(zip(numbers, numbers, strict=True))
    m = m.set(0, 0)
    gc.collect()
    before = sys.getallocatedblocks()
    for i in numbers:
        m = m.set(i, None).set(i, i)
    assert abs(sys.getallocatedblocks() - before) < 50


# -- threads --------------------------------------------------------------------------------------------


def test_readers_of_one_put_off_edit() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for n in range(200 if not TORTURE else 5000):
            base: Any = Map({i: [i] for i in range(50)})
            derived = base.set(n % 60, "new")
            failures: list[Any] = []
            start = threading.Barrier(3)

            def read() -> None:
                start.wait()  # noqa: B023
                for i in range(50):
                    if derived[i] != ("new" if i == n % 60 else [i]):  # noqa: B023
                        failures.append(i)  # noqa: B023

            threads = [threading.Thread(target=read) for _ in range(2)]
            for thread in threads:
                thread.start()
            start.wait()
            del base
            for thread in threads:
                thread.join()
            assert failures == []
            derived._check()
    finally:
        sys.setswitchinterval(interval)
