"""Cask as a dict: one process, one thread. What differs from dict is stated here, test by test."""

import collections
import datetime
import decimal
import fractions
import gc
import math
import os
import pickle
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import Cask
from shared_support import outcome
from test_shared_basic import KEYS, VALUES, Plain, same, told

OpenCask = Callable[..., "Cask[Any, Any]"]


# -- values and keys ------------------------------------------------------------------------------


def test_values_come_back_as_they_were(open_cask: OpenCask) -> None:
    c = open_cask()
    for value in VALUES:
        c["k"] = value
        assert same(c["k"], value)
        assert same(c.get("k"), value)
        assert same(next(iter(c.values())), value)
        assert same(next(iter(c.items()))[1], value)
        with c.snapshot() as s:
            assert same(s["k"], value) and same(s.get("k"), value) and same(next(iter(s.values())), value)
        assert same(c.pop("k"), value)
        assert not c
        c.put("k", value)
        path = c.path
        c.close()
        c = open_cask(path)
        assert same(c["k"], value)


def test_keys_come_back_as_they_were(open_cask: OpenCask) -> None:
    c = open_cask()
    for key in KEYS:
        c[key] = 1
        with c.snapshot() as s:
            assert c[key] == s[key] == 1 and key in s and same(next(iter(s)), key)
        assert key in c
        assert same(next(iter(c)), key) and same(c.list_keys()[0], key)
        c[key] = 2
        assert list(c.items()) == [(key, 2)]
        with c.batch() as b:
            b[key] = 3
        assert c[key] == 3
        assert c.info(key).sequence > 0
        assert same(c.popitem()[0], key)
        with pytest.raises(KeyError) as caught:
            c[key]
        assert caught.value.args == (key,)
    c.update((key, index) for index, key in enumerate(KEYS))
    expected: dict[Any, Any] = {}
    expected.update((key, index) for index, key in enumerate(KEYS))
    assert c == expected
    path = c.path
    c.close()
    assert open_cask(path) == expected


def test_keys_that_are_equal_are_one_and_the_last_stays(open_cask: OpenCask) -> None:
    c = open_cask()
    for keys in ([1, 1.0, True, decimal.Decimal(1), fractions.Fraction(1)], [(1, 2.0), (True, 2)], [0, -0.0, False]):
        for last in keys:
            for key in [*keys, last]:
                c[key] = repr(key)
            assert len(c) == 1
            assert same(next(iter(c)), last)
            for key in keys:
                assert c[key] == repr(last)
            assert c.delete(keys[0])
            assert len(c) == 0


def test_values_are_fresh_copies(open_cask: OpenCask) -> None:
    c = open_cask()
    given = {"list": [1, 2]}
    c["k"] = given
    given["list"].append(3)
    got = c["k"]
    assert got == {"list": [1, 2]}
    got["list"].append(4)
    assert c["k"] == {"list": [1, 2]}


@pytest.mark.parametrize("key", [[], {}, set(), bytearray(b"x"), ([],), object(), lambda: 0], ids=repr)
def test_what_cannot_be_a_key(open_cask: OpenCask, key: object) -> None:
    c = open_cask()
    batch = c.batch()
    for attempt in (
        lambda: c[key],
        lambda: c.get(key),
        lambda: c.put(key, 1),
        lambda: c.__setitem__(key, 1),
        lambda: c.delete(key),
        lambda: c.__delitem__(key),
        lambda: key in c,
        lambda: c.info(key),
        lambda: c.pop(key, 1),
        lambda: c.setdefault(key, 1),
        lambda: c.update([(key, 1)]),
        lambda: c.snapshot()[key],
        lambda: batch.put(key, 1),
        lambda: batch.delete(key),
    ):
        with pytest.raises(TypeError) as caught:
            attempt()
        assert isinstance(caught.value, holdfast.KeyTypeError)
        assert type(key).__name__ in str(caught.value) or "list" in str(caught.value)
    assert len(c) == 0


