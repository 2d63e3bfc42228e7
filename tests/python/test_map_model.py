"""Random programs of every operation, run on Maps and on plain dicts side by side.

Each step performs one call on both and compares what comes back; then the trie's invariants are checked,
and every version made so far must still hold exactly the objects it held when it was made.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

import holdfast
from holdfast import MISSING, Conflict, Map, TransientMap
from model import Model, TransientModel, exactly, same
from strategies import canonical, keys, keywords, pair_lists, runs, values
from support import FAMILIES, TORTURE, Key


class Version(NamedTuple):
    map: Map[Any, Any]
    model: Model


class Edited(NamedTuple):
    map: TransientMap[Any, Any]
    model: TransientModel
    source: Version


class Side:
    """One of the two worlds: calling it picks that world's object of a pair."""

    def __init__(self, cls: Any, name: str) -> None:
        self.cls = cls
        self.name = name

    def __call__(self, pair: Version | Edited) -> Any:
        return getattr(pair, self.name)


MAPS = Side(Map, "map")
MODELS = Side(Model, "model")
MAPPINGS: list[Callable[[Any], Any]] = [dict, OrderedDict, UserDict, ChainMap, lambda d: MappingProxyType(dict(d))]


def both(call: Callable[[Side], Any]) -> tuple[Any, Any] | None:
    """What the call gives in each world; None where it raises the same error in both."""
    try:
        expected = call(MODELS)
    except (KeyError, TypeError, Conflict) as error:
        try:
            got = call(MAPS)
        except type(error) as raised:
            if isinstance(error, KeyError):
                assert raised.args[0] is error.args[0]
            if isinstance(error, Conflict):
                assert set(raised.keys) == set(error.keys) and len(raised.keys) == len(error.keys)
            return None
        raise AssertionError(f"gave {got!r}, not {error!r}") from None
    return call(MAPS), expected


def agree(call: Callable[[Side], Any]) -> None:
    """Both worlds give the same plain answer."""
    if (answers := both(call)) is not None:
        got, expected = answers
        assert type(got) is type(expected)
        assert same(got, expected)


def model_of(m: Map[Any, Any]) -> Model:
    """In an order that does not depend on addresses, as that of the map may: a nan hashes by its own."""
    return Model(sorted(m.items(), key=repr))


def assert_exact(m: Any, model: Model | TransientModel) -> None:
    m._check() if isinstance(m, Map) else None
    assert len(m) == len(model)
    assert exactly(m) == exactly(model)


