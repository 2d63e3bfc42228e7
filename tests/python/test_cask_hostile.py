"""Cask and code that does what it likes: objects that use the cask while they are stored or read, leaks, no memory,
damage."""

import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import Cask
from support import check_python
from test_shared_hostile import Meddler

OpenCask = Callable[..., "Cask[Any, Any]"]


def quiet(when: str) -> None:
    pass


@pytest.fixture
def meddling(open_cask: OpenCask) -> Any:
    yield open_cask(pickle=True)
    Meddler.do = staticmethod(quiet)


def batched(c: "Cask[Any, Any]") -> None:
    with c.batch() as b:
        b["k"] = Meddler()


def operations(c: "Cask[Any, Any]") -> list[Callable[[], object]]:
    return [
        lambda: c.put("k", Meddler()),
        lambda: c.update(k=Meddler()),
        lambda: batched(c),
        lambda: c["k"],
        lambda: list(c.items()),
        lambda: list(c.snapshot().values()),
        lambda: c.setdefault("k", Meddler()),
        lambda: c.setdefault("new", Meddler()),
        lambda: c.snapshot()["k"],
        lambda: c == {"k": Meddler()},
        lambda: c.fold(lambda key, value, acc: value, None),
        lambda: c.pop("k", None),
        lambda: c.popitem(),
    ]


def test_foreign_code_may_use_the_cask(meddling: "Cask[Any, Any]") -> None:
    c = meddling
    count = 0
    c["n"] = 0

    def do(when: str) -> None:
        nonlocal count
        count += 1
        Meddler.do = staticmethod(quiet)
        c["seen"] = when
        c["n"] += 1
        assert len(c) >= 2
        with c.batch() as b:
            b["seen"] = [when]
        c.sync()
        Meddler.do = staticmethod(do)

    for number in range(len(operations(c))):
        c.pop("new", None)
        c["k"] = Meddler()
        Meddler.do = staticmethod(do)
        operations(c)[number]()
        Meddler.do = staticmethod(quiet)
        c.setdefault("n", count)
    assert count > 10
    c.check()


def test_a_pop_gives_what_was_put_last(meddling: "Cask[Any, Any]") -> None:
    """What is decoded is not what is taken out, where decoding has put another."""
    c = meddling
    c["k"] = Meddler()

    def do(when: str) -> None:
        if when == "read":
            Meddler.do = staticmethod(quiet)
            c["k"] = "another"

    Meddler.do = staticmethod(do)
    assert c.pop("k") == "another" and "k" not in c

    def put(when: str) -> None:
        Meddler.do = staticmethod(quiet)
        c["k"] = "there"

    Meddler.do = staticmethod(put)
    assert c.setdefault("k", Meddler()) == "there" == c["k"]


def test_foreign_code_may_close_the_cask(open_cask: OpenCask) -> None:
    for number in range(len(operations(open_cask()))):
        c = open_cask(pickle=True)
        c["k"] = Meddler()
        path = c.path
        Meddler.do = staticmethod(lambda when, c=c: c.close())
        try:
            operations(c)[number]()
        except holdfast.ClosedError:
            pass
        finally:
            Meddler.do = staticmethod(quiet)
        assert c.closed
        with open_cask(path, pickle=True) as again:
            again["still"] = 1
            again.check()


def test_foreign_code_may_fail(meddling: "Cask[Any, Any]") -> None:
    c = meddling

    def fail(when: str) -> None:
        raise LookupError(when)

    for number in range(len(operations(c))):
        c.clear()
        c["k"] = Meddler()
        before = c.status().sequence
        Meddler.do = staticmethod(fail)
        with pytest.raises(LookupError):
            operations(c)[number]()
        Meddler.do = staticmethod(quiet)
        # Nothing that cannot be read is taken out, and nothing was written.
        assert c == {"k": Meddler()} and c.status().sequence == before


def test_foreign_code_may_fork(meddling: "Cask[Any, Any]") -> None:
    c = meddling
    children: list[int] = []

    def do(when: str) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                try:
                    c["child"] = 1
                except holdfast.LostError:
                    c.close()
                    status = 0
            finally:
                os._exit(status)
        children.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    c["k"] = Meddler()
    Meddler.do = staticmethod(do)
    assert c["k"] == Meddler()
    assert list(c.values()) == [Meddler()]
    c["j"] = Meddler()
    assert children == [0, 0, 0] and len(c) == 2


