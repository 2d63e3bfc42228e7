"""SharedMap as a dict: one process, one thread. What differs from dict is stated here, test by test."""

import collections
import datetime
import decimal
import fractions
import gc
import math
import os
import pickle
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import pytest

import holdfast
from holdfast import SharedMap
from shared_support import OpenMap, outcome, unique_name

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    255,
    -256,
    2**62,
    -(2**63),
    2**63,
    10**40,
    -(10**400),
    0.0,
    -0.0,
    1.5,
    math.inf,
    1 + 2j,
    "",
    "a",
    "a" * 61,
    "a" * 62,
    "a" * 63,
    "a" * 64,
    "a" * 127,
    "a" * 128,
    "a" * 16383,
    "a" * 16384,
    "a" * 100_000,
    "é",
    "é" * 31,
    "é" * 1000,
    "\U0001f600" * 20,
    "\ud800 alone",
    "nul\0inside",
    b"",
    b"x" * 29,
    b"x" * 30,
    b"x" * 31,
    b"x" * 127,
    b"x" * 128,
    b"x" * 16384,
    bytes(range(256)),
    bytearray(b"abc"),
    (),
    (1, ("x", None)),
    frozenset({1, "a"}),
    [1, [2, {"a": {3}}]],
    {"b": 1, "a": [2]},
    {1, 2},
    datetime.datetime(2024, 5, 6, tzinfo=datetime.timezone.utc),
    datetime.date(2000, 1, 1),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=5),
]
KEYS: list[Any] = [value for value in VALUES if isinstance(value, collections.abc.Hashable)]


def same(a: object, b: object) -> bool:
    """Equal, of one type, and with one repr: 1 is not True, 0.0 not -0.0."""
    return type(a) is type(b) and a == b and repr(a) == repr(b)


# -- values and keys ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_values_come_back_as_they_were(open_map: OpenMap, value: object) -> None:
    m = open_map()
    m["k"] = value
    assert same(m["k"], value)
    assert same(m.get("k"), value)
    assert same(next(iter(m.values())), value)
    assert same(m.snapshot()["k"], value)
    with m.transaction():
        assert same(m["k"], value)
        assert same(next(iter(m.values())), value)
    assert same(m.pop("k"), value)
    assert not m


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:30])
def test_keys_come_back_as_they_were(open_map: OpenMap, key: object) -> None:
    m = open_map()
    m[key] = 1
    assert m[key] == m.snapshot()[key] == 1
    assert key in m
    assert same(next(iter(m)), key)
    m[key] = 2
    assert list(m.items()) == [(key, 2)]
    assert same(m.popitem()[0], key)
    with pytest.raises(KeyError) as caught:
        m[key]
    assert caught.value.args == (key,)


def test_keys_that_are_equal_are_one_and_the_first_stays(open_map: OpenMap) -> None:
    for keys in ([1, 1.0, True, decimal.Decimal(1), fractions.Fraction(1)], [(1, 2.0), (True, 2)], [0, -0.0, False]):
        for first in keys:
            m, d = open_map(), {}
            for key in [first, *keys]:
                m[key] = d[key] = repr(key)
            assert [repr(key) for key in m] == [repr(key) for key in d]
            assert m == d
            for key in keys:
                assert m[key] == d[key]
            del m[keys[-1]]
            assert len(m) == 0
            m[keys[-1]] = 0
            assert same(next(iter(m)), keys[-1])


def test_values_are_fresh_copies(open_map: OpenMap) -> None:
    m = open_map()
    given = {"list": [1, 2]}
    m["k"] = given
    given["list"].append(3)
    got = m["k"]
    assert got == {"list": [1, 2]}
    got["list"].append(4)
    assert m["k"] == {"list": [1, 2]}
    assert list(m["k"]) == list(given)


