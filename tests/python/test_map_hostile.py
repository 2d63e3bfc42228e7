"""Bad input, and nothing lost: keys and values that raise, re-enter, collide, lie, die or form cycles.

Each operation of operations.py is made to fail, and to be re-entered, at every single call that it makes
into foreign code. Afterwards the operands must hold what they held, every reference count must be what it
was, and an operation that went through must have given the right answer. Allocations that fail have a file
of their own (test_map_nomemory.py), as has nesting that would overflow the C stack (test_map_deep.py).
"""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import holdfast
from holdfast import Map, TransientMap
from model import Model, exactly
from operations import OPERATIONS, Material, World, assert_as_before, outcome
from support import MERSENNE, Boom, Fuse, Key, Probe, alarm, boom, refcounts, settled_refcounts

pytestmark = pytest.mark.usefixtures("light_collector")

# -- keys that cannot be hashed ---------------------------------------------------------------------------

UNHASHABLE: list[Callable[[Map[Any, Any], Any], Any]] = [
    lambda m, bad: m[bad],
    lambda m, bad: bad in m,
    lambda m, bad: m.contains(bad),
    lambda m, bad: m.get(bad),
    lambda m, bad: m.get(bad, 1),
    lambda m, bad: m.set(bad, 1),
    lambda m, bad: m.assoc(bad, 1),
    lambda m, bad: m.assoc("a", 5, bad, 1),
    lambda m, bad: m.delete(bad),
    lambda m, bad: m.dissoc(bad),
    lambda m, bad: m.dissoc("a", bad),
    lambda m, bad: m.discard(bad),
    lambda m, bad: m.remove(bad),
    lambda m, bad: m.pop(bad),
    lambda m, bad: m.pop(bad, 1),
    lambda m, bad: m.get_in([bad]),
    lambda m, bad: m.get_in(["n", bad]),
    lambda m, bad: m.assoc_in([bad], 1),
    lambda m, bad: m.assoc_in(["n", bad], 1),
    lambda m, bad: m.assoc_in(["new", bad, "x"], 1),
    lambda m, bad: m.update_in(["n", bad], lambda old: old),
    lambda m, bad: m.dissoc_in(["n", bad]),
    lambda m, bad: Map([(bad, 1)]),
    lambda m, bad: Map([("a", 1), (bad, 1)]),
    lambda m, bad: Map.fromkeys([bad]),
    lambda m, bad: m.update([("a", 5), (bad, 1)]),
    lambda m, bad: bad in m.keys(),  # noqa: SIM118
    lambda m, bad: (bad, 1) in m.items(),
    lambda m, bad: m.mutate().update([("a", 5), (bad, 1)]),
]


@pytest.mark.parametrize("bad", [[], {}, set(), bytearray(), ([],)], ids=repr)
@pytest.mark.parametrize("call", range(len(UNHASHABLE)))
def test_unhashable_keys(call: int, bad: Any) -> None:
    m: Map[Any, Any] = Map(a=1, n=Map(x=1))
    kind = "list" if isinstance(bad, tuple) else type(bad).__name__
    for target in (m, Map(n=Map())):
        before = exactly(target)
        with pytest.raises(TypeError, match=f"unhashable type: '{kind}'"):
            UNHASHABLE[call](target, bad)
        assert exactly(target) == before


# -- foreign code that raises -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_raising_at_every_call(name: str) -> None:
    """The n-th __hash__, __eq__, __repr__ or __reduce__ raises, for every n until the operation goes through."""
    operation = OPERATIONS[name]
    material = Material()
    expected = outcome(operation, World(Model, material))
    for n in count(1):
        world = World(Map, material)
        before = refcounts(material.things)
        fuse = Fuse(n, boom)
        raised = False
        with alarm(fuse):
            try:
                result = operation(world)
            except Boom:
                raised = True
            except KeyError as error:
                result = error
            except holdfast.Conflict as error:
                result = error
        world.assert_unchanged()
        # Where the n-th call was made, its error came out; where it was not made, this was the last round.
        assert raised == fuse.blown
        if not raised:
            del result
        assert settled_refcounts(material.things, before) == before
        if not raised:
            break
    assert outcome(operation, world) == expected


# -- foreign code that re-enters --------------------------------------------------------------------------


def collect(world: World) -> None:
    gc.collect(0)


def make_maps(world: World) -> None:
    """Other maps, of the same keys, sharing the nodes that the operation is in."""
    Probe.alarm = None
    m = world.m.update(world.mapping).dissoc(world.key)
    assert m | world.less == m.update(dict(world.less.items()))
    hash(m)
    pickle.loads(pickle.dumps(m))