def test_an_iterator_that_is_used_by_what_it_gives(meddling: "Cask[Any, Any]") -> None:
    c = meddling
    c.update({i: Meddler() for i in range(50)})
    iterator = iter(c.items())
    inner: list[object] = []

    def do(when: str) -> None:
        Meddler.do = staticmethod(quiet)
        inner.extend(iterator)

    Meddler.do = staticmethod(do)
    outer = list(iterator)
    assert len(outer) == 1 and len(inner) == 49


def test_an_update_whose_source_changes(open_cask: OpenCask) -> None:
    c = open_cask(pickle=True)
    source: dict[Any, Any] = {i: i for i in range(100)}

    class Grows:
        def __reduce__(self) -> Any:
            source.clear()
            gc.collect()
            return int, ()

    source[5] = Grows()
    c.update(source)
    assert len(c) == 100 and c[5] == 0 and not source


def test_a_finalizer_that_closes(open_cask: OpenCask) -> None:
    """The collector may run anything when an object is made: here, a close in the middle of everything."""
    surrogates = "\ud800" * 30

    class Closes:
        def __init__(self, c: "Cask[Any, Any]") -> None:
            self.c = c
            self.me = self

        def __del__(self) -> None:
            self.c.close()

    attempts: list[Callable[[Any], object]] = [
        lambda c: c[1], lambda c: list(c.items()), lambda c: list(c), lambda c: c.snapshot()[1], lambda c: c.pop(1),
        lambda c: c.batch().put(1, surrogates), lambda c: c.put(2, [surrogates]), lambda c: c.update({i: [i] for i in range(9)}),
        lambda c: c.status(), lambda c: c.info(1),
    ]  # fmt: skip
    threshold = gc.get_threshold()
    for attempt in attempts:
        for value in (surrogates, [surrogates], "plain"):
            c = open_cask()
            c.update({i: value for i in range(20)})
            Closes(c)
            gc.set_threshold(1)
            try:
                attempt(c)
            except holdfast.ClosedError:
                pass
            finally:
                gc.set_threshold(*threshold)


# -- leaks ----------------------------------------------------------------------------------------


def everything(c: "Cask[Any, Any]", folder: Path) -> None:
    c.clear()
    c["a"] = "x" * 1000
    c.update({i: [i] for i in range(10)}, b=(1, 2))
    assert c["a"] and c.get("z") is None and c.pop("b") == (1, 2)
    c[(1, "long" * 50)] = {"d": 1}
    c.setdefault("c", 1)
    c.put("t", 1, ttl=1000)
    c.info("t")
    c.popitem()
    for error in (lambda: c[[]], lambda: c["missing"], lambda: c.put("a", lambda: 0), lambda: c.put("a", 1, ttl=-1)):
        try:
            error()
        except (TypeError, KeyError, ValueError):
            pass
    with c.batch() as b, c.snapshot() as s:
        b["t"] = 1
        del b["a"]
        b.commit()
        b.update(x=[1])
        dict(s), list(s.values())
        iter(s.items())
    try:
        with c.batch() as b:
            b["t"] = object()
    except TypeError:
        pass
    c.batch()["dropped"] = 1
    list(c), list(c.values()), repr(c), c == {}, c.copy(), len(c), c.list_keys(), c.is_empty()
    c.fold(lambda key, value, acc: acc, None)
    c.status(), c.needs_merge(), c.merge(), c.sync(), c.check()
    with Cask(c.path, mode="r") as reader:
        reader["t"], dict(reader.snapshot())
        next(iter(reader), None)
    try:
        Cask(c.path)
    except holdfast.BusyError:
        pass
    with Cask[Any, Any](folder / "other") as other:
        other["a"] = 1
    for wrong in (lambda: Cask(folder / "no", mode="r"), lambda: Cask(folder, mode="rw"), lambda: Cask("a", sync="no")):  # type: ignore[arg-type]
        try:
            wrong()
        except (OSError, ValueError):
            pass
    c.backup(folder / "copy")
    shutil.rmtree(folder / "copy")


def test_nothing_leaks(open_cask: OpenCask, tmp_path: Path) -> None:
    (tmp_path / "not ours").touch()
    c = open_cask(checkpoint=1 << 16)
    for _ in range(20):
        everything(c, tmp_path)
    gc.collect()
    blocks, files = sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))
    for _ in range(60):
        everything(c, tmp_path)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 100
    assert len(os.listdir("/proc/self/fd")) <= files + 2  # a thread may be at work on one
    threads = len(os.listdir("/proc/self/task"))
    c.close()
    assert len(os.listdir("/proc/self/task")) <= threads