@pytest.mark.parametrize("key", [[], {}, set(), bytearray(b"x"), ([],), object(), lambda: 0], ids=repr)
def test_what_cannot_be_a_key(open_map: OpenMap, key: object) -> None:
    m = open_map()
    for attempt in (
        lambda: m[key],
        lambda: m.get(key),
        lambda: m.set(key, 1),
        lambda: m.delete(key),
        lambda: key in m,
        lambda: m.pop(key, 1),
        lambda: m.setdefault(key, 1),
        lambda: m.incr(key),
        lambda: m.compare_and_set(key, 1, 2),
        lambda: m.update([(key, 1)]),
        lambda: m.snapshot()[key],
    ):
        with pytest.raises(TypeError) as caught:
            attempt()
        assert isinstance(caught.value, holdfast.KeyTypeError)
        assert type(key).__name__ in str(caught.value) or "list" in str(caught.value)
    assert len(m) == 0


def test_nan_is_no_key(open_map: OpenMap) -> None:
    m = open_map()
    for attempt in (lambda: m.set(math.nan, 1), lambda: m[math.nan], lambda: (math.nan, 1) in m):
        with pytest.raises(holdfast.KeyValueError, match="nan"):
            attempt()


class Plain:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain)


def test_pickles_are_values_unless_they_are_off(open_map: OpenMap) -> None:
    m = open_map()
    m["k"] = Plain()
    assert m["k"] == Plain()
    off = open_map(m.name, pickle=False)
    with pytest.raises(holdfast.ValueTypeError, match="pickle") as caught:
        off["k"]
    assert isinstance(caught.value, TypeError)
    with pytest.raises(holdfast.ValueTypeError, match="pickle"):
        off["j"] = Plain()
    with pytest.raises(holdfast.ValueTypeError, match="pickle"):
        list(off.values())
    with pytest.raises(holdfast.ValueTypeError, match="pickle"):
        off.pop("k")
    assert "k" in off and "j" not in off
    off["j"] = [1, {2}]
    assert m["j"] == [1, {2}]


def test_what_cannot_be_stored(open_map: OpenMap) -> None:
    m = open_map()
    m["k"] = 1
    for value in (lambda: 0, (x for x in ()), open_map):
        with pytest.raises(TypeError):
            m["k"] = value
        with pytest.raises(TypeError):
            m.update(a=1, b=value)
    assert m == {"k": 1}


# -- as dict does ---------------------------------------------------------------------------------


def told(result: object) -> object:
    """Of an exception what can be compared."""
    return (type(result), result.args) if isinstance(result, Exception) else result