def spoil_inputs(world: World) -> None:
    """The mutable inputs lose what the operation is reading."""
    Probe.alarm = None
    world.mapping.clear()
    world.pairs.clear()
    world.path.clear()


def drop_operands(world: World) -> None:
    """Only the operation itself still holds its operands."""
    for name in ("m", "more", "less", "other", "far", "nested", "operands", "bases"):
        setattr(world, name, None)
    gc.collect(0)


@pytest.mark.parametrize("kind", ["probe", "pending"])
@pytest.mark.parametrize("act", [collect, make_maps, drop_operands], ids=lambda act: act.__name__)
@pytest.mark.parametrize("name", OPERATIONS)
def test_reentering_at_every_call(name: str, act: Callable[[World], None], kind: str) -> None:
    """At the n-th call something else happens; the operation must give the right answer all the same."""
    operation = OPERATIONS[name]
    material = Material(kind)
    expected = outcome(operation, World(Model, material))
    before = refcounts(material.things)
    for n in count(1):
        world = World(Map, material)
        operands = [] if act is drop_operands else world.operands
        contents = world.contents[: len(operands)]
        fuse = Fuse(n, lambda: act(world))  # noqa: B023
        with alarm(fuse):
            try:
                got = outcome(operation, world)
            except (AttributeError, TypeError) as error:
                # The operation fetches its operands one after the other: those dropped by then are None.
                assert act is drop_operands and "NoneType" in str(error)
                got = expected
        assert got == expected
        assert_as_before(operands, contents)
        if not fuse.blown:
            break
    del world, operands, got
    assert settled_refcounts(material.things, before) == before


@pytest.mark.parametrize("name", OPERATIONS)
def test_inputs_that_change_while_they_are_read(name: str) -> None:
    """A dict, list or path that is emptied meanwhile: any answer or a clean error, and sound operands."""
    operation = OPERATIONS[name]
    material = Material()
    before = refcounts(material.things)
    for n in count(1):
        world = World(Map, material)
        fuse = Fuse(n, lambda: spoil_inputs(world))  # noqa: B023
        with alarm(fuse):
            try:
                outcome(operation, world)
            except (RuntimeError, TypeError, ValueError, IndexError):
                pass
        assert_as_before(world.operands, world.contents)
        if not fuse.blown:
            break
    del world
    assert settled_refcounts(material.things, before) == before


def test_a_level_on_the_path_that_goes_away() -> None:
    """get_in through a dict, emptied by the __eq__ of the key being looked up in the Map it held."""
    for level in (lambda: Map({Probe(1): "found"}), lambda: {Probe(1): "found"}):
        holder = {"level": level()}
        m = Map(holder=holder)
        with alarm(Fuse(1, holder.clear)):
            assert m.get_in(["holder", "level", Probe(1)]) == "found"
        assert holder == {}


# -- transients re-entered during their own operation -----------------------------------------------------

REENTRY: dict[str, Callable[[Any], Any]] = {
    "t[k]": lambda t: t[Probe(3)],
    "in": lambda t: Probe(3) in t,
    "get": lambda t: t.get(Probe(3)),
    "t[k] = v": lambda t: operator.setitem(t, Probe(3), "new"),
    "t[absent] = v": lambda t: operator.setitem(t, Probe(51), "new"),
    "del t[k]": lambda t: operator.delitem(t, Probe(3)),
    "set": lambda t: t.set(Probe(3), "new"),
    "delete": lambda t: t.delete(Probe(3)),
    "pop": lambda t: t.pop(Probe(3)),
    "setdefault": lambda t: t.setdefault(Probe(51), "new"),
    "update a dict": lambda t: t.update(ENTRIES),
    "update a Map": lambda t: t.update(MORE),
    "update pairs": lambda t: t.update([(Probe(3), 1), (Probe(51), 2)]),
    "|=": lambda t: operator.ior(t, MORE),
    "==": lambda t: t == {Probe(i): Probe(i) for i in range(10)},
    "popitem": lambda t: t.popitem(),
    "items &": lambda t: t.items() & {(Probe(3), Probe(3))},
}
ENTRIES = {Probe(3): 1, Probe(51): 2}
MORE = Map({Probe(3): 1, Probe(51): 2, Probe(52): 3})

INTRUSIONS: dict[str, Callable[[Any], Any]] = {
    "set": lambda t: t.set("intruder", 1),
    "delete": lambda t: t.delete(Probe(3)),
    "clear": lambda t: t.clear(),
    "popitem": lambda t: t.popitem(),
    "update": lambda t: t.update({i: i for i in range(50)}),
    "finish": lambda t: t.finish(),
}


