"""Every operation, written once, for the tests that make each of them fail or re-enter at each place.

An operation is a function of a World, which holds the operands. It runs on a World of Maps and on one of
Models (plain dicts, see model.py) made of the same keys and values, and must give the same outcome.
"""

from __future__ import annotations

import copy
import operator
import pickle
from collections import ChainMap
from collections.abc import Callable
from functools import partial
from typing import Any

import holdfast
from holdfast import Change, Map, TransientMap
from model import Model, TransientModel, exactly
from support import Probe

SIZE = 20


class Material:
    """Keys and values: Probes, or atomic ones (those live in another type of node), and equal twins of them.
    "pending" means Probes, in Maps whose last edit is put off (python/src/pending.c)."""

    def __init__(self, kind: str = "probe") -> None:
        make: Callable[[int], Any] = (lambda i: "".join(["key", str(i)])) if kind == "atomic" else Probe
        value: Callable[[int], Any] = (lambda i: 10**6 + i) if kind == "atomic" else Probe
        self.pending = kind == "pending"
        self.keys = [make(i) for i in range(SIZE + 4)]
        self.values = [value(100 + i) for i in range(SIZE + 4)]
        self.twin_keys = [make(i) for i in range(SIZE + 4)]
        self.twin_values = [value(100 + i) for i in range(SIZE + 4)]

    @property
    def things(self) -> list[object]:
        return [*self.keys, *self.values, *self.twin_keys, *self.twin_values]


def assert_as_before(maps: list[Any], contents: list[dict[int, int]]) -> None:
    for m, content in zip(maps, contents, strict=True):
        m._check()
        assert exactly(m) == content


class World:
    """Operands of one class, Map or Model, most of them sharing structure with `m`."""

    def __init__(self, cls: Any, material: Material) -> None:
        keys, values = material.keys, material.values
        self.cls = cls
        self.pairs = list(zip(keys[:SIZE], values[:SIZE], strict=True))
        self.m = cls(self.pairs)
        self.more = self.m.assoc(keys[0], values[1], keys[SIZE], values[2])
        self.less = self.m.dissoc(keys[0], keys[6], keys[7])
        self.other = self.less.assoc(keys[3], values[9], keys[SIZE + 1], values[4])
        self.far = cls(zip(material.twin_keys[:SIZE], material.twin_values[:SIZE], strict=True))
        self.mapping = dict(zip(material.twin_keys[10:], material.twin_values[10:], strict=True))
        self.nested = cls([(keys[0], cls([(keys[1], cls([(keys[2], values[2])]))]))])
        self.path = keys[:3]
        self.key = material.twin_keys[4]
        self.key2 = material.twin_keys[5]
        self.absent = keys[SIZE + 2]
        self.value = values[SIZE + 3]
        self.operands = [self.m, self.more, self.less, self.other, self.far]
        self.contents = [exactly(m) for m in self.operands]
        if material.pending:
            self.put_off(material)

    def put_off(self, material: Material) -> None:
        """Makes each operand once more, of a Map that stays alive and lacks one key."""
        self.bases = [m.dissoc(material.keys[12]) for m in self.operands]
        edits = [(next(k for k in m if k == material.keys[12]), m[material.keys[12]]) for m in self.operands]
        self.operands = [base.assoc(*edit) for base, edit in zip(self.bases, edits, strict=True)]
        self.m, self.more, self.less, self.other, self.far = self.operands

    def assert_unchanged(self) -> None:
        assert_as_before(self.operands, self.contents)
        assert list(self.nested) == [self.path[0]]
        assert self.nested[self.path[0]][self.path[1]][self.path[2]] is not None


def in_transient(edit: Callable[[Any, World], Any]) -> Callable[[World], Any]:
    """An edit of a transient: the answer, and the map it leads to."""

    def run(w: World) -> Any:
        t = w.m.mutate()
        return edit(t, w), t.finish()

    return run


# Written in C: from 3.12 on the interpreter itself crashes where a function written in Python is called from C
# and there is no memory for its frame (max([1], key=lambda v: v) does).
largest = partial(max, key=id)
smallest = partial(min, key=id)
describe = "{1} -> {2} or {3}".format  # for merge3, which may pass any of the equal keys and values


