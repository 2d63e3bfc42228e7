"""SharedMap and code that does what it likes: objects that use the map while they are stored or read, leaks,
damage."""

import gc
import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

import holdfast
from holdfast import SharedMap
from shared_support import OpenMap, in_child
from support import check_python


class Meddler:
    """Does something with a map whenever it is pickled or unpickled."""

    do: ClassVar[Callable[[str], object]] = staticmethod(lambda when: None)

    def __reduce__(self) -> Any:
        Meddler.do("write")
        return revive, ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meddler)

    __hash__ = None  # type: ignore[assignment]


def revive() -> Meddler:
    Meddler.do("read")
    return Meddler()


@pytest.fixture
def meddling(open_map: OpenMap) -> Any:
    yield open_map(timeout=5)
    Meddler.do = staticmethod(lambda when: None)


def operations(m: "SharedMap[Any, Any]") -> list[Callable[[], object]]:
    return [
        lambda: m.set("k", Meddler()),
        lambda: m.update(k=Meddler()),
        lambda: m["k"],
        lambda: list(m.items()),
        lambda: m.setdefault("k", Meddler()),
        lambda: m.compare_and_set("k", Meddler(), Meddler()),
        lambda: m.update_with("k", lambda value: [value, Meddler()]),
        lambda: m.snapshot()["k"],
        lambda: m == {"k": Meddler()},
        lambda: m.pop("k", None),
    ]


def test_foreign_code_may_use_the_map(meddling: "SharedMap[Any, Any]") -> None:
    m = meddling
    count = 0

    def do(when: str) -> None:
        nonlocal count
        count += 1
        m["seen"] = when
        m.incr("n")
        assert len(m) >= 2
        with m.transaction():
            m["seen"] = [when]

    for operation in operations(m):
        m["k"] = Meddler()
        Meddler.do = staticmethod(do)
        operation()
        Meddler.do = staticmethod(lambda when: None)
    # What update_with was in the middle of is rolled back with nothing: it succeeded.
    assert m["n"] == count > 10
    m.check()


def test_foreign_code_may_close_the_map(open_map: OpenMap) -> None:
    for number in range(len(operations(open_map()))):
        m = open_map()
        other = open_map(m.name)
        other["k"] = Meddler()
        Meddler.do = staticmethod(lambda when, m=m: m.close())
        try:
            operations(m)[number]()
        except (holdfast.ClosedError, holdfast.BusyError):
            pass
        finally:
            Meddler.do = staticmethod(lambda when: None)
        other["still"] = 1
        other.check()


def test_foreign_code_may_fail(meddling: "SharedMap[Any, Any]") -> None:
    m = meddling

    def fail(when: str) -> None:
        raise LookupError(when)

    for number in range(len(operations(m))):
        m.clear()
        m["k"] = Meddler()
        Meddler.do = staticmethod(fail)
        with pytest.raises(LookupError):
            operations(m)[number]()
        Meddler.do = staticmethod(lambda when: None)
        # Nothing that cannot be read is taken out.
        assert m == {"k": Meddler()}


def test_foreign_code_may_fork(meddling: "SharedMap[Any, Any]") -> None:
    m = meddling
    children: list[int] = []

    def do(when: str) -> None:
        children.append(in_child(lambda: (m.set("child", 1), m.close())))

    m["k"] = Meddler()
    Meddler.do = staticmethod(do)
    assert m["k"] == Meddler()
    assert [value for value in m.values() if value != 1] == [Meddler()]
    m["j"] = Meddler()
    assert children == [0, 0, 0] and m["child"] == 1


def test_an_iterator_that_is_used_by_what_it_gives(meddling: "SharedMap[Any, Any]") -> None:
    m = meddling
    m.update({i: Meddler() for i in range(50)})
    iterator = iter(m.values())
    inner: list[object] = []

    def do(when: str) -> None:
        Meddler.do = staticmethod(lambda when: None)
        inner.extend(iterator)

    Meddler.do = staticmethod(do)
    outer = list(iterator)
    assert len(outer) == 1 and len(inner) == 49


def test_an_update_whose_source_changes(open_map: OpenMap) -> None:
    m = open_map()
    source: dict[Any, Any] = {i: i for i in range(100)}

    class Grows:
        def __reduce__(self) -> Any:
            source.clear()
            gc.collect()
            return int, ()

    source[5] = Grows()
    m.update(source)
    assert len(m) == 100 and m[5] == 0 and not source


def test_an_update_from_a_map_that_changes(meddling: "SharedMap[Any, Any]", open_map: OpenMap) -> None:
    """One version of it is taken, whatever others delete meanwhile: here, whoever reads the first value."""
    source = meddling
    for take in (lambda m: m.update(source), lambda m: m.__ior__(source), lambda m: m.update(source.snapshot())):
        m = open_map()
        source.update({i: Meddler() for i in range(20)})
        Meddler.do = staticmethod(lambda when: source.clear() if when == "read" else None)
        take(m)
        Meddler.do = staticmethod(lambda when: None)
        assert not source and m == {i: Meddler() for i in range(20)}


# -- leaks ----------------------------------------------------------------------------------------


def everything(m: "SharedMap[Any, Any]") -> None:
    m.clear()
    m["a"] = "x" * 1000
    m.update({i: [i] for i in range(10)}, b=(1, 2))
    assert m["a"] and m.get("z") is None and m.pop("b") == (1, 2)
    m[(1, "long" * 50)] = {"d": 1}
    m.setdefault("c", 1)
    m.incr("c")
    m.incr("c", 0.5)
    m.compare_and_set("c", 1, 2)
    m.popitem()
    for error in (lambda: m[[]], lambda: m["missing"], lambda: m.set("a", lambda: 0), lambda: m.incr("a")):
        try:
            error()
        except (TypeError, KeyError, LookupError, AttributeError):
            pass
    with m.transaction():
        m["t"] = 1
        list(m.items())
        with m.snapshot() as s, m.transaction():
            s.diff(m.snapshot())
            dict(s)
    list(m), list(m.values()), repr(m), m == {}
    m.stats()
    with SharedMap(m.name) as again:
        again.update_with("t", lambda value: value, 1)
    try:
        with m.transaction():
            raise LookupError
    except LookupError:
        pass