@pytest.mark.parametrize(
    "do",
    [
        lambda d: d["x"],
        lambda d: d.__delitem__("x"),
        lambda d: d.pop("x"),
        lambda d: d.pop("x", 1),
        lambda d: d.pop(),
        lambda d: d.pop(1, 2, 3),
        lambda d: (d.clear(), d.popitem()),
        lambda d: d.setdefault("x", 5),
        lambda d: d.setdefault("a", 5),
        lambda d: d.setdefault("y"),
        lambda d: d.setdefault(),
        lambda d: d.setdefault(1, 2, 3),
        lambda d: d.get("x"),
        lambda d: d.get("x", 7),
        lambda d: d.get("a", 7),
        lambda d: d.update([1]),
        lambda d: d.update([(1, 2, 3)]),
        lambda d: d.update(5),
        lambda d: d.update({}, {}),
        lambda d: d.update(["ab", "cd"]),
        lambda d: d.update({"b": 2}, c=3),
        lambda d: d.update(a=9),
        lambda d: d.update(),
        lambda d: d.update(collections.UserDict(q=1)),
        lambda d: d.__ior__([("z", 1)]),
        lambda d: d | {"z": 1},
        lambda d: {"z": 1} | d,
        lambda d: d | [("z", 1)],
        lambda d: d == {"a": 1},
        lambda d: d != {"a": 1},
        lambda d: d == 5,
        lambda d: d < {},
        lambda d: hash(d) and None,
        lambda d: d[(1, 2)],
        lambda d: d.clear(),
        lambda d: bool(d),
        lambda d: d.copy(),
        lambda d: type(d.copy()),
        lambda d: list(d),
        lambda d: sorted(d.items()),
        lambda d: ("a", 1) in d.items(),
        lambda d: ("a", 2) in d.items(),
        lambda d: "a" in d.items(),
        lambda d: 1 in d.values(),
        lambda d: "a" in d.keys(),
        lambda d: d.keys() & {"a", "b"},
        lambda d: d.keys() | ["b"],
        lambda d: d.keys() - ["a"],
        lambda d: d.keys() ^ {"b"},
        lambda d: ["b"] + [*d.keys()],
        lambda d: {"b"} | d.keys(),
        lambda d: {"a"} - d.keys(),
        lambda d: d.keys() == {"a"},
        lambda d: d.keys() <= {"a", "b"},
        lambda d: d.keys() > set(),
        lambda d: d.items() & {("a", 1)},
        lambda d: d.items() == {("a", 1)},
        lambda d: d.keys().isdisjoint(["b"]),
        lambda d: d.items().isdisjoint([("a", 1)]),
        lambda d: len(d.values()),
        lambda d: d.values() == d.values(),
        lambda d: iter(d.keys()).__length_hint__(),
    ],
)
def test_does_what_dict_does(open_map: OpenMap, do: Callable[[Any], object]) -> None:
    m = open_map()
    m["a"] = 1
    d: Any = {"a": 1}
    mine, dicts = told(outcome(lambda: do(m))), told(outcome(lambda: do(d)))
    if mine is m:
        assert dicts is d
    elif isinstance(dicts, tuple) and dicts and dicts[0] is TypeError:
        assert isinstance(mine, tuple) and mine[0] is TypeError
        # dict names itself.
        assert str(mine[1]).replace("SharedMap", "dict") == str(dicts[1]) or "unhashable" in str(dicts[1])
    else:
        assert mine == dicts
    assert m == d
    assert d == m
    assert len(m) == len(d)


def test_is_a_mutable_mapping_and_generic(open_map: OpenMap) -> None:
    m = open_map()
    assert isinstance(m, MutableMapping)
    assert isinstance(m.snapshot(), Mapping) and not isinstance(m.snapshot(), MutableMapping)
    assert repr(SharedMap[str, int]) == "holdfast.SharedMap[str, int]"
    for name in dir(dict):
        assert hasattr(m, name) or name == "fromkeys"
    with pytest.raises(TypeError):
        reversed(m)
    with pytest.raises(TypeError, match="unhashable"):
        hash(m)


def test_no_python_frame_is_between_a_look_up_and_c() -> None:
    for name in ("__getitem__", "__setitem__", "__delitem__", "__contains__", "__len__", "__iter__", "get", "set"):
        assert name not in vars(SharedMap)
        assert name not in vars(holdfast.SharedSnapshot)


def test_update_is_whole_or_not_at_all(open_map: OpenMap) -> None:
    m = open_map()
    m["a"] = 1

    def pairs() -> Iterator[tuple[str, int]]:
        yield "a", 2
        yield "b", 2
        raise LookupError

    with pytest.raises(LookupError):
        m.update(pairs())
    with pytest.raises(TypeError):
        m.update({"a": 3}, b=lambda: 0)
    assert m == {"a": 1}
    version = m.stats().version
    m.update({str(i): i for i in range(1000)})
    assert m.stats().version == version + 1
    assert len(m) == 1001


def test_update_of_itself_and_from_maps(open_map: OpenMap) -> None:
    m, other = open_map(), open_map()
    m.update(a=1, b=2)
    m.update(m)
    other |= m
    other.update(holdfast.Map(c=3))
    assert other == {"a": 1, "b": 2, "c": 3}
    assert m | other == dict(other)