@pytest.mark.parametrize("intrusion", INTRUSIONS)
@pytest.mark.parametrize("name", REENTRY)
def test_a_transient_mutated_during_its_own_operation(name: str, intrusion: str) -> None:
    """From __hash__ or __eq__ of a key: RuntimeError, to the intruder or to the operation, and no harm done.

    A key may be hashed before the operation proper begins; an intrusion then is no re-entrance and simply
    comes first. What is never allowed is a lost or torn entry: the transient must be sound afterwards.
    """
    refused = 0
    for n in count(1):
        source = Map((Probe(i), Probe(i)) for i in range(20))
        contents = exactly(source)
        t = source.mutate()
        t[Probe(50)] = "already edited"

        def intrude() -> None:
            nonlocal refused
            Probe.alarm = None
            try:
                INTRUSIONS[intrusion](t)  # noqa: B023
            except RuntimeError:
                refused += 1
                raise

        fuse = Fuse(n, intrude)
        with alarm(fuse):
            try:
                REENTRY[name](t)
            except RuntimeError as error:
                assert "TransientMap" in str(error)
            except (KeyError, ValueError):
                assert intrusion in ("delete", "clear", "popitem", "finish")
        done = t.finish()
        done._check()
        assert len(done) == len(list(done.items()))
        assert exactly(source) == contents
        source._check()
        if not fuse.blown:
            break
    # popitem need not hash; what reads all of it may as well read the contents at its start.
    assert refused > 0 or name in ("popitem", "==", "items &")


def test_an_intruder_that_swallows_the_error_does_no_harm() -> None:
    m = Map((Probe(i), i) for i in range(20))
    t = m.mutate()

    def intrude() -> None:
        with pytest.raises(RuntimeError):
            t["intruder"] = 1

    probe = Probe(3)
    with alarm(Fuse(2, intrude)):
        t[probe] = "new"
    assert "intruder" not in t
    assert t[Probe(3)] == "new"
    assert t.finish() == m.set(Probe(3), "new")


class Dying:
    """A value whose end does something."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


def test_values_that_edit_the_transient_as_they_die() -> None:
    """Replacing a value ends it; its __del__ may see the transient before or after, but always whole."""
    failures: list[BaseException] = []

    def guarded(act: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            try:
                act()
            except RuntimeError:
                pass
            except BaseException as error:
                failures.append(error)

        return run

    for edit in (
        lambda t: operator.setitem(t, 5, "new"),
        lambda t: operator.delitem(t, 5),
        lambda t: t.pop(5) and None,
        lambda t: t.set(5, "new"),
        lambda t: t.delete(5),
        lambda t: t.update({5: "new", 6: "new"}),
        lambda t: t.update(Map({5: "new", 6: "new"})),
        lambda t: t.clear(),
    ):
        for act in (
            lambda t: t.clear(),
            lambda t: t.update({i: "again" for i in range(100)}),
            lambda t: [t.delete(i) for i in range(40)],
            lambda t: list(t.items()),
            lambda t: t.finish(),
        ):
            t: TransientMap[Any, Any] = Map({i: i for i in range(40)}).mutate()
            t[5] = Dying(guarded(lambda: act(t)))  # noqa: B023
            try:
                edit(t)
            except (RuntimeError, ValueError):
                pass
            done = t.finish()
            done._check()
            assert all(isinstance(value, int | str | Dying) for value in done.values())
    assert not failures


# -- foreign code that runs because memory was asked for --------------------------------------------------


class Garbage:
    """A cycle, thrown away at once; the collector calls `act` when it finds it."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act
        self.cycle = self

    def __del__(self) -> None:
        self.act()


def collecting_after(allocations: int, act: Callable[[], Any], call: Callable[[], Any]) -> tuple[Any, bool]:
    """call(), with a collection after so many more containers, which runs act(); what it gave, and whether it ran.

    Up to CPython 3.11 any allocation of a container may run finalizers, also where no key or value is asked.
    From 3.12 on they wait until Python code runs; then this is a test like any other.
    """
    ran = False

    def once() -> None:
        nonlocal ran
        ran = True
        gc.set_threshold(0)
        act()

    threshold = gc.get_threshold()
    gc.collect(0)
    gc.set_threshold(0)
    Garbage(once)
    # Pairs from the interpreter's free list set off no collection: take them all.
    pairs = [(i, None) for i in range(2100)]
    gc.set_threshold(gc.get_count()[0] + allocations)
    try:
        return call(), ran
    except Exception as error:
        return error, ran
    finally:
        gc.set_threshold(*threshold)
        pairs.clear()