def test_nan_is_no_key(open_cask: OpenCask) -> None:
    c = open_cask()
    for attempt in (lambda: c.put(math.nan, 1), lambda: c[math.nan], lambda: (math.nan, 1) in c):
        with pytest.raises(holdfast.KeyValueError, match="nan"):
            attempt()


def test_pickles_are_off_unless_they_are_on(open_cask: OpenCask) -> None:
    off = open_cask()
    for attempt in (
        lambda: off.put("k", Plain()), lambda: off.update(k=Plain()), lambda: off.setdefault("k", Plain()),
        lambda: off.batch().put("k", Plain()),
    ):  # fmt: skip
        with pytest.raises(holdfast.ValueTypeError, match="pickle=True") as caught:
            attempt()
        assert isinstance(caught.value, TypeError)
    off["j"] = [1, {2}]
    path = off.path
    off.close()

    on = open_cask(path, pickle=True)
    on["k"] = Plain()
    assert on["k"] == Plain() and on["j"] == [1, {2}]
    on.close()

    off = open_cask(path)
    for attempt in (lambda: off["k"], lambda: list(off.values()), lambda: off.pop("k"), lambda: off.setdefault("k")):
        with pytest.raises(holdfast.ValueTypeError, match="pickle=True"):
            attempt()
    assert "k" in off and len(off) == 2 and sorted(off) == ["j", "k"]
    assert off.delete("k")


def test_what_cannot_be_stored(open_cask: OpenCask) -> None:
    c = open_cask(pickle=True)
    c["k"] = 1
    for value in (lambda: 0, (x for x in ()), open_cask):
        with pytest.raises(TypeError):
            c["k"] = value
        with pytest.raises(TypeError):
            c.update(a=1, b=value)
    assert c == {"k": 1}


def test_long_keys_and_values(open_cask: OpenCask) -> None:
    c = open_cask(max_file_size=1 << 20)
    large = os.urandom(3 << 20)
    c[large[:1 << 20]] = large
    c["ascii"] = "x" * (2 << 20)
    c["wide"] = "\xe9" * (1 << 20)
    c["list"] = [large, large]
    assert c[large[:1 << 20]] == large and c["ascii"] == "x" * (2 << 20)
    assert c["wide"] == "\xe9" * (1 << 20) and c["list"] == [large, large]
    with pytest.raises(holdfast.LimitError, match="16 MiB"):
        c[b"k" * (16 << 20)] = 1
    with pytest.raises(holdfast.LimitError):
        c.batch()[b"k" * (16 << 20)] = 1
    assert len(c) == 4
    path = c.path
    c.close()
    assert open_cask(path)["list"] == [large, large]


# -- as dict does ---------------------------------------------------------------------------------


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
        lambda d: (d.clear(), bool(d)),
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
        lambda d: dict(d),
        lambda d: {**d},
    ],
)
def test_does_what_dict_does(open_cask: OpenCask, do: Callable[[Any], object]) -> None:
    c = open_cask()
    c["a"] = 1
    d: Any = {"a": 1}
    mine, dicts = told(outcome(lambda: do(c))), told(outcome(lambda: do(d)))
    if mine is c:
        assert dicts is d
    elif isinstance(dicts, tuple) and dicts and dicts[0] is TypeError:
        assert isinstance(mine, tuple) and mine[0] is TypeError
        # dict names itself.
        assert str(mine[1]).replace("Cask", "dict") == str(dicts[1]) or "unhashable" in str(dicts[1])
    else:
        assert mine == dicts
    assert c == d
    assert d == c
    assert len(c) == len(d)


