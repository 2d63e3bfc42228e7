"""Keys and values for the model tests: those that share hashes, differ in type only, or are equal to nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from holdfast import Map
from support import FAMILIES, MERSENNE, Key

NANS = [float("nan"), float("nan")]

#: Ints that a hash trie with a weak spot mixes up, and all that a dict takes for the same key.
ADVERSARIAL = [
    *[(i << 32) | i for i in range(8)],
    *[i * MERSENNE for i in range(-3, 4)],  # all hash to 0
    -1, -2, -1.0, -2.0,  # hash(-1) is -2
    0, 1, 2, False, True, 0.0, -0.0, 1.0, 2.0, 1 + 0j,
    *[1 << shift for shift in range(0, 64, 5)],
    *[-(1 << shift) for shift in range(0, 64, 5)],
    2**64, 2**200, -(2**200),
]  # fmt: skip

#: A new object each time, so that equal keys are seldom the same key.
colliding = st.builds(Key, st.sampled_from(sorted(FAMILIES)), st.integers(0, 40))

atoms = st.one_of(
    st.sampled_from(ADVERSARIAL),
    st.sampled_from(NANS),
    st.none(),
    st.integers(-8, 8),
    st.integers(),
    st.floats(-2, 2, width=16),
    st.text(max_size=2),
    st.binary(max_size=1),
)
hashables = st.one_of(atoms, st.tuples(atoms, atoms), st.frozensets(st.integers(0, 3), max_size=2))
maps_as_keys = st.dictionaries(st.integers(0, 3), st.integers(0, 3), max_size=2).map(Map)
keys: st.SearchStrategy[Any] = st.one_of(colliding, colliding, hashables, maps_as_keys)

values: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 3),
    st.integers(0, 3),
    keys,
    st.lists(st.integers(0, 3), max_size=2),
    st.builds(dict),
)
names = st.text("abc", min_size=1, max_size=2)
keywords = st.dictionaries(names, values, max_size=3)
pair_lists = st.lists(st.tuples(keys, values), max_size=8)


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[Any, Any]]:
    """A few dozen to a few hundred entries of one family at once: big nodes and bulk building."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    start, count = draw(st.integers(0, 30)), draw(st.integers(10, 200))
    if family == "all 64 bits equal":
        count = count // 5
    shift = draw(st.integers(0, 3))
    return [(Key(family, i), (i + shift) % 4) for i in range(start, start + count)]


def canonical(x: Any) -> Any:
    """For comparing copies: equal for what a copy must keep, nan included, whatever the order."""
    if isinstance(x, Map | dict):
        return type(x).__name__, frozenset((canonical(k), canonical(v)) for k, v in x.items())
    if isinstance(x, list | tuple):
        return type(x).__name__, tuple(canonical(item) for item in x)
    if isinstance(x, frozenset):
        return "frozenset", frozenset(canonical(item) for item in x)
    if isinstance(x, float | complex):
        return type(x).__name__, repr(x)
    return type(x).__name__, x