EDITS_BY_GARBAGE: dict[str, Callable[[Any], Any]] = {
    "clear": lambda t: t.clear(),
    "replace": lambda t: [operator.setitem(t, i, [i]) for i in range(0, 40, 3)],
    "popitem": lambda t: t.popitem(),
    "grow": lambda t: t.update({i: [i] for i in range(40, 80)}),
    "finish": lambda t: t.finish(),
}
INTERRUPTED: dict[str, Callable[[Any], Any]] = {
    "popitem": lambda t: t.popitem(),
    "items": lambda t: list(t.items()),
    "values": lambda t: [value for value in t.values()],
    "items and values": lambda t: list(zip(t.items(), t.values(), strict=False)),
    "pop": lambda t: t.pop(5, None),
    "setdefault": lambda t: t.setdefault(99, [99]),
    "t[k] = v": lambda t: operator.setitem(t, 7, [7]),
    "t[absent] = v": lambda t: operator.setitem(t, 99, [99]),
    "del t[k]": lambda t: operator.delitem(t, 7),
    "get": lambda t: t.get(5),
    "update(dict)": lambda t: t.update({5: [5], 99: [99]}),
    "update(Map)": lambda t: t.update(Map({5: [5], 99: [99]})),
    "== dict": lambda t: t == {i: [i] for i in range(40)},
    "dict(t)": lambda t: dict(t),
    "Map(t)": lambda t: Map(t),
    "merge": lambda t: Map({5: [5]}).merge(t, with_=lambda left, right: right),
    "repr": lambda t: repr(t),
    "items &": lambda t: t.items() & {(5, 5)},
    "finish": lambda t: t.finish(),
}


@pytest.mark.parametrize("edit", EDITS_BY_GARBAGE)
@pytest.mark.parametrize("name", INTERRUPTED)
def test_garbage_that_edits_the_transient(name: str, edit: str) -> None:
    for n in count():
        # Lists that nobody else holds: if one is let go of too early, it is gone.
        t: Any = Map({i: [i] for i in range(40)}).mutate()

        def act() -> None:
            try:
                EDITS_BY_GARBAGE[edit](t)  # noqa: B023
            except (RuntimeError, ValueError, KeyError):
                pass

        result, ran = collecting_after(n, act, lambda: INTERRUPTED[name](t))  # noqa: B023
        assert not isinstance(result, Exception) or isinstance(result, RuntimeError | ValueError | KeyError | TypeError)
        if name in ("pop", "get") and isinstance(result, list):
            assert result == [5]
        if name == "popitem" and isinstance(result, tuple):
            assert result[1] == [result[0]]
        done = t.finish()
        done._check()
        assert all(value == [key] for key, value in done.items())
        if not ran:
            break


@pytest.mark.parametrize("kind", ["probe", "pending"])
@pytest.mark.parametrize("act", [drop_operands, spoil_inputs], ids=lambda act: act.__name__)
@pytest.mark.parametrize("name", OPERATIONS)
def test_garbage_that_intervenes(name: str, act: Callable[[World], None], kind: str) -> None:
    operation = OPERATIONS[name]
    material = Material(kind)
    expected = outcome(operation, World(Model, material))
    for n in count():
        world = World(Map, material)
        result, ran = collecting_after(n, lambda: act(world), lambda: outcome(operation, world))  # noqa: B023
        if isinstance(result, Exception):
            assert isinstance(result, AttributeError | TypeError | RuntimeError | ValueError)
        elif not ran:
            assert result == expected
        if act is not drop_operands:
            assert_as_before(world.operands, world.contents)
        if not ran:
            break