def test_is_a_mutable_mapping_and_generic(open_cask: OpenCask) -> None:
    c = open_cask()
    assert isinstance(c, MutableMapping)
    assert isinstance(c.snapshot(), Mapping) and not isinstance(c.snapshot(), MutableMapping)
    assert repr(Cask[str, int]) == "holdfast.Cask[str, int]"
    assert repr(holdfast.CaskBatch[str, int]) == "holdfast.CaskBatch[str, int]"
    for name in dir(dict):
        assert hasattr(c, name) or name == "fromkeys"
    with pytest.raises(TypeError):
        reversed(c)
    for thing in (c, c.snapshot()):
        with pytest.raises(TypeError, match="unhashable"):
            hash(thing)


def test_no_python_frame_is_between_a_look_up_and_c() -> None:
    for name in ("__getitem__", "__setitem__", "__delitem__", "__contains__", "__len__", "__iter__", "get", "put"):
        assert name not in vars(Cask)
        assert name not in vars(holdfast.CaskSnapshot)


def test_update_is_whole_or_not_at_all(open_cask: OpenCask) -> None:
    c = open_cask()
    c["a"] = 1
    before = c.status().sequence

    def pairs() -> Iterator[tuple[str, int]]:
        yield "a", 2
        yield "b", 2
        raise LookupError

    with pytest.raises(LookupError):
        c.update(pairs())
    with pytest.raises(TypeError):
        c.update({"a": 3}, b=lambda: 0)
    assert c == {"a": 1} and c.status().sequence == before
    c.update({str(i): i for i in range(1000)})
    assert len(c) == 1001 and c.status().sequence == before + 1000


def test_update_of_itself_and_from_others(open_cask: OpenCask, open_map: Callable[..., Any]) -> None:
    c, other = open_cask(), open_cask()
    c.update(a=1, b=2)
    c.update(c)
    other |= c
    other.update(holdfast.Map(c=3))
    assert other == {"a": 1, "b": 2, "c": 3}
    assert c | other == dict(other)
    m = open_map()
    m.update(other)
    c.update(m.snapshot(), d=4)
    assert m == other and c == {"a": 1, "b": 2, "c": 3, "d": 4}
    other.update(c.snapshot())
    assert other == c


def test_iteration_is_over_a_snapshot(open_cask: OpenCask) -> None:
    c = open_cask()
    c.update({i: i for i in range(100)})
    seen = []
    for key in c:
        seen.append(key)
        del c[key]
        c[key + 1000] = 1
    assert sorted(seen) == list(range(100))
    assert sorted(c) == list(range(1000, 1100)) == sorted(c.list_keys())
    iterator = iter(c.items())
    c.clear()
    assert len(list(iterator)) == 100
    assert list(iterator) == [] == list(c)


def test_views_are_live(open_cask: OpenCask) -> None:
    c = open_cask()
    keys, values, items = c.keys(), c.values(), c.items()
    c["a"] = 1
    assert list(keys) == ["a"] and list(values) == [1] and list(items) == [("a", 1)]
    assert keys.mapping is c and values.mapping is c and items.mapping is c
    assert (repr(keys), repr(values), repr(items)) == ("CaskKeys(['a'])", "CaskValues([1])", "CaskItems([('a', 1)])")


def test_popitem_takes_all_of_them(open_cask: OpenCask) -> None:
    c = open_cask()
    c.update({i: str(i) for i in range(1000)})
    taken = {}
    for i in range(700):
        key, value = c.popitem()
        taken[key] = value
        if i % 10 == 0:
            c["new", i] = i
    c.pop(next(iter(c)))
    while c:
        key, value = c.popitem()
        taken[key] = value
    assert len(taken) == 1069 and all(value == str(key) for key, value in taken.items() if isinstance(key, int))
    with pytest.raises(KeyError, match="popitem"):
        c.popitem()
    c["again"] = 1
    assert c.popitem() == ("again", 1)


def test_delete_and_is_empty(open_cask: OpenCask) -> None:
    c = open_cask()
    assert c.is_empty() and c.delete("a") is False
    before = c.status().sequence
    c.delete("a")
    assert c.status().sequence == before
    c["a"] = 1
    assert not c.is_empty() and bool(c) and c.delete("a") is True and c.is_empty()
    c.clear()
    assert c.is_empty()