def put_back(t: Any, w: World) -> None:
    key, value = t.popitem()
    t[key] = value


def versions(w: World) -> list[Any]:
    return [w.m, w.more, w.less, w.other]


OPERATIONS: dict[str, Callable[[World], Any]] = {
    "Map(dict)": lambda w: w.cls(w.mapping),
    "Map(pairs)": lambda w: w.cls(w.pairs),
    "Map(iterator)": lambda w: w.cls(iter(w.pairs)),
    "Map(repeated pairs)": lambda w: w.cls(w.pairs + w.pairs[::-1]),
    "Map(mapping)": lambda w: w.cls(ChainMap(w.mapping)),
    "Map(Map, **kw)": lambda w: w.cls(w.m, a=1, b=2),
    "Map.create": lambda w: w.cls.create(a=w.value, b=2),
    "Map.from_dict": lambda w: w.cls.from_dict(w.mapping),
    "Map.fromkeys": lambda w: w.cls.fromkeys(w.mapping, w.value),
    "Map.fromkeys many": lambda w: w.cls.fromkeys(range(400), w.value),
    "m[k]": lambda w: w.m[w.key],
    "m[absent]": lambda w: w.m[w.absent],
    "get": lambda w: w.m.get(w.key),
    "get(absent)": lambda w: w.m.get(w.absent, w.value),
    "in": lambda w: w.key in w.m,
    "contains": lambda w: w.m.contains(w.absent),
    "assoc a new key": lambda w: w.m.assoc(w.absent, w.value),
    "assoc a present key": lambda w: w.m.assoc(w.key, w.value),
    "assoc many": lambda w: w.m.assoc(w.key, w.value, w.absent, w.value, w.key2, w.value),
    "set": lambda w: w.m.set(w.key, w.value),
    "set what is there": lambda w: w.m.set(w.pairs[2][0], w.pairs[2][1]),
    "dissoc": lambda w: w.m.dissoc(w.key),
    "dissoc many": lambda w: w.m.dissoc(w.key, w.absent, w.key2),
    "dissoc all": lambda w: w.m.dissoc(*w.m.keys()),
    "delete": lambda w: w.m.delete(w.key),
    "discard": lambda w: w.m.discard(w.absent),
    "remove": lambda w: w.m.remove(w.key),
    "remove(absent)": lambda w: w.m.remove(w.absent),
    "pop": lambda w: w.m.pop(w.key),
    "pop(absent, default)": lambda w: w.m.pop(w.absent, w.value),
    "get_in": lambda w: w.nested.get_in(w.path),
    "assoc_in": lambda w: w.nested.assoc_in(w.path, w.value),
    "assoc_in new levels": lambda w: w.nested.assoc_in([w.path[0], w.key, w.key2, w.absent], w.value),
    "update_in": lambda w: w.nested.update_in(w.path, largest, w.value),
    "dissoc_in": lambda w: w.nested.dissoc_in(w.path),
    "update(dict)": lambda w: w.m.update(w.mapping),
    "update(pairs, **kw)": lambda w: w.less.update(w.pairs, a=w.value),
    "update(mapping)": lambda w: w.m.update(ChainMap(w.mapping)),
    "update(Map)": lambda w: w.m.update(w.other),
    "update(far Map)": lambda w: w.other.update(w.far),
    "merge": lambda w: w.m.merge(w.other, w.mapping, w.more),
    "merge with_": lambda w: w.m.merge(w.other, w.mapping, with_=largest),
    "merge with_ far": lambda w: w.other.merge(w.far, with_=smallest),
    "m | m": lambda w: w.less | w.more,
    "m | dict": lambda w: w.m | w.mapping,
    "dict | m": lambda w: w.mapping | w.m,
    "m | m of many": lambda w: w.cls.fromkeys(range(0, 400, 2), 1) | w.cls.fromkeys(range(0, 400, 3), 2),
    "clear": lambda w: w.m.clear(),
    "copy": lambda w: w.m.copy(),
    "iterate": lambda w: (set(w.m), set(w.m.keys()), set(w.m.values()), set(w.m.items())),
    "keys &": lambda w: w.m.keys() & w.other.keys(),
    "keys - dict": lambda w: w.m.keys() - w.mapping.keys(),
    "keys <=": lambda w: w.less.keys() <= w.more.keys(),
    "keys isdisjoint": lambda w: w.m.keys().isdisjoint(w.mapping),
    "items &": lambda w: w.m.items() & w.other.items(),
    "items ^": lambda w: w.m.items() ^ w.more.items(),
    "items ==": lambda w: w.m.items() == w.far.items(),
    "in items": lambda w: (w.key, w.value) in w.m.items(),
    "in values": lambda w: w.value in w.m.values(),
    "== far": lambda w: w.m == w.far,
    "== near": lambda w: w.m == w.less.update(w.pairs),
    "!=": lambda w: w.m != w.other,
    "== dict": lambda w: w.m == dict(w.pairs),
    "hash": lambda w: hash(w.m),
    "repr": lambda w: len(repr(w.m)),
    "diff near": lambda w: w.m.diff(w.other),
    "diff far": lambda w: w.other.diff(w.far),
    "merge3": lambda w: w.cls.merge3(w.m, w.m.assoc(w.key, w.value), w.less.dissoc(w.key2)),
    "merge3 conflict": lambda w: w.cls.merge3(w.m, w.more, w.less),
    "merge3 resolve": lambda w: w.cls.merge3(w.m, w.more, w.other, describe),
    "merge3 far": lambda w: w.cls.merge3(w.far, w.more, w.other, resolve=describe),
    "pickle": lambda w: pickle.loads(pickle.dumps(w.m)),
    "pickle versions": lambda w: pickle.loads(pickle.dumps(versions(w))),
    "deepcopy": lambda w: copy.deepcopy(w.other),
    "footprint": lambda w: w.cls is Model or holdfast.footprint(*versions(w)) > 0,
    "sizeof": lambda w: w.cls is Model or w.m.__sizeof__() > 0,
    "t[k]": in_transient(lambda t, w: t[w.key]),
    "t.get, in, len": in_transient(lambda t, w: (t.get(w.absent, 5), w.key in t, len(t))),
    "t[k] = v": in_transient(lambda t, w: operator.setitem(t, w.key, w.value)),
    "t[absent] = v": in_transient(lambda t, w: operator.setitem(t, w.absent, w.value)),
    "del t[k]": in_transient(lambda t, w: operator.delitem(t, w.key)),
    "t.set().delete()": in_transient(lambda t, w: len(t.set(w.absent, w.value).delete(w.key).delete(w.key2))),
    "t.pop": in_transient(lambda t, w: (t.pop(w.key), t.pop(w.absent, None))),
    "t.popitem": in_transient(put_back),
    "t.setdefault": in_transient(lambda t, w: (t.setdefault(w.key, 1), t.setdefault(w.absent, w.value))),
    "t.update(dict)": in_transient(lambda t, w: t.update(w.mapping, a=1)),
    "t.update(Map)": in_transient(lambda t, w: t.update(w.other)),
    "t |= Map": in_transient(lambda t, w: len(operator.ior(t, w.more))),
    "t == ": in_transient(lambda t, w: t == dict(w.pairs)),
    "t.clear": in_transient(lambda t, w: t.clear()),
    "t.items": in_transient(lambda t, w: (set(t), set(t.values()), set(t.items()), w.key in t.keys())),
    "many edits of t": in_transient(lambda t, w: [operator.setitem(t, k, w.value) for k in w.mapping]),
}


def plain(x: Any) -> Any:
    """A result in a form in which those of the two sides are equal."""
    if isinstance(x, Map | Model | TransientMap | TransientModel):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, list) and x and isinstance(x[0], Change):
        return frozenset(x)
    if isinstance(x, list | tuple):
        return [plain(item) for item in x]
    return x


def outcome(operation: Callable[[World], Any], world: World) -> Any:
    """What an operation gives, or which of the errors that are part of its contract it raises."""
    try:
        return plain(operation(world))
    except holdfast.Conflict as conflict:
        return holdfast.Conflict, frozenset(conflict.keys)
    except KeyError as error:
        return KeyError, error.args