def test_values_that_use_the_map_as_they_die() -> None:
    seen = []
    for size in (2, 40, 2000):
        other = Map({i: i for i in range(size)})
        m = Map({i: Dying(lambda: seen.append(len(other.set("x", 1)))) for i in range(size)})  # noqa: B023
        less = m.dissoc(*range(size // 2))
        del m
        assert len(less) == size - size // 2
        del less
        assert seen == [size + 1] * size
        seen.clear()


def test_a_value_that_dies_during_iteration() -> None:
    def last_one() -> Iterator[Any]:
        m = Map({i: Dying(lambda: gc.collect(0)) for i in range(100)})
        yield from m.items()

    for step, (key, value) in enumerate(last_one()):
        assert 0 <= key < 100 and step < 100
        del value


# -- hashes that lie --------------------------------------------------------------------------------------


class TestCollisions:
    def test_a_hundred_keys_with_one_hash(self) -> None:
        keys = [Key("all 64 bits equal", i) for i in range(100)]
        m: Map[Key, int] = Map()
        for key in keys:
            m = m.set(key, key.number)
            m._check()
        assert m == {key: key.number for key in keys}
        assert m == Map((key, key.number) for key in reversed(keys))
        assert hash(m) == hash(frozenset(m.items()))
        half = m.dissoc(*keys[::2])
        half._check()
        assert sorted(half.values()) == list(range(1, 100, 2))
        assert half | m == m
        assert len(m.diff(half)) == 50
        assert Map.merge3(m, half, m.set(keys[1], "new")) == half.set(keys[1], "new")  # type: ignore[misc]
        with pytest.raises(KeyError):
            m[Key("all 64 bits equal", 100)]
        alone = m.dissoc(*keys[1:])
        alone._check()
        assert alone == {keys[0]: 0} and alone.__sizeof__() == Map({keys[0]: 0}).__sizeof__()
        assert pickle.loads(pickle.dumps(m)) == m

    def test_ten_thousand_keys_with_one_hash(self) -> None:
        """All of it is linear search; what counts is that nothing overflows, and nothing is lost."""

        class One(int):
            """Compared by int itself, in C."""

            def __hash__(self) -> int:
                return 1

        keys = list(map(One, range(10_000)))
        m = Map(zip(keys, range(10_000), strict=True))
        assert len(m) == 10_000
        assert m[keys[0]] == 0 and m[keys[9_999]] == 9_999 and m[One(5000)] == 5000
        assert One(10_000) not in m
        more = m.set(One(10_000), "new")
        less = more.dissoc(keys[0])
        assert len(more) == 10_001 and len(less) == 10_000
        assert more[One(10_000)] == "new" and keys[0] not in less
        assert {key for key, _ in zip(m, range(10), strict=False)} <= set(keys[:10]) | set(m)
        assert sorted(m.values()) == list(range(10_000))
        assert m.diff(more) == [(One(10_000), holdfast.MISSING, "new")]
        t = m.mutate()
        for key in keys[:20]:
            t[key] = "edited"
            del t[keys[-1 - int(key)]]
        assert len(t.finish()) == 9_980
        del m, more, less, t

    def test_adversarial_ints(self) -> None:
        for ints in (
            [(i << 32) | i for i in range(3000)],
            [i << 40 for i in range(3000)],
            [i * MERSENNE for i in range(300)],  # one hash
            [i * MERSENNE + j for i in range(100) for j in (-2, -1, 0, 1)],
            list(range(-1500, 1500)),
            [2**61 * i for i in range(300)],
        ):
            expected = {i: -i for i in ints}
            m = Map(expected)
            m._check()
            one_by_one: Map[int, int] = Map()
            for i in ints:
                one_by_one = one_by_one.set(i, -i)
            assert m == one_by_one == expected
            assert dict(m.dissoc(*ints[::2])) == {i: -i for i in ints[1::2]}

    def test_minus_one_and_minus_two(self) -> None:
        assert hash(-1) == hash(-2)
        m = Map({-1: "a"}).set(-2, "b")
        assert m == {-1: "a", -2: "b"} and len(m) == 2
        assert m.dissoc(-1) == {-2: "b"} and m.dissoc(-2) == {-1: "a"}
        assert Map({-1: 1}) | Map({-2: 2}) == {-1: 1, -2: 2}

    def test_nan(self) -> None:
        one, two = float("nan"), float("nan")
        m = Map({one: 1, two: 2})
        assert len(m) == 2
        assert m[one] == 1 and m[two] == 2
        assert float("nan") not in m
        assert m.set(one, 3)[one] == 3 and len(m.set(one, 3)) == 2
        assert len(m.set(float("nan"), 3)) == 3
        assert len(m.dissoc(one)) == 1
        assert m == {two: 2, one: 1}
        assert m == m.set(one, 0).set(one, 1)

    def test_none(self) -> None:
        m = Map({None: None})
        assert m[None] is None and None in m and m.get(None, 1) is None
        assert m.pop(None) == (None, {})
        assert m.set(None, 1) == {None: 1}
        assert Map(a=None).diff(Map()) == [("a", None, holdfast.MISSING)]
        assert Map.merge3(m, m.set(None, 1), m) == {None: 1}

    def test_a_hash_that_changes(self) -> None:
        """A broken key may be lost, never crash anything; every operation ends."""

        class Fickle:
            value = 0

            def __hash__(self) -> int:
                Fickle.value += 1
                return Fickle.value * 0x9E3779B97F4A7C15 & MERSENNE

        keys = [Fickle() for _ in range(300)]
        m = Map((key, i) for i, key in enumerate(keys))
        for n in (m, m.update(Map((key, 0) for key in keys)), m | m.set(keys[0], 1), m.dissoc(*keys)):
            for key in keys:
                n.get(key)
            assert len(list(n)) == len(n)
            assert len(n.diff(m)) >= 0
            hash(n)
            n == m  # noqa: B015
        t = m.mutate()
        for key in keys:
            t[key] = 1
            t.pop(key, None)
        assert len(list(t.finish())) == len(t.finish())

    def test_an_eq_that_lies(self) -> None:
        class Same:
            def __init__(self, number: int) -> None:
                self.number = number

            def __hash__(self) -> int:
                return self.number % 4

            def __eq__(self, other: object) -> bool:
                return True  # whatever the hash

        m = Map((Same(i), i) for i in range(64))
        assert len(m) == 4
        m._check()

    def test_an_eq_that_gives_no_bool(self) -> None:
        class Loose:
            def __init__(self, answer: Any) -> None:
                self.answer = answer

            def __hash__(self) -> int:
                return 1

            def __eq__(self, other: object) -> Any:
                return self.answer

        class NoBool:
            def __bool__(self) -> bool:
                raise Boom

        assert len(Map([(Loose([1]), 1), (Loose([1]), 2)])) == 1
        assert len(Map([(Loose([]), 1), (Loose([]), 2)])) == 2
        with pytest.raises(Boom):
            Map([(Loose(NoBool()), 1), (Loose(NoBool()), 2)])


# -- the collector ----------------------------------------------------------------------------------------


class Node:
    """Something with a __dict__ and weak references, to find out whether it is gone."""


class TestCycles:
    def test_cycles_through_a_map_are_collected(self) -> None:
        def through_a_list(m: Any, node: Any) -> Any:
            inside = [node]
            m = m.set("cycle", inside)
            inside.append(m)
            return m

        def through_a_list_in_a_map_in_a_list(m: Any, node: Any) -> Any:
            inside = [node]
            m = m.set("cycle", [Map(inner=inside)])
            inside.append(m)
            return m

        def through_a_value(m: Any, node: Any) -> Any:
            node.m = m.set("cycle", node)
            return node.m

        def through_a_key(m: Any, node: Any) -> Any:
            node.m = m.set(node, "cycle")
            return node.m

        def through_a_collision(m: Any, node: Any) -> Any:
            probe = Probe(2)
            probe.payload = node
            node.m = m.update({Probe(3): 0, probe: 1})
            return node.m

        def through_a_transient(m: Any, node: Any) -> Any:
            t = m.mutate()
            t["cycle"] = [t, node]
            return t

        def through_an_old_version(m: Any, node: Any) -> Any:
            node.versions = [m.set("cycle", node)]
            node.versions.append(node.versions[0].set("more", 1))
            return node.versions[1]

        def through_a_view(m: Any, node: Any) -> Any:
            node.m = m.set("cycle", node)
            node.views = [node.m.items(), iter(node.m.values()), iter(node.m)]
            return node.m

        def through_a_tuple(m: Any, node: Any) -> Any:
            node.m = m.set("cycle", (1, (2, (node,))))
            return node.m

        def through_a_map_as_key(m: Any, node: Any) -> Any:
            node.m = Map({Map({node: 1}): m})
            return node.m

        for size in (0, 5, 40, 3000):
            for tie in (
                through_a_list, through_a_list_in_a_map_in_a_list, through_a_value, through_a_key,
                through_a_collision, through_a_transient, through_an_old_version, through_a_view,
                through_a_tuple, through_a_map_as_key,
            ):  # fmt: skip
                node = Node()
                reference = weakref.ref(node)
                cycle = tie(Map({i: str(i) for i in range(size)}), node)
                del node
                gc.collect()
                assert reference() is not None, tie.__name__
                del cycle
                gc.collect()
                assert reference() is None, (tie.__name__, size)

    def test_a_container_that_becomes_tracked_later(self) -> None:
        """An empty dict is not tracked when it is stored; a collection leaves it so; then it closes a cycle."""
        for size in (0, 5, 40, 3000):
            inside: dict[str, Any] = {}
            m = Map({i: str(i) for i in range(size)}).set("d", inside)
            m = m.set("other", 1)
            gc.collect()
            node = Node()
            reference = weakref.ref(node)
            inside["node"] = node
            inside["m"] = m
            del m, inside, node
            gc.collect()
            assert reference() is None, size

    def test_a_collection_takes_nothing_from_the_living(self) -> None:
        """Nodes shared by many versions are visited through each; their contents must count once."""
        node = Node()
        node.color = "red"  # type: ignore[attr-defined]
        reference = weakref.ref(node)
        first = Map({i: [i] for i in range(100)}).set("node", node)
        del node
        versions = [first.set(i, "changed") for i in range(100)]
        garbage = [first.set("garbage", [i]) for i in range(100)]
        for i, m in enumerate(garbage):
            m["garbage"].append(garbage[(i + 1) % 100])
        del garbage, m
        gc.collect()
        assert reference() is not None
        assert reference().__dict__ == {"color": "red"}  # type: ignore[union-attr]
        assert all(v["node"] is reference() for v in versions)
        del first
        gc.collect()
        assert reference().__dict__ == {"color": "red"}  # type: ignore[union-attr]
        versions.clear()
        gc.collect()
        assert reference() is None

    def test_collections_between_edits(self) -> None:
        """Every step of a long history with the collector running at each allocation of a container."""
        threshold = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            m: Map[Any, Any] = Map()
            expected = {}
            for i in range(300):
                m = m.set(i % 70, [i])
                expected[i % 70] = [i]
                if i % 3 == 0:
                    m = m.dissoc(i % 50)
                    expected.pop(i % 50, None)
                t = m.mutate()
                t[i % 11] = expected[i % 11] = {"i": i}
                m = t.finish()
            assert m == expected
            m._check()
        finally:
            gc.set_threshold(*threshold)

    def test_what_the_collector_shows_can_be_handled(self) -> None:
        """gc.get_objects hands out the nodes as well: nothing done to one may crash or leak."""
        m: Map[Any, Any] = Map({i: [i] for i in range(500)}).set(Probe(2), 1).set(Probe(3), [1])
        assert m in gc.get_referrers(*gc.get_referents(m)) or gc.get_referents(m)
        found: set[int] = set()
        todo: list[Any] = [m]
        values = 0
        while todo:
            thing = todo.pop()
            if id(thing) in found:
                continue
            found.add(id(thing))
            for inner in gc.get_referents(thing):
                values += type(inner) is list
                if type(inner).__module__.startswith("holdfast") and not isinstance(inner, type):
                    todo.append(inner)
            repr(thing)
            if thing is not m:
                self.misuse(thing)
        assert values == 501
        m._check()

    def test_a_node_that_the_collector_showed_during_an_edit_can_be_kept(self) -> None:
        """An edit in place frees nodes whose contents have moved, unless a gc callback has got hold of them."""
        shown: list[Any] = []

        def show(phase: str, info: dict[str, int]) -> None:
            shown.append([thing for thing in gc.get_objects() if "node" in type(thing).__name__.lower()])
            del shown[:-3]

        # Made now, so that nodes are all that is allocated while the callback is on.
        lists = [[i] for i in range(600)]
        t: Any = Map(enumerate(lists[:100])).mutate()
        threshold = gc.get_threshold()
        gc.callbacks.append(show)
        gc.set_threshold(2, 1000, 1000)
        try:
            for i, value in enumerate(lists):
                t[i] = value
            for i in range(0, 600, 2):
                del t[i]
        finally:
            gc.set_threshold(*threshold)
            gc.callbacks.remove(show)
        assert any(shown)
        m = t.finish()
        shown.clear()
        gc.collect()
        m._check()
        assert m == {i: [i] for i in range(1, 600, 2)}

    @staticmethod
    def misuse(node: Any) -> None:
        cls = type(node)
        with pytest.raises(TypeError):
            cls()
        with pytest.raises(TypeError):
            object.__new__(cls)
        with pytest.raises(TypeError):
            type("Sub", (cls,), {})
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy, str, dir):
            try:
                attempt(node)
            except TypeError:
                pass
        with pytest.raises(TypeError):
            len(node)
        with pytest.raises(TypeError):
            iter(node)
        with pytest.raises(AttributeError):
            node.x = 1
        assert node == node and hash(node) == hash(node)
        assert sys.getsizeof(node) > 0
        assert gc.is_tracked(node) in (True, False)

    def test_referrers_of_a_value(self) -> None:
        value = Node()
        m = Map({i: i for i in range(100)}).set("value", value)
        holders = [thing for thing in gc.get_referrers(value) if type(thing).__module__.startswith("holdfast")]
        assert holders
        del holders
        assert m["value"] is value

    def test_no_reference_is_kept_or_lost(self) -> None:
        """Each operation, many times over: a leak would be at least one block each time."""
        material = Material()
        world = World(Map, material)
        for name, operation in OPERATIONS.items():
            grown = []
            # Free lists and caches of the interpreter fill up meanwhile, so the quietest round counts.
            while len(grown) < 2 or (min(grown) >= 20 and len(grown) < 10):
                before = sys.getallocatedblocks()
                for _ in range(20):
                    outcome(operation, world)
                gc.collect()
                grown.append(sys.getallocatedblocks() - before)
            assert min(grown) < 20, name


# -- threads ----------------------------------------------------------------------------------------------


def test_a_transient_used_from_two_threads() -> None:
    """Keys in Python give the other thread its turn in mid-operation: RuntimeError then, and no lost entry."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    t: TransientMap[Any, Any] = Map({Key("low 10 equal", i): 0 for i in range(50)}).mutate()
    done: list[list[int]] = [[], []]
    errors: list[BaseException] = []
    start = threading.Barrier(2)

    def run(which: int) -> None:
        start.wait()
        for i in range(1500):
            while True:
                try:
                    t[Key("two of a kind", i * 2 + which)] = which
                    break
                except RuntimeError as error:
                    if "TransientMap" not in str(error):
                        errors.append(error)
                        return
                except BaseException as error:
                    errors.append(error)
                    return
            done[which].append(i)

    threads = [threading.Thread(target=run, args=(which,)) for which in (0, 1)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
    m = t.finish()
    m._check()
    assert len(m) == 50 + 3000
    assert all(m[Key("two of a kind", i * 2 + which)] == which for which in (0, 1) for i in range(1500))


# -- wrong things in the wrong places ---------------------------------------------------------------------


def test_dunder_methods_called_by_hand() -> None:
    m: Any = Map(a=1)
    for call in (
        lambda: Map.__getitem__(5, "a"),  # type: ignore[arg-type]
        lambda: Map.__len__({}),  # type: ignore[arg-type]
        lambda: Map.set({}, "a", 1),  # type: ignore[call-overload]
        lambda: Map.__hash__({}),  # type: ignore[arg-type]
        lambda: Map.__repr__({}),
        lambda: Map.diff({}, m),  # type: ignore[arg-type]
        lambda: TransientMap.set(m, "a", 1),
        lambda: TransientMap.finish(m),
        lambda: TransientMap.__setitem__(m, "a", 1),
        lambda: holdfast.MapKeys.__len__(m),
        lambda: m.__deepcopy__(),
        lambda: m.__class_getitem__(),
        lambda: iter(m).__next__(1),
    ):
        with pytest.raises(TypeError):
            call()
    assert m == {"a": 1}


def test_deepcopy_with_bad_memos() -> None:
    m = Map(a=[1])
    for memo in (5, None, [], "memo"):
        try:
            assert m.__deepcopy__(memo) == m
        except (TypeError, AttributeError, IndexError, KeyError):
            pass
    assert m == {"a": [1]}


def test_callbacks_that_raise_or_reenter() -> None:
    base = Map({i: i for i in range(300)})
    mine = base.update({i: "mine" for i in range(100)})
    theirs = base.update({i: "theirs" for i in range(50, 150)})
    for stop in (1, 2, 25, 50):
        calls = 0

        def bad(*args: Any) -> Any:
            nonlocal calls, stop
            calls += 1
            gc.collect(0)
            if calls == stop:
                raise Boom
            return Map.merge3(base, mine, theirs, lambda *args: None)[60]

        before = refcounts([base, mine, theirs])
        with pytest.raises(Boom):
            Map.merge3(base, mine, theirs, bad)
        calls = 0
        with pytest.raises(Boom):
            mine.merge(theirs, with_=bad)
        assert refcounts([base, mine, theirs]) == before
    assert mine == {**base, **{i: "mine" for i in range(100)}}


def test_a_callback_that_returns_missing() -> None:
    """MISSING is what drops a key in merge3; elsewhere it is a value like any other."""
    m = Map(a=1)
    assert m.merge({"a": 2}, with_=lambda left, right: holdfast.MISSING)["a"] is holdfast.MISSING
    assert m.update_in(["a"], lambda old: holdfast.MISSING)["a"] is holdfast.MISSING
    odd = m.set("b", holdfast.MISSING)
    assert len(odd) == 2 and odd["b"] is holdfast.MISSING
    odd._check()