def test_fold(open_cask: OpenCask) -> None:
    c = open_cask()
    c.update({i: i * i for i in range(50)})

    def add(key: int, value: int, acc: int) -> int:
        c[key + 100] = 0  # what is put meanwhile is not seen
        assert value == key * key
        return acc + value

    assert c.fold(add, 0) == sum(i * i for i in range(50))
    assert len(c) == 100
    with c.snapshot() as s:
        c.clear()
        assert s.fold(lambda key, value, acc: acc + 1, 0) == 100
    assert c.fold(add, "nothing") == "nothing"
    with pytest.raises(LookupError):
        c["a"] = 1
        c.fold(lambda key, value, acc: {}[key], 0)


# -- info, ttl ------------------------------------------------------------------------------------


def test_info(open_cask: OpenCask) -> None:
    c = open_cask()
    with pytest.raises(KeyError) as caught:
        c.info("a")
    assert caught.value.args == ("a",)
    before = datetime.datetime.now(datetime.timezone.utc)
    c["a"] = "x" * 100
    first = c.info("a")
    assert first.sequence >= 1 and first.expires is None and first.file >= 1 and first.offset >= 64
    assert before - datetime.timedelta(seconds=1) <= first.inserted <= before + datetime.timedelta(seconds=60)
    assert first.value_size == 102 and 100 < first.size < 200
    c.put("a", 1, ttl=datetime.timedelta(hours=1))
    second = c.info("a")
    assert second.sequence == first.sequence + 1 and second.offset > first.offset
    assert second.expires == second.inserted + datetime.timedelta(hours=1)
    c.put("a", 1, ttl=10**14)
    assert c.info("a").expires == datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
    c.put("a", 1, ttl=math.inf)
    assert c.info("a").expires is None


def test_what_expires_is_gone_everywhere(open_cask: OpenCask) -> None:
    c = open_cask()
    c["stays"] = 1
    c.put("goes", 1, ttl=0.15)
    c.put("later", 1, ttl=3600)
    s = c.snapshot()
    assert len(c) == 3 and "goes" in c and len(s) == 3
    time.sleep(0.2)
    for m in (c, s):
        assert "goes" not in m and m.get("goes") is None and sorted(m) == ["later", "stays"]
        assert dict(m.items()) == {"stays": 1, "later": 1} == m.copy()
        with pytest.raises(KeyError):
            m["goes"]
    assert len(c) == 2
    assert c.delete("goes") is False and c.pop("goes", None) is None
    assert c.setdefault("goes", 2) == 2 and c["goes"] == 2
    c.put("goes", 1, ttl=0.01)
    time.sleep(0.05)
    assert "goes" not in c
    path = c.path
    c.close()
    assert sorted(open_cask(path)) == ["later", "stays"]


def test_ttl_of_the_cask(open_cask: OpenCask) -> None:
    c = open_cask(ttl=0.1)
    c["a"] = 1
    c.update(b=1)
    c.setdefault("c", 1)
    with c.batch() as b:
        b["d"] = 1
        b.put("e", 1, ttl=math.inf)
    c.put("f", 1, ttl=3600)
    c.put("g", 1, math.inf)
    assert len(c) == 7
    time.sleep(0.15)
    assert sorted(c) == ["e", "f", "g"]


@pytest.mark.parametrize(
    ("ttl", "error"),
    [(0, ValueError), (-1, ValueError), (math.nan, ValueError), ("1", TypeError), ([], TypeError),
     (datetime.timedelta(0), ValueError), (-math.inf, ValueError), (1j, TypeError)],
)  # fmt: skip
def test_times_that_are_none(open_cask: OpenCask, tmp_path: Path, ttl: Any, error: type[Exception]) -> None:
    c = open_cask()
    for attempt in (
        lambda: c.put("a", 1, ttl), lambda: c.put("a", 1, ttl=ttl), lambda: c.batch().put("a", 1, ttl=ttl),
        lambda: Cask(tmp_path / "new", ttl=ttl),
    ):  # fmt: skip
        with pytest.raises(error, match="time to live"):
            attempt()
    assert not c and not (tmp_path / "new").exists()