def test_iteration_is_over_a_snapshot(open_map: OpenMap) -> None:
    m = open_map()
    m.update({i: i for i in range(100)})
    seen = []
    for key in m:
        seen.append(key)
        del m[key]
        m[key + 1000] = 1
    assert sorted(seen) == list(range(100))
    assert sorted(m) == list(range(1000, 1100))
    iterator = iter(m.items())
    assert iterator.__length_hint__() == 100  # type: ignore[attr-defined]
    m.clear()
    m.close()
    assert len(list(iterator)) == 100
    assert list(iterator) == []


def empty_it(name: str) -> int:
    """What a value is when it is read: and then its map is empty."""
    with SharedMap(name, create=False) as m:
        m.clear()
    return 7


class Emptying:
    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return empty_it, (self.name,)


def updated(m: Any) -> Mapping[int, int]:
    transient: holdfast.TransientMap[int, int] = holdfast.Map().transient()
    transient.update(m)
    return transient.persistent()


COPIES: list[Callable[[Any], Mapping[int, int]]] = [
    lambda m: m.copy(),
    lambda m: dict(m.items()),
    holdfast.Map,
    lambda m: holdfast.Map().update(m),
    updated,
]


@pytest.mark.parametrize("copied", COPIES)
def test_copies_are_of_one_version(open_map: OpenMap, copied: Callable[[Any], Mapping[int, int]]) -> None:
    """Also where others delete meanwhile: here, each value that is read does."""
    m = open_map()
    for source in (lambda: m, m.snapshot):
        m.update({i: Emptying(m.name) for i in range(20)})
        assert copied(source()) == dict.fromkeys(range(20), 7)
        assert len(m) == 0
    for united in (lambda: m | {}, lambda: {} | m):
        m.update({i: Emptying(m.name) for i in range(20)})
        assert united() == dict.fromkeys(range(20), 7)
    m.update({i: Emptying(m.name) for i in range(20)})
    # This is Python's doing, and documented: it looks up each key on its own.
    with pytest.raises(KeyError):
        dict(m)


def test_views_are_live(open_map: OpenMap) -> None:
    m = open_map()
    keys, values, items = m.keys(), m.values(), m.items()
    m["a"] = 1
    assert list(keys) == ["a"] and list(values) == [1] and list(items) == [("a", 1)]
    assert keys.mapping is m and values.mapping is m and items.mapping is m
    assert (repr(keys), repr(values), repr(items)) == ("SharedKeys(['a'])", "SharedValues([1])", "SharedItems([('a', 1)])")


# -- opening and closing --------------------------------------------------------------------------


def test_opening(open_map: OpenMap) -> None:
    name = unique_name()
    with pytest.raises(FileNotFoundError, match=f"there is no SharedMap '{name}'") as absent:
        SharedMap(name, create=False)
    assert isinstance(absent.value, holdfast.AbsentError)
    m = open_map(name, create=True)
    with pytest.raises(FileExistsError, match=f"there is a SharedMap '{name}' already") as exists:
        SharedMap(name, create=True)
    assert isinstance(exists.value, holdfast.ExistsError)
    assert os.stat(f"/dev/shm/{name}").st_mode & 0o777 == 0o600
    for create in (None, False):
        again = open_map(name, create=create)
        again["k"] = create
        assert m["k"] is create
    assert m.name == name
    wide = open_map(mode=0o644 | 0o022)
    assert os.stat(f"/dev/shm/{wide.name}").st_mode & 0o777 == 0o666