def test_nothing_leaks(open_map: OpenMap) -> None:
    m = open_map()
    for _ in range(20):
        everything(m)
    gc.collect()
    blocks, files = sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))
    size = m.stats().size
    for _ in range(200):
        everything(m)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 100
    assert len(os.listdir("/proc/self/fd")) == files
    assert m.stats().size == size


def test_memory_errors_of_python(open_map: OpenMap) -> None:
    testcapi = pytest.importorskip("_testcapi")
    m = open_map()
    m.update({i: "x" * 2000 for i in range(10)})
    m["c"] = [1, 2]
    todo: list[Callable[[], object]] = [
        lambda: m[1], lambda: m["c"], lambda: m.set("k", [1]), lambda: m.pop("c", 0), lambda: m.update(c=[1, 2]),
        lambda: list(m.items()), lambda: m.incr("big", 2**70), lambda: m.snapshot(), lambda: m.transaction(),
        lambda: m.setdefault("c", [1]), lambda: m.compare_and_set("c", [1, 2], [1, 2]),
    ]  # fmt: skip
    for do in todo:
        for after in range(25):
            testcapi.set_nomemory(after, after + 1)
            try:
                do()
            except MemoryError:
                pass
            finally:
                testcapi.remove_mem_hooks()
        assert "c" in m or m.set("c", [1, 2]) is None
    assert m[1] == "x" * 2000
    m.check()


# -- damage ---------------------------------------------------------------------------------------


def test_damage_is_said_and_crashes_nothing(open_map: OpenMap) -> None:
    m = open_map()
    m.update({i: "some text that is found" for i in range(100)})
    with open(f"/dev/shm/{m.name}", "r+b") as file:
        data = file.read()
        at = data.index(b"some text that is found") - 1
        file.seek(at)
        file.write(b"\xff\xff\xff")
    failed = 0
    for i in range(100):
        try:
            assert m[i] == "some text that is found"
        except holdfast.CorruptError:
            failed += 1
    assert failed == 1
    with pytest.raises(holdfast.CorruptError, match="is damaged: a value that is no encoding"):
        m.check()


def write_at(m: "SharedMap[Any, Any]", at: int, data: bytes) -> None:
    with open(f"/dev/shm/{m.name}", "r+b") as file:
        file.seek(at)
        file.write(data)


def read_all(m: "SharedMap[Any, Any]") -> bytes:
    with open(f"/dev/shm/{m.name}", "rb") as file:
        return file.read()


def test_a_lock_that_is_another_mutex(open_map: OpenMap) -> None:
    """With some kinds of mutex the C library ends the process: who is to lock one looks first."""
    m = open_map(pickle=False)
    m["k"] = 1
    kind_at = 4096 + 16  # of glibc's pthread_mutex_t, which the lock area begins with
    data = read_all(m)
    right = data[kind_at : kind_at + 4]
    if int.from_bytes(right, "little") != 0x92:
        pytest.skip("another C library than glibc")
    for kind in (0, 1, 2, 3, 0x10, 0x12, 0x20, 0x40, 0x80, 0xC0, 0xD2, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF):
        write_at(m, kind_at, kind.to_bytes(4, "little"))
        with pytest.raises(holdfast.CorruptError):
            m["k"] = 2
        with pytest.raises(holdfast.CorruptError), m.transaction():
            pass
        assert m["k"] == 1
    write_at(m, kind_at, right)
    m["k"] = 2
    m.check()


@pytest.mark.parametrize("count", [2**40, 2**61, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_count_that_cannot_be(open_map: OpenMap, count: int) -> None:
    m = open_map(pickle=False)
    m.update({i: i for i in range(777)})
    size = (777).to_bytes(8, "little")
    data = read_all(m)
    at = data.index(size)
    while at >= 0:
        write_at(m, at, count.to_bytes(8, "little"))
        at = data.find(size, at + 1)
    snapshot = m.snapshot()
    for one in (m, snapshot):
        for do in (len, repr, list, lambda one: list(one.items()), lambda one: one.copy(), lambda one: len(one.keys())):
            with pytest.raises(holdfast.CorruptError):
                do(one)


# -- interpreters ---------------------------------------------------------------------------------


def test_in_several_interpreters() -> None:
    check_python(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import os
        from holdfast import SharedMap
        name = f"hf-pytest-sub-{os.getpid()}"
        m = SharedMap(name, create=True, timeout=10)
        code = '''
        import holdfast
        m = holdfast.SharedMap(NAME, timeout=10)
        for i in range(100):
            m.incr("n")
        m["list"] = [1, {"a": (2,)}]
        s = m.snapshot()
        assert s["list"] == m["list"]
        try:
            m["missing"]
        except KeyError:
            pass
        try:
            holdfast.SharedMap("a/b")
        except holdfast.NameFormatError:
            pass
        t = m.transaction()
        it = iter(m)
        '''
        import textwrap
        code = textwrap.dedent(code).replace("NAME", repr(name))
        for _ in range(3):
            one = interpreters.create()
            failure = interpreters.run_string(one, code)
            assert failure is None, failure
            interpreters.destroy(one)
        assert m["n"] == 300 and m["list"] == [1, {"a": (2,)}]
        m.check()
        m.unlink()
        """
    )