def test_arguments_of_put(open_cask: OpenCask) -> None:
    c = open_cask()
    put: Any = c.put
    for args, kwargs in (((), {}), ((1,), {}), ((1, 2, 3, 4), {}), ((1, 2), {"what": 1}), ((1, 2, 3), {"ttl": 1})):
        with pytest.raises(TypeError):
            put(*args, **kwargs)
    assert not c
    c.put("a", 1, None)
    c.put("b", 1, ttl=None)
    assert len(c) == 2


# -- batches --------------------------------------------------------------------------------------


def test_a_batch_is_done_at_its_end(open_cask: OpenCask) -> None:
    c = open_cask()
    c.update(a=1, b=2)
    with c.batch() as b:
        b["c"] = 3
        del b["a"], b["never there"]
        b.put("d", 4, ttl=3600)
        b.delete("b")
        b.update({"e": 5}, f=6)
        b["c"] = 33
        assert len(b) == 8 and repr(b) == f"<CaskBatch of {c.path!r}: 8 steps>"
        assert c == {"a": 1, "b": 2}
    assert c == {"c": 33, "d": 4, "e": 5, "f": 6} and c.info("d").expires is not None
    with pytest.raises(holdfast.ClosedError, match="has ended"):
        b["x"] = 1
    for attempt in (lambda: b.delete("x"), b.commit, b.__enter__, lambda: b.update(x=1)):
        with pytest.raises(holdfast.ClosedError, match="has ended"):
            attempt()
    assert repr(b) == f"<CaskBatch of {c.path!r}: ended>"


def test_an_exception_drops_a_batch(open_cask: OpenCask) -> None:
    c = open_cask()
    with pytest.raises(LookupError), c.batch() as b:
        b["a"] = 1
        raise LookupError
    assert not c
    b = c.batch()
    b["a"] = 1
    del b
    gc.collect()
    assert not c


def test_commit_goes_on(open_cask: OpenCask) -> None:
    c = open_cask()
    b = c.batch()
    assert bool(b) and len(b) == 0
    b["a"] = 1
    b.commit()
    assert c == {"a": 1} and len(b) == 0
    b.commit()
    b["b"] = 2
    with pytest.raises(TypeError):
        b["c"] = lambda: 0
    b.commit()
    assert c == {"a": 1, "b": 2}
    with c.batch():
        pass
    with c.batch() as first, c.batch() as second:
        first["x"] = 1
        second["x"] = 2
    assert c["x"] == 1


def test_a_batch_larger_than_a_file(open_cask: OpenCask) -> None:
    c = open_cask(max_file_size=4096)
    with c.batch() as b:
        for i in range(1000):
            b[i] = "x" * 100
    assert len(c) == 1000
    path = c.path
    c.close()
    c = open_cask(path, max_file_size=4096)
    assert len(c) == 1000 and all(value == "x" * 100 for value in c.values())


# -- snapshots ------------------------------------------------------------------------------------