class MapMachine(RuleBasedStateMachine):
    versions = Bundle("versions")
    transients = Bundle("transients")

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Version] = []
        self.open: list[Edited] = []

    def keep(self, m: Any, model: Any) -> Version:
        assert type(m) is Map
        assert_exact(m, model)
        version = Version(m, model)
        self.kept.append(version)
        return version

    def derive(self, a: Version, *calls: Callable[[Side], Any]) -> Any:
        """Calls that give new versions of `a`, or the same object back where nothing changes."""
        new = []
        for call in calls:
            if (answers := both(call)) is not None:
                got, expected = answers
                assert got is a.map or expected is not a.model
                new.append(self.keep(got, expected))
        return multiple(*new)

    @invariant()
    def every_version_is_as_it_was(self) -> None:
        for m, model in self.kept:
            assert len(m) == len(model)
            assert exactly(m) == exactly(model)

    # -- build ----------------------------------------------------------------------------------------

    # Without a start, most programs would spend most of their steps on empty maps.
    @initialize(target=versions, source=pair_lists, run=runs())
    def start(self, source: Any, run: Any) -> Any:
        return multiple(*(self.keep(Map(pairs), Model(pairs)) for pairs in (source, run, source + run)))

    @initialize(target=transients, source=pair_lists | runs())
    def start_a_transient(self, source: Any) -> Edited:
        return self.begin_from(self.keep(Map(source), Model(source)), "mutate")

    @rule(target=versions, source=pair_lists | runs())
    def build_from_pairs(self, source: Any) -> Version:
        return self.keep(*(side.cls(iter(source)) for side in (MAPS, MODELS)))

    @rule(target=versions, source=pair_lists | runs(), mapping=st.sampled_from(MAPPINGS), kw=keywords)
    def build_from_a_mapping(self, source: Any, mapping: Any, kw: Any) -> Version:
        made = mapping(dict(source))
        return self.keep(*(side.cls(made, **kw) for side in (MAPS, MODELS)))

    @rule(target=versions, source=pair_lists, kw=keywords, known=st.lists(keys, max_size=5), value=values)
    def build_in_other_ways(self, source: Any, kw: Any, known: Any, value: Any) -> Any:
        return multiple(
            self.keep(*(side.cls() for side in (MAPS, MODELS))),
            self.keep(*(side.cls(**kw) for side in (MAPS, MODELS))),
            self.keep(*(side.cls.create(**kw) for side in (MAPS, MODELS))),
            self.keep(*(side.cls.from_dict(dict(source)) for side in (MAPS, MODELS))),
            self.keep(*(side.cls.fromkeys(known, value) for side in (MAPS, MODELS))),
            self.keep(*(side.cls.fromkeys(known) for side in (MAPS, MODELS))),
        )

    @rule(target=versions, a=versions, kw=keywords)
    def build_from_a_map(self, a: Version, kw: Any) -> Version:
        assert Map(a.map) is a.map
        return self.keep(Map(a.map, **kw), Model(a.model, **kw))

    # -- one entry ------------------------------------------------------------------------------------

    @rule(a=versions, key=keys, default=values)
    def read(self, a: Version, key: Any, default: Any) -> None:
        agree(lambda side: side(a)[key])
        agree(lambda side: side(a).get(key))
        agree(lambda side: side(a).get(key, default))
        agree(lambda side: key in side(a))
        agree(lambda side: side(a).contains(key))
        agree(lambda side: len(side(a)))
        agree(lambda side: bool(side(a)))

    @rule(target=versions, a=versions, key=keys, value=values)
    def put(self, a: Version, key: Any, value: Any) -> Any:
        return self.derive(
            a,
            lambda side: side(a).assoc(key, value),
            lambda side: side(a).set(key, value),
        )

    @rule(target=versions, a=versions, pairs=pair_lists.filter(bool))
    def put_many(self, a: Version, pairs: Any) -> Any:
        return self.derive(a, lambda side: side(a).assoc(*[x for pair in pairs for x in pair]))

    @rule(target=versions, a=versions, data=st.data(), value=values, method=st.sampled_from(["set", "assoc"]))
    def put_over_a_present_key(self, a: Version, data: Any, value: Any, method: str) -> Any:
        if not a.model:
            return multiple()
        key = data.draw(st.sampled_from(list(a.model.d)))
        return self.derive(
            a,
            lambda side: getattr(side(a), method)(key, value),
            lambda side: getattr(side(a), method)(key, a.model[key]),
        )

    @rule(target=versions, a=versions, key=keys, data=st.data())
    def remove_one(self, a: Version, key: Any, data: Any) -> Any:
        if a.model:
            key = data.draw(st.just(key) | st.sampled_from(list(a.model.d)))
        return self.derive(
            a,
            lambda side: side(a).dissoc(key),
            lambda side: side(a).delete(key),
            lambda side: side(a).discard(key),
            lambda side: side(a).remove(key),
        )

    @rule(target=versions, a=versions, gone=st.lists(keys, min_size=1, max_size=5), data=st.data())
    def remove_many(self, a: Version, gone: Any, data: Any) -> Any:
        if a.model:
            gone += data.draw(st.lists(st.sampled_from(list(a.model.d)), max_size=30))
        return self.derive(a, lambda side: side(a).dissoc(*gone))

    @rule(target=versions, a=versions, key=keys, default=values, data=st.data())
    def pop(self, a: Version, key: Any, default: Any, data: Any) -> Any:
        if a.model:
            key = data.draw(st.just(key) | st.sampled_from(list(a.model.d)))
        new = []
        for args in [(key,), (key, default)]:
            if (answers := both(lambda side, args=args: side(a).pop(*args))) is not None:  # type: ignore[misc]
                (got_value, got), (value, model) = answers
                assert got_value is value
                assert got is a.map or model is not a.model
                new.append(self.keep(got, model))
        return multiple(*new)

    # -- many entries ---------------------------------------------------------------------------------

    @rule(target=versions, a=versions, source=pair_lists | runs(), kw=keywords, mapping=st.sampled_from([list, iter, *MAPPINGS]))
    def update(self, a: Version, source: Any, kw: Any, mapping: Any) -> Any:
        if mapping not in (list, iter):
            source = dict(source)
        return self.derive(a, lambda side: side(a).update(mapping(source), **kw))

    @rule(target=versions, a=versions, b=versions, c=versions)
    def unite(self, a: Version, b: Version, c: Version) -> Any:
        return self.derive(
            a,
            lambda side: side(a).update(side(b)),
            lambda side: side(a) | side(b),
            lambda side: side(a).merge(side(b), side(c)),
            lambda side: side(a).merge(),
        )

    @rule(target=versions, a=versions, source=pair_lists | runs(), mapping=st.sampled_from(MAPPINGS))
    def unite_with_a_mapping(self, a: Version, source: Any, mapping: Any) -> Any:
        other = mapping(dict(source))
        if not isinstance(other, ChainMap | MappingProxyType):  # these answer themselves, and not with a Map
            self.keep(other | a.map, other | a.model)
        return self.derive(
            a,
            lambda side: side(a) | other,
            lambda side: side(a).merge(other),
        )

    @rule(target=versions, a=versions, b=versions, source=pair_lists)
    def merge_with(self, a: Version, b: Version, source: Any) -> Any:
        def choose(left: Any, right: Any) -> Any:
            return min(left, right, key=repr)  # not id: hypothesis must see the same program do the same again

        return self.derive(
            a,
            lambda side: side(a).merge(side(b), dict(source), with_=choose),
            lambda side: side(a).merge(side(b), with_=lambda left, right: left),
            lambda side: side(a).merge(side(b), with_=lambda left, right: right),
        )

    @rule(target=versions, a=versions)
    def clear_and_copy(self, a: Version) -> Any:
        assert a.map.copy() is a.map
        assert copy.copy(a.map) is a.map
        return self.keep(a.map.clear(), Model())

    # -- reading all of it ----------------------------------------------------------------------------

    @rule(a=versions)
    def iterate(self, a: Version) -> None:
        order = list(a.map)
        assert {id(k) for k in order} == {id(k) for k in a.model}
        assert len(order) == len(a.model)
        assert list(map(id, a.map)) == list(map(id, order)) == list(map(id, a.map.keys()))
        assert [id(a.model[k]) for k in order] == list(map(id, a.map.values()))
        assert [(id(k), id(a.model[k])) for k in order] == [(id(k), id(v)) for k, v in a.map.items()]

    @rule(a=versions, b=versions, some=st.sets(keys, max_size=5), key=keys, value=values)
    def views_are_sets(self, a: Version, b: Version, some: Any, key: Any, value: Any) -> None:
        for other in (lambda side: side(b).keys(), lambda side: some, lambda side: list(some)):
            agree(lambda side: side(a).keys() & other(side))  # noqa: B023
            agree(lambda side: side(a).keys() | other(side))  # noqa: B023
            agree(lambda side: side(a).keys() - other(side))  # noqa: B023
            agree(lambda side: side(a).keys() ^ other(side))  # noqa: B023
            agree(lambda side: side(a).keys().isdisjoint(other(side)))  # noqa: B023
        for other in (lambda side: side(b).keys(), lambda side: some, lambda side: a.model.keys()):
            agree(lambda side: side(a).keys() <= other(side))  # noqa: B023
            agree(lambda side: side(a).keys() < other(side))  # noqa: B023
            agree(lambda side: side(a).keys() >= other(side))  # noqa: B023
            agree(lambda side: side(a).keys() > other(side))  # noqa: B023
            agree(lambda side: side(a).keys() == other(side))  # noqa: B023
            agree(lambda side: other(side) - side(a).keys())  # noqa: B023
        agree(lambda side: key in side(a).keys())  # noqa: SIM118
        agree(lambda side: value in side(a).values())
        agree(lambda side: (key, value) in side(a).items())

    @rule(a=versions, b=versions)
    def item_views_are_sets(self, a: Version, b: Version) -> None:
        agree(lambda side: side(a).items() == side(b).items())
        agree(lambda side: side(a).items() <= side(b).items())
        agree(lambda side: side(a).items() & side(b).items())
        agree(lambda side: side(a).items() | side(b).items())
        agree(lambda side: side(a).items() - side(b).items())
        # With unhashable values a dict's ^ gives an answer where it happens to need no hash of them.
        if both(lambda side: set(side(a).items()) | set(side(b).items())) is not None:
            agree(lambda side: side(a).items() ^ side(b).items())
        agree(lambda side: side(a).items().isdisjoint(side(b).items()))

    @rule(a=versions, b=versions, mapping=st.sampled_from(MAPPINGS))
    def compare(self, a: Version, b: Version, mapping: Any) -> None:
        agree(lambda side: side(a) == side(b))
        agree(lambda side: side(a) != side(b))
        for x in (a, b):
            assert (a.map == mapping(x.model.d)) is (a.model.d == x.model.d)
            assert (mapping(x.model.d) == a.map) is (a.model.d == x.model.d)

    @rule(a=versions)
    def hash_it(self, a: Version) -> None:
        agree(lambda side: hash(side(a)))

    @rule(a=versions)
    def show(self, a: Version) -> None:
        text = repr(a.map)
        assert len(text) == len(repr(a.model))
        assert text.startswith("holdfast.Map(")
        for k, v in a.model.items():
            assert f"{k!r}: {v!r}" in text

    # -- versions -------------------------------------------------------------------------------------

    @rule(a=versions, b=versions)
    def diff(self, a: Version, b: Version) -> None:
        found = a.map.diff(b.map)
        expected = a.model.diff(b.model)
        assert type(found) is list
        # Which of two equal keys is named is open; the values are the very objects.
        assert {c.key: (id(c.old), id(c.new)) for c in found} == {c.key: (id(c.old), id(c.new)) for c in expected}
        assert len(found) == len(expected)

    @rule(a=versions, b=versions)
    def apply_a_diff(self, a: Version, b: Version) -> None:
        t = a.map.mutate()
        for key, _old, new in a.map.diff(b.map):
            if new is MISSING:
                del t[key]
            else:
                t[key] = new
        applied = t.finish()
        applied._check()
        assert applied == b.map

    @rule(target=versions, base=versions, mine=versions, theirs=versions, which=st.integers(0, 4))
    def merge3(self, base: Version, mine: Version, theirs: Version, which: int) -> Any:
        def resolve(*args: Any) -> Any:
            key, b, m, t = args
            assert not same(m, t) and not same(b, m) and not same(b, t)
            return [m, t, b, MISSING, key][which]

        new = []
        for settle in (None, resolve):
            answers = both(lambda side, s=settle: side.cls.merge3(side(base), side(mine), side(theirs), s))  # type: ignore[misc]
            if answers is not None:
                got, expected = answers
                got._check()
                assert got == expected.d
                new.append(self.keep(got, model_of(got)))
        return multiple(*new)

    @rule(target=versions, base=versions, left=pair_lists, right=pair_lists, gone=st.lists(keys, max_size=3))
    def merge3_of_near_versions(self, base: Version, left: Any, right: Any, gone: Any) -> Any:
        mine = Version(base.map.update(left), base.model.update(left))
        theirs = Version(base.map.update(right), base.model.update(right))
        if gone:
            theirs = Version(theirs.map.dissoc(*gone), theirs.model.dissoc(*gone))
        return self.merge3_any(base, mine, theirs)

    def merge3_any(self, base: Version, mine: Version, theirs: Version) -> Any:
        answers = both(lambda side: side.cls.merge3(side(base), side(mine), side(theirs), lambda k, b, m, t: t))
        assert answers is not None
        got, expected = answers
        got._check()
        assert got == expected.d
        return self.keep(got, model_of(got))

    # -- copies ---------------------------------------------------------------------------------------

    @rule(target=versions, some=st.lists(versions, min_size=1, max_size=4), protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
    def pickle_some(self, some: Any, protocol: int) -> Any:
        loaded = pickle.loads(pickle.dumps([v.map for v in some], protocol))
        for m, v in zip(loaded, some, strict=True):
            assert type(m) is Map
            assert canonical(m) == canonical(v.map)
            m._check()
        # Versions may come back as one object where they had the same root, never one as two.
        assert len({id(m) for m in loaded}) <= len({id(v.map) for v in some})
        return self.keep(loaded[0], model_of(loaded[0]))

    @rule(target=versions, a=versions)
    def deepcopy(self, a: Version) -> Version:
        copied = copy.deepcopy(a.map)
        assert canonical(copied) == canonical(a.map)
        for k, v in copied.items():
            # A mutable value is a new one; the copies of equal keys find each other.
            assert not (isinstance(v, list | dict) and any(v is old for old in a.map.values()))
            assert copied[k] is v
        return self.keep(copied, model_of(copied))

    @rule(some=st.lists(versions, min_size=1, max_size=6))
    def footprints(self, some: Any) -> None:
        maps = [v.map for v in some]
        alone = [holdfast.footprint(m) for m in maps]
        together = holdfast.footprint(*maps)
        assert max(alone) <= together <= sum(alone)
        assert holdfast.footprint(maps[0], maps[0]) == alone[0]

    # -- transients -----------------------------------------------------------------------------------

    @rule(target=transients, a=versions, name=st.sampled_from(["mutate", "transient"]))
    def begin(self, a: Version, name: str) -> Edited:
        return self.begin_from(a, name)

    def begin_from(self, a: Version, name: str) -> Edited:
        edited = Edited(getattr(a.map, name)(), a.model.mutate(), a)
        self.open.append(edited)
        return edited

    @rule(t=transients, key=keys, value=values)
    def edit_one(self, t: Edited, key: Any, value: Any) -> None:
        agree(lambda side: side(t).__setitem__(key, value))
        assert t.map[key] is value

    @rule(t=transients, key=keys, default=values, data=st.data())
    def edit_and_read(self, t: Edited, key: Any, default: Any, data: Any) -> None:
        if t.model:
            key = data.draw(st.just(key) | st.sampled_from(list(t.model.data)))
        for call in (
            lambda side: key in side(t),
            lambda side: side(t)[key],
            lambda side: side(t).get(key),
            lambda side: side(t).get(key, default),
            lambda side: side(t).setdefault(key, default),
            lambda side: side(t).pop(key),
            lambda side: side(t).pop(key),
            lambda side: side(t).pop(key, default),
            lambda side: side(t).setdefault(key),
            lambda side: side(t).__delitem__(key),
            lambda side: side(t).__delitem__(key),
            lambda side: len(side(t)),
        ):
            agree(call)

    @rule(t=transients, key=keys, value=values, gone=keys)
    def edit_in_a_chain(self, t: Edited, key: Any, value: Any, gone: Any) -> None:
        assert t.map.set(key, value).delete(gone) is t.map
        t.model.set(key, value).delete(gone)

    @rule(t=transients, source=pair_lists | runs(), kw=keywords, mapping=st.sampled_from([list, iter, *MAPPINGS]))
    def edit_many(self, t: Edited, source: Any, kw: Any, mapping: Any) -> None:
        if mapping not in (list, iter):
            source = dict(source)
        agree(lambda side: side(t).update(mapping(source), **kw))

    @rule(t=transients, a=versions)
    def edit_with_a_map(self, t: Edited, a: Version) -> None:
        t.map.update(a.map)
        t.model.update(a.model.d)
        m = t.map
        m |= a.map
        assert m is t.map

    @rule(
        target=versions, a=versions, gone=st.integers(0, 60), source=pair_lists | runs(),
        picks=st.lists(st.integers(0, 200), max_size=30), clear=st.booleans(),
    )  # fmt: skip
    def edit_session(
        self, a: Version, gone: int, source: Any, picks: list[int], clear: bool
    ) -> Version:
        """begin, many edits, finish: the transients above live long, and few programs finish them."""
        t = self.begin_from(a, "mutate")
        for key, value in source[: len(source) // 2]:
            t.map[key] = t.model[key] = value
        for pick in picks:
            if t.model:
                key = list(t.model.data)[pick % len(t.model)]
                assert t.map.pop(key) is t.model.pop(key)
        self.edit_away_from(t, gone)
        if clear:
            t.map.clear()
            t.model.clear()
        for key, value in source[len(source) // 2 :]:
            t.map[key] = t.model[key] = value
        self.every_transient_is_as_its_model()
        return self.finish_one(t, "finish")

    @rule(t=transients, gone=st.integers(1, 40))
    def edit_away(self, t: Edited, gone: int) -> None:
        self.edit_away_from(t, gone)

    def edit_away_from(self, t: Edited, gone: int) -> None:
        for _ in range(min(gone, len(t.model))):
            key, value = t.map.popitem()
            assert t.model.data.pop(key) is value

    @rule(t=transients)
    def edit_clear(self, t: Edited) -> None:
        t.map.clear()
        t.model.clear()

    @rule(t=transients, a=versions, other=transients)
    def transient_views(self, t: Edited, a: Version, other: Edited) -> None:
        assert exactly(t.map) == exactly(t.model)
        assert {id(k) for k in t.map} == {id(k) for k in t.map.keys()} == {id(k) for k in t.model.data}
        assert sorted(map(id, t.map.values())) == sorted(map(id, t.model.data.values()))
        assert len(t.map.keys()) == len(t.map.values()) == len(t.map.items()) == len(t.model)
        assert (t.map == a.map) is (t.model.data == a.model.d)
        assert (t.map == t.model.data) is True
        assert (t.map == other.map) is (t.model.data == other.model.data)
        assert t.map.keys() & a.map.keys() == t.model.data.keys() & a.model.d.keys()

    @invariant()
    def every_transient_is_as_its_model(self) -> None:
        for t in self.open:
            assert len(t.map) == len(t.model)
            assert exactly(t.map) == exactly(t.model)

    @rule(target=versions, t=consumes(transients), name=st.sampled_from(["finish", "persistent", "with"]))
    def finish(self, t: Edited, name: str) -> Version:
        return self.finish_one(t, name)

    def finish_one(self, t: Edited, name: str) -> Version:
        self.open = [edited for edited in self.open if edited.map is not t.map]
        if name == "with":
            with t.map as same_one:
                assert same_one is t.map
            name = "finish"
        m = getattr(t.map, name)()
        assert t.map.finish() is m
        assert_exact(t.source.map, t.source.model)
        return self.keep(m, t.model.finish())


TestMapModel = MapMachine.TestCase


# -- long programs on bigger maps ---------------------------------------------------------------------

POOLS: dict[str, Callable[[int], Any]] = {
    **{family: partial(Key, family) for family in FAMILIES},
    "int": lambda i: (i << 32) | i,
    "str": lambda i: f"key {i}",
    "mixed": lambda i: [i, str(i), (i, i), float(i) + 0.5, Key("low 5 equal", i)][i % 5],
}


def edit_in_place(side: Side, a: Version, pool: list[Any], rng: random.Random) -> Any:
    t = side(a).mutate()
    for key in rng.choices(pool, k=rng.choice([1, 10, 100])):
        if rng.random() < 0.5:
            t[key] = rng.randrange(4)
        else:
            t.delete(key)
    return t.finish()


def a_step(side: Side, some: list[Version], pool: list[Any], rng: random.Random) -> Any:
    """One random call; `rng` is in the same state for both sides."""
    a, b, c = rng.choices(some, k=3)
    picked = rng.choices(pool, k=rng.choice([1, 1, 5, len(pool) // 3]))
    value = rng.randrange(4)
    calls: list[Callable[[], Any]] = [
        lambda: side(a).set(picked[0], value),
        lambda: side(a).dissoc(*picked),
        lambda: side(a).update(dict.fromkeys(picked, value)),
        lambda: side(a).update((key, rng.randrange(4)) for key in picked),
        lambda: side(a) | side(b),
        lambda: side(a).merge(side(b), side(c), with_=min),
        lambda: side.cls.merge3(side(a), side(b), side(c), lambda key, base, mine, theirs: mine),
        lambda: edit_in_place(side, a, pool, rng),
    ]
    return rng.choice(calls)()


@pytest.mark.parametrize("pool", POOLS)
def test_long_programs(pool: str, rng: random.Random) -> None:
    size = 60 if pool == "all 64 bits equal" else 700
    steps = 60 * (100 if TORTURE else 1)
    known = [POOLS[pool](i) for i in range(size)]
    entries = [(key, rng.randrange(4)) for key in known if rng.random() < 0.6]
    kept = [Version(Map(entries), Model(entries)), Version(Map(), Model())]
    for _ in range(steps):
        state = rng.getstate()
        model = a_step(MODELS, kept, known, rng)
        rng.setstate(state)
        m = a_step(MAPS, kept, known, rng)
        m._check()
        assert m == model.d
        if len(kept) == 25:
            kept.pop(rng.randrange(25))
        kept.append(Version(m, Model(m)))
        a, b = rng.choices(kept, k=2)
        assert {c.key: (c.old, c.new) for c in a.map.diff(b.map)} == {c.key: c[1:] for c in a.model.diff(b.model)}
        assert (a.map == b.map) is (a.model == b.model)
        assert hash(a.map) == hash(a.model)
    for version in kept:
        assert exactly(version.map) == exactly(version.model)
        assert version.map.diff(Map(version.model.d)) == []


# -- paths --------------------------------------------------------------------------------------------

levels = st.sampled_from(["a", "b", 1, None])
paths = st.lists(levels, min_size=1, max_size=4)


def freeze(nested: Any) -> Any:
    return Map({k: freeze(v) for k, v in nested.items()}) if isinstance(nested, Model) else nested


class PathMachine(RuleBasedStateMachine):
    """assoc_in, update_in, get_in and dissoc_in, on Maps in Maps."""

    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Version] = []

    def derive(self, a: Version, call: Callable[[Side], Any]) -> Any:
        if (answers := both(call)) is None:
            return multiple()
        got, expected = answers
        assert got is a.map or expected is not a.model
        got._check()
        version = Version(got, expected)
        self.kept.append(version)
        return multiple(version)

    @invariant()
    def every_version_is_as_it_was(self) -> None:
        for m, model in self.kept:
            assert m == freeze(model)

    @initialize(target=versions)
    def start(self) -> Version:
        return Version(Map(), Model())

    @rule(target=versions, a=versions, path=paths, value=st.integers(0, 3))
    def assoc_in(self, a: Version, path: Any, value: Any) -> Any:
        return self.derive(a, lambda side: side(a).assoc_in(path, value))

    @rule(target=versions, a=versions, path=paths, value=st.integers(0, 3))
    def update_in(self, a: Version, path: Any, value: Any) -> Any:
        def add(old: Any, more: int, twice: bool) -> int:
            return (old if isinstance(old, int) else 0) + more * (1 + twice)

        return self.derive(a, lambda side: side(a).update_in(tuple(path), add, value, True))

    @rule(target=versions, a=versions, path=paths)
    def dissoc_in(self, a: Version, path: Any) -> Any:
        return self.derive(a, lambda side: side(a).dissoc_in(iter(path)))

    @rule(a=versions, path=paths)
    def get_in(self, a: Version, path: Any) -> None:
        for args in [(path,), (path, 7)]:
            if (answers := both(lambda side, args=args: side(a).get_in(*args))) is not None:  # type: ignore[misc]
                got, expected = answers
                assert got == freeze(expected)


TestPathModel = PathMachine.TestCase