def test_memory_errors_of_python(open_cask: OpenCask) -> None:
    testcapi = pytest.importorskip("_testcapi")
    c = open_cask(background=False)
    c.update({i: "x" * 2000 for i in range(10)})
    c["c"] = [1, 2]
    todo: list[Callable[[], object]] = [
        lambda: c[1], lambda: c["c"], lambda: c.put("k", [1]), lambda: c.pop("c", 0), lambda: c.update(c=[1, 2]),
        lambda: list(c.items()), lambda: c.snapshot(), lambda: c.batch(), lambda: c.info(1), lambda: c.status(),
        lambda: c.setdefault("c", [1]), lambda: c.put("c", [1, 2], ttl=100), lambda: list(c.snapshot()),
        lambda: c.batch().put(1, [2]), lambda: Cask(c.path, mode="r").close(),
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
        assert "c" in c or c.put("c", [1, 2]) is None
    assert c[1] == "x" * 2000
    c.check()


def test_failures_of_the_core(open_cask: OpenCask) -> None:
    """Each n-th allocation and call to the system fails: an exception, and nothing has changed."""
    from holdfast import _homes

    c = open_cask(background=False)
    c.update({i: "x" * 100 for i in range(20)})
    path = c.path
    todo: list[Callable[[], object]] = [
        lambda: c[1], lambda: c.put(1, "y" * 100), lambda: c.put(1, "z" * 100_000), lambda: list(c.items()),
        lambda: c.snapshot().get(3), lambda: c.update({2: [1], 3: [2]}), lambda: c.pop(5, None), lambda: c.setdefault(6, 6),
        lambda: len(c), lambda: c.status(), lambda: c.info(1), lambda: Cask(path, mode="r").close(),
    ]  # fmt: skip
    for do in todo:
        n = 0
        while True:
            n += 1
            before = c.copy()
            _homes.fail(n)
            try:
                do()
                survived = True
            except (MemoryError, OSError, holdfast.HoldfastError):
                survived = False
            failed = _homes.fail(0)
            if not survived:
                assert c == before, n
            if failed == 0:
                break
            assert n < 2000
    c.check()


# -- damage ---------------------------------------------------------------------------------------


def log_files(path: str) -> list[Path]:
    return sorted(Path(path).glob("*.log"))


def test_damage_is_said_and_crashes_nothing(open_cask: OpenCask, tmp_path: Path) -> None:
    c = open_cask(max_file_size=1 << 14)
    c.update({i: f"some text that is found {i:5}" for i in range(1000)})
    path = c.path
    c.close()
    file = log_files(path)[0]
    data = file.read_bytes()
    at = data.index(b"some text that is found")
    file.write_bytes(data[:at] + b"X" + data[at + 1 :])

    c = open_cask(path, mode="r")
    failed = []
    for i in range(1000):
        try:
            assert c[i] == f"some text that is found {i:5}"
        except holdfast.CorruptError as error:
            assert "check() says where" in str(error)
            failed.append(i)
    assert len(failed) == 1
    assert failed[0] in c or True
    with pytest.raises(holdfast.CorruptError):
        list(c.items())
    with pytest.raises(holdfast.CorruptError, match=f"file {int(file.stem)}, byte"):
        c.check()
    c.close()

    lost = Cask.salvage(path, tmp_path / "saved")
    assert lost and all(isinstance(fault, holdfast.CaskFault) for fault in lost)
    saved = open_cask(tmp_path / "saved", mode="r")
    assert saved == {i: f"some text that is found {i:5}" for i in range(1000) if i != failed[0]}
    saved.check()


# -- interpreters ---------------------------------------------------------------------------------


def test_in_several_interpreters(tmp_path: Path) -> None:
    check_python(
        f"""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import textwrap
        from holdfast import Cask
        path = {str(tmp_path / "cask")!r}
        c = Cask(path)
        c["list"] = [1, {{"a": (2,)}}]
        code = '''
        import holdfast
        c = holdfast.Cask(PATH, mode="r")
        assert c["list"] == [1, {{"a": (2,)}}]
        s = c.snapshot()
        assert s["list"] == c["list"]
        try:
            c["missing"]
        except KeyError:
            pass
        try:
            holdfast.Cask(PATH)
        except holdfast.BusyError:
            pass
        it = iter(c)
        '''
        code = textwrap.dedent(code).replace("PATH", repr(path))
        for _ in range(3):
            one = interpreters.create()
            failure = interpreters.run_string(one, code)
            assert failure is None, failure
            interpreters.destroy(one)
        c.close()
        """
    )