def test_snapshots(open_cask: OpenCask) -> None:
    c = open_cask(max_file_size=8192)
    then: list[tuple[Any, dict[Any, Any]]] = []
    now: dict[Any, Any] = {}
    for i in range(600):
        c[i % 50] = now[i % 50] = "x" * (i % 100)
        if i % 60 == 0:
            then.append((c.snapshot(), dict(now)))
        if i % 7 == 0:
            c.delete(i % 13)
            now.pop(i % 13, None)
    for snapshot, expected in then:
        assert snapshot == expected and len(snapshot) == len(expected) and bool(snapshot) == bool(expected)
        assert {key: snapshot[key] for key in snapshot} == expected
        assert snapshot.get("no", 5) == 5 and "no" not in snapshot
        assert snapshot.keys() == expected.keys() and sorted(snapshot.values()) == sorted(expected.values())
        assert repr(snapshot) == f"<CaskSnapshot of {c.path!r}>" and snapshot.path == c.path
    assert c == now
    then[0][0].close()
    then[0][0].close()
    assert then[0][0].closed and repr(then[0][0]) == f"<CaskSnapshot of {c.path!r}: closed>"
    for attempt in (
        lambda s: s["a"], len, bool, list, lambda s: s.get("a"), lambda s: "a" in s, lambda s: s.copy(), lambda s: s == {}
    ):  # fmt: skip
        with pytest.raises(holdfast.ClosedError, match="closed snapshot"):
            attempt(then[0][0])
    with pytest.raises(TypeError):
        then[1][0]["a"] = 1  # type: ignore[index]
    with pytest.raises(TypeError, match="snapshot.copy"):
        pickle.dumps(then[1][0])
    iterator = iter(then[1][0].items())
    then[1][0].close()
    assert dict(iterator) == then[1][1]
    c.close()
    assert then[2][0].closed
    with pytest.raises(holdfast.ClosedError, match="snapshot of closed Cask"):
        then[2][0]["a"]


# -- opening and closing --------------------------------------------------------------------------


def test_opening(open_cask: OpenCask, tmp_path: Path) -> None:
    path = tmp_path / "one"
    for mode in ("r",):
        with pytest.raises(holdfast.AbsentError, match="there is no Cask") as caught:
            Cask(path, mode=mode)  # type: ignore[arg-type]
        assert isinstance(caught.value, FileNotFoundError)
    c = open_cask(path, mode="x")
    c["a"] = 1
    with pytest.raises(holdfast.ExistsError):
        Cask(path, mode="x")
    with pytest.raises(holdfast.BusyError, match="mode='r'"):
        Cask(path)
    reader = open_cask(path, mode="r")
    assert reader["a"] == 1 and reader.read_only and not c.read_only
    c["b"] = 2
    assert reader["b"] == 2
    assert repr(c) == f"<Cask {str(path)!r}>" and repr(reader) == f"<Cask {str(path)!r}, to read>"
    c.close()
    assert repr(c) == f"<Cask {str(path)!r}: closed>"
    with pytest.raises(holdfast.AbsentError):
        Cask(tmp_path / "no" / "such")
    assert c.path == str(path)


def test_paths(open_cask: OpenCask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("a", b"b", Path("c"), tmp_path / "d", os.fsencode(tmp_path / "e"), "\udcff-bytes", "f/"):
        c = open_cask(path)
        c["k"] = 1
        assert c.path == os.fsdecode(path)
        c.close()
        assert open_cask(path)["k"] == 1
    for wrong, error in ((5, TypeError), (None, TypeError), ("nul\0in", ValueError), ("", Exception)):
        with pytest.raises(error):
            Cask(wrong)  # type: ignore[arg-type]


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("something")
    for mode in ("rw", "x", "r"):
        with pytest.raises((holdfast.NotCaskError, holdfast.ExistsError, holdfast.AbsentError)):
            Cask(tmp_path / "other", mode=mode)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["file"]
    with pytest.raises((OSError, ValueError)):
        Cask(tmp_path / "other" / "file")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "w"}, ValueError), ({"mode": None}, ValueError), ({"sync": "always"}, ValueError), ({"sync": 0}, ValueError),
        ({"sync": -1}, ValueError), ({"sync": None}, TypeError), ({"sync": True}, TypeError), ({"sync": math.nan}, ValueError),
        ({"max_file_size": 100}, ValueError), ({"max_file_size": 1 << 50}, ValueError), ({"max_file_size": 1.5}, TypeError),
        ({"keydir": "disk"}, ValueError), ({"checkpoint": 0}, ValueError), ({"fragmentation_trigger": 101}, ValueError),
        ({"fragmentation_trigger": 0}, ValueError), ({"dead_bytes_trigger": "1"}, TypeError), ({"merge_rate": -1}, ValueError),
        ({"expiry_grace": -1}, ValueError), ({"what": 1}, TypeError), ({"expiry_grace": None}, TypeError),
    ],
    ids=repr,
)  # fmt: skip
def test_options_that_are_none(tmp_path: Path, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        Cask(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"sync": "put"}, {"sync": 0.01}, {"sync": datetime.timedelta(seconds=1)}, {"sync": math.inf}, {"keydir": "memory"},
        {"background": False}, {"auto_merge": False}, {"checkpoint": 4096}, {"checkpoint": 4096, "background": False},
        {"max_file_size": 4096}, {"max_file_size": 8 << 30},
        {"fragmentation_trigger": math.inf, "dead_bytes_trigger": math.inf, "small_file_threshold": math.inf},
        {"fragmentation_trigger": 1, "fragmentation_threshold": 1, "max_file_size": 4096, "merge_rate": 1 << 30},
        {"expiry_grace": datetime.timedelta(days=1), "expiry_grace": 5},
        {"keydir": "memory", "sync": "put", "max_file_size": 4096, "background": False},
    ],
    ids=repr,
)  # fmt: skip
def test_options(open_cask: OpenCask, options: dict[str, Any]) -> None:
    c = open_cask(**options)
    expected = {}
    for i in range(300):
        c[i % 40] = expected[i % 40] = "x" * i
    del c[5], expected[5]
    c.sync()
    c.update(z=1)
    expected["z"] = 1  # type: ignore[index]
    assert c == expected
    path = c.path
    c.close()
    c = open_cask(path, **options)
    assert c == expected