def test_what_a_creator_left_gets_the_permissions_that_are_asked_for(open_map: OpenMap) -> None:
    for options, mode in (({}, 0o600), ({"create": True, "mode": 0o640}, 0o640)):
        name = unique_name()
        path = f"/dev/shm/{name}"
        with open(path, "wb"):
            os.chmod(path, 0o666)
        open_map(name, **options)
        assert os.stat(path).st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("name", "why"),
    [("", "empty"), ("a/b", "'/'"), ("/a", "'/'"), ("x" * 251, "longer than 250 bytes"), ("é" * 126, "250 bytes"),
     ("a\0b", "NUL"), (".", "folder"), ("..", "folder"), ("\ud800", "cannot write it")],
)  # fmt: skip
def test_names_that_cannot_be(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        SharedMap(name)
    assert isinstance(caught.value, holdfast.NameFormatError)
    assert repr(name) in str(caught.value)


def test_names_that_can_be(open_map: OpenMap) -> None:
    for part in ("é", "\udcff", "a b", "x" * 200, "\n"):
        name = unique_name() + part
        m = open_map(name)
        assert m.name == name
        assert name in [info.name for info in holdfast.list_shared()]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": 5}, TypeError, "must be a str"),
        ({"capacity": -1}, ValueError, "capacity"),
        ({"capacity": "x"}, TypeError, "integer"),
        ({"capacity": 2**70}, ValueError, "capacity"),
        ({"max_size": 1}, ValueError, "4 MiB"),
        ({"max_size": -1}, ValueError, "max_size"),
        ({"mode": 0o400}, ValueError, "mode"),
        ({"mode": 0o1600}, ValueError, "mode"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": math.nan}, ValueError, "timeout"),
        ({"timeout": "x"}, TypeError, "timeout must be None or a number of seconds"),
        ({"what": 1}, TypeError, "what"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], error: type[Exception], text: str) -> None:
    name = unique_name()
    with pytest.raises(error, match=text):
        SharedMap(**{"name": name, **options})
    assert not os.path.exists(f"/dev/shm/{name}")


def test_what_is_no_map() -> None:
    name = unique_name()
    path = f"/dev/shm/{name}"
    with open(path, "wb") as file:
        file.write(b"something else" * 1000)
    try:
        with pytest.raises(holdfast.NotRegionError, match=name) as caught:
            SharedMap(name)
        assert isinstance(caught.value, ValueError)
        assert name not in [info.name for info in holdfast.list_shared()]
    finally:
        os.unlink(path)


def test_closing(open_map: OpenMap) -> None:
    m = open_map()
    m["a"] = 1
    views = [m.keys(), m.values(), m.items()]
    assert repr(m) == f"<SharedMap {m.name!r}: 1 entry>"
    m["b"] = 1
    assert repr(m) == f"<SharedMap {m.name!r}: 2 entries>"
    assert not m.closed
    m.close()
    m.close()
    assert m.closed
    assert repr(m) == f"<SharedMap {m.name!r}: closed>"
    attempts: list[Callable[[], object]] = [
        lambda: m["a"], lambda: m.set("a", 1), lambda: m.delete("a"), lambda: "a" in m, lambda: len(m), lambda: list(m),
        lambda: m.get("a"), lambda: m.pop("a", 1), m.popitem, lambda: m.setdefault("a"), m.clear, m.update,
        lambda: m.update(a=1), lambda: m.incr("a"), lambda: m.compare_and_set("a", 1, 2), m.transaction, m.snapshot,
        m.stats, m.size, m.copy, m.check, lambda: m == {}, lambda: m | {}, lambda: bool(m), lambda: pickle.dumps(m),
        lambda: m.update_with("a", lambda value: value), *(lambda view=view: list(view) for view in views),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(holdfast.ClosedError, match=f"operation on closed SharedMap {m.name!r}"):
            attempt()
    m.unlink()
    with pytest.raises(holdfast.AbsentError):
        m.unlink()


def test_with_closes_and_does_not_unlink(open_map: OpenMap) -> None:
    with open_map() as m:
        m["a"] = 1
    assert m.closed
    with open_map(m.name, create=False) as again:
        assert again["a"] == 1


def test_unlink_leaves_others_alone(open_map: OpenMap) -> None:
    m = open_map()
    m["a"] = 1
    m.unlink()
    assert m["a"] == 1
    other = open_map(m.name, create=True)
    assert len(other) == 0
    with pytest.raises(holdfast.AbsentError, match="another's|no longer"):
        m.unlink()
    assert other.name in [info.name for info in holdfast.list_shared()]


def test_init_again_opens_another(open_map: OpenMap) -> None:
    m, other = open_map(), open_map()
    other["x"] = 1
    name = m.name
    m.__init__(other.name)  # type: ignore[misc]
    assert m["x"] == 1 and m.name == other.name
    os.unlink(f"/dev/shm/{name}")


def test_one_that_was_never_opened() -> None:
    m = SharedMap.__new__(SharedMap)
    assert repr(m) == "<SharedMap, not opened>"
    assert m.closed
    m.close()
    for attempt in (lambda: m["a"], lambda: len(m), m.unlink, m.transaction):
        with pytest.raises(holdfast.ClosedError, match="not opened"):
            attempt()


def test_subclasses(open_map: OpenMap) -> None:
    class Counter(SharedMap[str, int]):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.extra = 1

    m = Counter(unique_name())
    m["a"] = 1
    assert m["a"] == 1 and m.extra == 1
    m.me = m  # type: ignore[attr-defined]
    alive = weakref.ref(m)
    m.unlink()
    del m
    gc.collect()
    assert alive() is None


def test_max_size(open_map: OpenMap) -> None:
    m = open_map(max_size=4 << 20)
    with pytest.raises(MemoryError, match="max_size is 4194304 bytes") as caught:
        for i in range(10**6):
            m[i] = "x" * 1000
    assert isinstance(caught.value, holdfast.FullError)
    count = len(m)
    assert 500 < count < 5000
    assert os.stat(f"/dev/shm/{m.name}").st_size <= 4 << 20
    with pytest.raises(holdfast.FullError):
        m.update({-i: "x" * 1000 for i in range(10000)})
    assert len(m) == count and m[0] == "x" * 1000
    m.check()
    m.clear()
    m.update({i: "x" * 1000 for i in range(500)})
    assert len(m) == 500 and m.stats().max_size == 4 << 20


def test_capacity_is_a_hint(open_map: OpenMap) -> None:
    m = open_map(capacity=1000)
    m.update({i: str(i) for i in range(5000)})
    assert len(m) == 5000


def test_a_capacity_that_cannot_be_had_is_a_hint_too(open_map: OpenMap) -> None:
    m = open_map(capacity=2**60, max_size=8 << 20)
    m["a"] = 1
    assert m["a"] == 1 and m.stats().size <= 8 << 20


def test_values_that_are_copied_without_the_gil(open_map: OpenMap) -> None:
    m = open_map()
    large = [bytes([i]) * (1 << 20) for i in range(4)]
    for i, value in enumerate(large):
        m[i] = value
    with m.transaction():
        m[0] = large[3]
        assert m[0] == large[3]
    assert [m[i] for i in range(4)] == [large[3], *large[1:]]
    m.close()
    with pytest.raises(ValueError, match="closed"):
        m[0] = large[0]


def test_stats_and_list(open_map: OpenMap) -> None:
    m = open_map()
    m.update({i: i for i in range(10)})
    stats = m.stats()
    assert stats.entries == 10 and stats.version >= 2 and stats.size >= stats.used > 0 and stats.readers >= 1
    (info,) = [info for info in holdfast.list_shared() if info.name == m.name]
    assert info.in_use and info.owner == os.geteuid() and info.mode == 0o600 and info.size > 0
    assert abs(info.created - datetime.datetime.now().timestamp()) < 1000
    m.close()
    (info,) = [info for info in holdfast.list_shared() if info.name == m.name]
    assert not info.in_use


def test_exceptions_are_one_family() -> None:
    errors = [value for name, value in vars(holdfast).items() if name.endswith("Error")]
    assert len(errors) > 20
    for error in errors:
        assert issubclass(error, holdfast.HoldfastError)
        assert error.__module__ == "holdfast" and error.__doc__
