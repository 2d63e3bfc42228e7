"""Inputs of the rows: keys inserted in shuffled order, values, and the dict that is the oracle.

Everything a loop touches exists before the clock starts. Keys of both kinds are distinct objects (no
cached small integers), so that a look-up with an equal but not identical key is what it says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from .contenders import Contender

FIRST_KEY = 1_000
FIRST_VALUE = 100_000_000
FIRST_NEW_VALUE = 200_000_000


class Shape(NamedTuple):
    """Keys of one length, of digits, and values that are bytes."""

    type: type
    key: int
    value: int


SHAPES = {  # by kind; the others, "int" and "str", have integers as values
    "bytes": Shape(bytes, 12, 64),
    "bytes, 100 B": Shape(bytes, 16, 100),
    "bytes, 1 kB": Shape(bytes, 16, 1_000),
    "bytes, 10 kB": Shape(bytes, 16, 10_000),
    "str, 100 B": Shape(str, 16, 100),
}


def tiled(items: list[Any], length: int) -> list[Any]:
    """items repeated up to length, so that a loop over few keys is long enough to time."""
    return (items * -(-length // len(items)))[:length]


def other_objects(keys: list[Any]) -> list[Any]:
    """Equal keys that are not the same objects."""
    copies: dict[type, Callable[[Any], Any]] = {
        int: lambda k: int(str(k)),
        bytes: lambda k: bytes(bytearray(k)),
        str: lambda k: "".join(list(k)),
    }
    return [copies[type(k)](k) for k in keys]


class Data:
    def __init__(self, n: int, kind: str, seed: int) -> None:
        self.n, self.kind, self.seed = n, kind, seed
        self._kept: dict[Any, Any] = {}
        self._maps: dict[str, Any] = {}
        self._states: dict[str, dict[Any, Any]] = {}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """make(), made once and kept till the case is done."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def forget(self) -> None:
        """Drops what a case wanted once; inputs and maps stay for the next."""
        self._kept.clear()

    def _shuffled(self, items: list[Any], salt: int) -> list[Any]:
        items = list(items)
        random.Random(self.seed * 1_000 + salt).shuffle(items)
        return items

    def _keys(self, first: int, count: int) -> list[Any]:
        numbers = range(first, first + count)
        if shape := SHAPES.get(self.kind):
            digits = [f"{i:0{shape.key}}" for i in numbers]
            return digits if shape.type is str else [text.encode() for text in digits]
        return list(numbers) if self.kind == "int" else [f"key:{i}" for i in numbers]

    def _values(self, keys: list[Any], first: int) -> list[Any]:
        """Distinct ones; those of bytes begin with the key, so that a value that is another's is seen."""
        numbers = range(first, first + len(keys))
        shape = SHAPES.get(self.kind)
        if shape is None:
            return list(numbers)
        width = shape.value - shape.key
        return [(k.encode() if isinstance(k, str) else k) + b"%0*d" % (width, i) for k, i in zip(keys, numbers)]

    @cached_property
    def keys(self) -> list[Any]:
        """In the order in which they are inserted."""
        return self._shuffled(self._keys(FIRST_KEY, self.n), 1)

    @cached_property
    def absent(self) -> list[Any]:
        """As many keys again that no map holds."""
        return self._shuffled(self._keys(FIRST_KEY + self.n, self.n), 2)

    @cached_property
    def pairs(self) -> list[tuple[Any, Any]]:
        return list(zip(self.keys, self._values(self.keys, FIRST_VALUE)))

    @cached_property
    def oracle(self) -> dict[Any, Any]:
        return dict(self.pairs)

    @cached_property
    def shuffled_keys(self) -> list[Any]:
        """The keys in another order than that of insertion: for look-ups, updates, deletions."""
        return self._shuffled(self.keys, 3)

    @cached_property
    def updates(self) -> list[tuple[Any, Any]]:
        """A new value for every key."""
        return list(zip(self.shuffled_keys, self._values(self.shuffled_keys, FIRST_NEW_VALUE)))

    @cached_property
    def additions(self) -> list[tuple[Any, Any]]:
        return list(zip(self.absent, self._values(self.absent, FIRST_NEW_VALUE)))

    @cached_property
    def updated(self) -> dict[Any, Any]:
        return dict(self.updates)

    def look_ups(self, length: int, same: bool = True) -> list[Any]:
        """At most as many keys as there are, then repeated up to length: the key objects that the map
        holds, or others that are equal."""

        def make() -> list[Any]:
            keys = self.shuffled_keys[:length]
            return tiled(keys if same else other_objects(keys), length)

        found: list[Any] = self.once(("look-ups", length, same), make)
        return found

    def map_of(self, c: Contender) -> Any:
        """The contender's map of all pairs, shared by the rows: not to be changed."""
        if c.name not in self._maps:
            self._maps[c.name] = c.make(self.oracle)
        return self._maps[c.name]

    def state_of(self, c: Contender) -> dict[Any, Any]:
        """What the map that rows share holds, where rows write in it: who writes brings it up to date."""
        return self._states.setdefault(c.name, dict(self.oracle))

    def distrust(self, c: Contender) -> None:
        """The contender was wrong: its map may be damaged, and the next row gets another."""
        self._maps.pop(c.name, None)
        self._states.pop(c.name, None)

    def own_map_of(self, c: Contender) -> Any:
        """The same for a row that writes: where writes are in place, a copy of its own."""
        return c.make(self.oracle) if c.in_place else self.map_of(c)