def test_close(open_cask: OpenCask) -> None:
    c = open_cask()
    c["a"] = 1
    views = [c.keys(), c.values(), c.items()]
    s, iterator, b = c.snapshot(), iter(c), c.batch()
    b["b"] = 1
    assert not c.closed
    c.close()
    c.close()
    assert c.closed and s.closed
    attempts: list[Callable[[], object]] = [
        lambda: c["a"], lambda: c.put("a", 1), lambda: c.delete("a"), lambda: "a" in c, lambda: len(c), lambda: list(c),
        lambda: c.get("a"), lambda: c.pop("a", 1), c.popitem, lambda: c.setdefault("a"), c.clear, c.update,
        lambda: c.update(a=1), lambda: c.info("a"), c.batch, c.snapshot, c.status, c.copy, c.check, lambda: c == {},
        lambda: c | {}, lambda: bool(c), c.is_empty, c.sync, c.merge, c.needs_merge, c.list_keys,
        lambda: c.backup("x"), lambda: c.fold(print, 0), *(lambda view=view: list(view) for view in views),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(holdfast.ClosedError, match=f"operation on closed Cask {c.path!r}"):
            attempt()
    for attempt in (lambda: s["a"], lambda: list(s), lambda: len(s), lambda: bool(s), lambda: next(iterator)):
        with pytest.raises(holdfast.ClosedError, match=f"snapshot of closed Cask {c.path!r}"):
            attempt()
    assert list(iterator) == []
    for attempt in (b.commit, lambda: b.put("c", 1), lambda: b.__exit__(None, None, None)):
        with pytest.raises(holdfast.ClosedError, match=f"batch of closed Cask {c.path!r}"):
            attempt()
    with open_cask(c.path) as again:
        assert again == {"a": 1}
    assert again.closed


def test_one_that_is_forgotten_is_closed(open_cask: OpenCask, tmp_path: Path) -> None:
    c: Cask[Any, Any] = Cask(tmp_path / "one")
    c["a"] = 1
    snapshot = c.snapshot()
    del c
    gc.collect()
    assert snapshot["a"] == 1  # it keeps the cask open
    with pytest.raises(holdfast.BusyError):
        Cask(tmp_path / "one")
    del snapshot
    gc.collect()
    assert open_cask(tmp_path / "one") == {"a": 1}
    assert not [name for name in os.listdir("/proc/self/fd") if "cask-gone" in name]


def test_init_again_opens_another(open_cask: OpenCask) -> None:
    c, other = open_cask(), open_cask()
    other["x"] = 1
    path = other.path
    other.close()
    first = c.path
    c.__init__(path)  # type: ignore[misc]
    assert c["x"] == 1 and c.path == path
    assert not open_cask(first)


def test_one_that_was_never_opened() -> None:
    c = Cask.__new__(Cask)
    assert repr(c) == "<Cask, not opened>"
    assert c.closed
    c.close()
    for attempt in (lambda: c["a"], lambda: len(c), c.batch, c.sync):
        with pytest.raises(holdfast.ClosedError, match="not opened"):
            attempt()


def test_subclasses_and_weak_references(tmp_path: Path) -> None:
    class Counter(Cask[str, int]):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.extra = 1

    c = Counter(tmp_path / "c")
    c["a"] = 1
    assert c["a"] == 1 and c.extra == 1
    c.me = c  # type: ignore[attr-defined]
    snapshot = c.snapshot()
    alive = [weakref.ref(c), weakref.ref(snapshot)]
    del c, snapshot
    gc.collect()
    assert [one() for one in alive] == [None, None]
    assert len(Cask[Any, Any](tmp_path / "c")) == 1


def test_to_read_only(open_cask: OpenCask) -> None:
    c = open_cask()
    c["a"] = 1
    r = open_cask(c.path, mode="r")
    for attempt in (
        lambda: r.put("a", 2), lambda: r.delete("a"), lambda: r.update(a=2), lambda: r.pop("a"), r.popitem, r.clear, r.batch,
        lambda: r.setdefault("b", 1), lambda: r.__ior__({"a": 2}), lambda: r.__delitem__("a"),
    ):  # fmt: skip
        with pytest.raises(holdfast.DeniedError, match="reading only") as caught:
            attempt()
        assert isinstance(caught.value, PermissionError)
    assert r == {"a": 1} and r.setdefault("a", 5) == 1 and r.snapshot() == {"a": 1}


def test_pickles_of_casks(open_cask: OpenCask) -> None:
    c = open_cask(pickle=True)
    c["a"] = Plain()
    with pytest.raises(TypeError, match="mode='r'"):
        pickle.dumps(c)
    r = open_cask(c.path, mode="r", pickle=True)
    again = pickle.loads(pickle.dumps(r))
    assert type(again) is Cask and again["a"] == Plain() and again.read_only
    again.close()
    with pytest.raises(TypeError):
        pickle.dumps(c.batch())


# -- looking after --------------------------------------------------------------------------------


def test_status(open_cask: OpenCask) -> None:
    c = open_cask(max_file_size=1 << 16, auto_merge=False)
    empty = c.status()
    assert empty.keys == 0 and not empty.recovered and not empty.broken and empty.lost == 0
    for i in range(3000):
        c[i % 500] = "x" * 100
    c.sync()
    status = c.status()
    assert status.keys == 500 and status.sequence >= 3000 and status.synced == status.sequence
    assert len(status.files) > 3 and sum(file.bytes for file in status.files) == status.bytes > 3000 * 100
    assert [file.active for file in status.files] == [False] * (len(status.files) - 1) + [True]
    assert [file.number for file in status.files] == sorted(file.number for file in status.files)
    assert status.written >= 3000 * 100 and status.merged == (0, 0, 0)
    path = c.path
    c.close()
    c = open_cask(path, mode="r")
    status = c.status()
    assert status.keys == 500
    assert status.dead_bytes > 2000 * 100 and sum(file.dead_keys for file in status.files) == 2500
    assert all(0 <= file.fragmentation <= 100 for file in status.files) and status.files[0].fragmentation == 100


def test_exceptions_of_the_family() -> None:
    assert issubclass(holdfast.NotCaskError, ValueError)
    assert issubclass(holdfast.DiskFullError, OSError)
