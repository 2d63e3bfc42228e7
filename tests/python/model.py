"""The specification: every operation of Map and TransientMap, as the obvious thing on a plain dict.

A test performs the same call on a Map and on a Model and compares what comes back. Keys and values are
the same objects on both sides, so the comparison is by identity: which of two equal keys stays, and which
of two equal values, is part of the contract. So is an operation no step of which changes anything: it
returns `self`.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from holdfast import MISSING, Change, Conflict


def same(a: Any, b: Any) -> bool:
    """Equality as containers have it: a nan is the same as itself."""
    return a is b or a == b


class Model:
    __slots__ = ("d",)

    def __init__(self, source: Any = (), /, **kw: Any) -> None:
        self.d: dict[Any, Any] = dict(unwrap(source), **kw)

    def _with(self, pairs: Iterable[Any], settle: Callable[[Any, Any], Any] | None = None) -> Model:
        d, changed = dict(self.d), False
        for k, v in pairs:
            if settle and k in d:
                v = settle(d[k], v)
            changed |= k not in d or d[k] is not v
            d[k] = v
        return Model(d) if changed else self

    @staticmethod
    def create(**kw: Any) -> Model:
        return Model(kw)

    @staticmethod
    def from_dict(d: Mapping[Any, Any]) -> Model:
        return Model(d)

    @staticmethod
    def fromkeys(keys: Iterable[Any], value: Any = None) -> Model:
        return Model(dict.fromkeys(keys, value))

    def assoc(self, key: Any, value: Any, *more: Any) -> Model:
        rest = iter((key, value, *more))
        return self._with(zip(rest, rest, strict=True))

    set = assoc

    def dissoc(self, key: Any, *more: Any) -> Model:
        d = dict(self.d)
        for k in (key, *more):
            d.pop(k, None)
        return Model(d) if len(d) < len(self) else self

    delete = discard = dissoc

    def remove(self, key: Any) -> Model:
        d = dict(self.d)
        del d[key]
        return Model(d)

    def pop(self, key: Any, *default: Any) -> tuple[Any, Model]:
        d = dict(self.d)
        value = d.pop(key, *default)
        return value, Model(d) if len(d) < len(self) else self

    def update(self, source: Any = (), /, **kw: Any) -> Model:
        source = unwrap(source)
        if hasattr(source, "keys"):
            source = [(k, source[k]) for k in source.keys()]  # noqa: SIM118
        return self._with([*source, *kw.items()])

    def merge(self, *maps: Any, with_: Callable[[Any, Any], Any] | None = None) -> Model:
        merged = self
        for other in maps:
            merged = merged._with(unwrap(other).items(), with_)
        return merged

    def __or__(self, other: Any) -> Model:
        return self.update(other)

    def __ror__(self, other: Any) -> Model:
        return Model(other).update(self)

    def clear(self) -> Model:
        return Model()

    def copy(self) -> Model:
        return self

    def __getitem__(self, key: Any) -> Any:
        return self.d[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return self.d.get(key, default)

    def __contains__(self, key: Any) -> bool:
        return key in self.d

    contains = __contains__

    def __len__(self) -> int:
        return len(self.d)

    def __iter__(self) -> Any:
        return iter(self.d)

    def keys(self) -> Any:
        return self.d.keys()

    def values(self) -> Any:
        return self.d.values()

    def items(self) -> Any:
        return self.d.items()

    def __eq__(self, other: object) -> bool:
        return self.d == unwrap(other)

    def __hash__(self) -> int:
        return hash(frozenset(self.d.items()))

    def __repr__(self) -> str:
        return f"holdfast.Map({self.d!r})" if self.d else "holdfast.Map()"

    def _level(self, key: Any) -> Model:
        level = self.d.get(key, Model())
        if not isinstance(level, Model):
            raise TypeError(key)
        return level

    def get_in(self, path: Iterable[Any], default: Any = None) -> Any:
        here: Any = self
        for key in path:
            if not isinstance(here, Model | Mapping):
                raise TypeError(key)
            if key not in here:
                return default
            here = here[key]
        return here

    def assoc_in(self, path: Iterable[Any], value: Any) -> Model:
        key, *rest = path
        return self.assoc(key, self._level(key).assoc_in(rest, value) if rest else value)

    def update_in(self, path: Iterable[Any], fn: Callable[..., Any], *args: Any) -> Model:
        key, *rest = path
        if rest:
            return self.assoc(key, self._level(key).update_in(rest, fn, *args))
        return self.assoc(key, fn(self.d.get(key), *args))

    def dissoc_in(self, path: Iterable[Any]) -> Model:
        key, *rest = path
        if not rest:
            return self.dissoc(key)
        return self.assoc(key, self._level(key).dissoc_in(rest)) if key in self.d else self

    def diff(self, other: Model) -> list[Change[Any, Any]]:
        old, new = self.d, other.d
        return (
            [Change(k, v, new.get(k, MISSING)) for k, v in old.items() if not same(v, new.get(k, MISSING))]
            + [Change(k, MISSING, v) for k, v in new.items() if k not in old]
        )  # fmt: skip

    @staticmethod
    def merge3(base: Model, mine: Model, theirs: Model, resolve: Any = None) -> Model:
        d = {}
        unsettled = []
        for k in {**base.d, **mine.d, **theirs.d}:
            b, m, t = (side.d.get(k, MISSING) for side in (base, mine, theirs))
            if same(m, t) or same(b, t):
                value = m
            elif same(b, m):
                value = t
            elif resolve is None:
                unsettled.append(k)
                continue
            else:
                value = resolve(k, b, m, t)
            if value is not MISSING:
                d[k] = value
        if unsettled:
            raise Conflict(unsettled)
        return Model(d)

    def mutate(self) -> TransientModel:
        return TransientModel(self.d)

    transient = mutate


class TransientModel(UserDict):  # type: ignore[type-arg]
    def set(self, key: Any, value: Any) -> TransientModel:
        self.data[key] = value
        return self

    def delete(self, key: Any) -> TransientModel:
        self.data.pop(key, None)
        return self

    def finish(self) -> Model:
        return Model(self.data)

    persistent = finish


def unwrap(x: Any) -> Any:
    """The dict of a Model; anything else as it is."""
    return x.d if isinstance(x, Model) else x.data if isinstance(x, TransientModel) else x


def exactly(x: Any) -> dict[int, int]:
    """What a map or a dict holds, by identity."""
    return {id(k): id(v) for k, v in x.items()}
