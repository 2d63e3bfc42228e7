"""SharedMap between processes and threads: multiprocessing, fork, kill -9, waiting, Ctrl-C."""

import gc
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import holdfast
from holdfast import SharedMap
from shared_support import OpenMap, in_child, run_python, start_python, unique_name, wait_until
from support import SANITIZED, check_python

METHODS = ["fork", "spawn", "forkserver"]


# -- multiprocessing ------------------------------------------------------------------------------


def count(m: "SharedMap[Any, Any]", times: int) -> None:
    for i in range(times):
        m.incr("n")
        with m.transaction():
            m["a"] = m.get("a", 0) + 1
            m["b"] = m.get("b", 0) + 1
        m.update_with("c", lambda value: value + 1, 0)
        assert m["a"] >= i
    m[os.getpid()] = times


@pytest.mark.parametrize("method", METHODS)
def test_as_an_argument(open_map: OpenMap, method: str) -> None:
    m = open_map(pickle=False, timeout=60)
    if method != "fork":
        # What is being started gets the segment, not the name.
        m.unlink()
    context: Any = multiprocessing.get_context(method)
    workers = [context.Process(target=count, args=(m, 200)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert m["n"] == m["a"] == m["b"] == m["c"] == 600
    assert sorted(worker.pid for worker in workers) == sorted(key for key in m if isinstance(key, int))
    m.check()


def echo(requests: Any, answers: Any) -> None:
    while (m := requests.get()) is not None:
        try:
            m["answer"] = type(m).__name__
            answers.put((m._address()[2:], len(m)))
        finally:
            m.close()


@pytest.mark.parametrize("method", METHODS)
def test_through_a_queue(open_map: OpenMap, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    requests, answers = context.Queue(), context.Queue()
    worker = context.Process(target=echo, args=(requests, answers), daemon=True)
    worker.start()
    m = open_map(pickle=False, timeout=2.5)
    requests.put(m)
    assert answers.get(timeout=60) == ((False, 2.5), 1)
    assert m["answer"] == "SharedMap"
    requests.put(None)
    worker.join(60)
    assert worker.exitcode == 0


def test_a_pickle_of_what_is_gone(open_map: OpenMap) -> None:
    import pickle

    m = open_map()
    m["a"] = 1
    data = pickle.dumps(m)
    again = pickle.loads(data)
    assert again["a"] == 1 and again is not m
    again.close()
    m.unlink()
    with pytest.raises(holdfast.AbsentError, match="there is no SharedMap"):
        pickle.loads(data)
    other = open_map(m.name)
    with pytest.raises(holdfast.AbsentError, match="another has its name"):
        pickle.loads(data)
    assert len(other) == 0


def test_no_warning_and_no_unlink_when_a_process_ends() -> None:
    name = unique_name()
    source = """
import sys, multiprocessing
from holdfast import SharedMap
m = SharedMap(sys.argv[1])
m["a"] = m.get("a", 0) + 1
s = m.snapshot()
t = m.transaction()
it = iter(m)
"""
    for _ in range(2):
        done = run_python(source, name)
        assert done.stderr == "" == done.stdout
    with SharedMap[str, int](name, create=False) as m:
        assert m["a"] == 2
        m.unlink()


# -- fork -----------------------------------------------------------------------------------------


def test_fork_goes_on_on_both_sides(open_map: OpenMap) -> None:
    m = open_map(timeout=60)
    m["a"] = 1
    snapshot = m.snapshot()
    iterator = iter(m.items())

    def child() -> None:
        assert m["a"] == 1
        m["child"] = os.getpid()
        assert dict(snapshot) == {"a": 1} == dict(iterator)
        snapshot.close()
        m.close()

    assert in_child(child) == 0
    assert m["child"] != os.getpid()
    assert dict(snapshot) == {"a": 1} == dict(iterator)
    m["a"] = 2
    assert snapshot["a"] == 1


def test_a_child_has_no_transaction_of_its_parent(open_map: OpenMap) -> None:
    m = open_map(timeout=0.1)
    transaction = m.transaction()
    transaction.__enter__()
    m["a"] = 1

    def child() -> None:
        assert "a" not in m
        with pytest.raises(TimeoutError):
            m["b"] = 1
        with pytest.raises(holdfast.LostError, match="parent"):
            transaction.__exit__(None, None, None)
        m.close()

    assert in_child(child) == 0
    transaction.__exit__(None, None, None)
    assert m == {"a": 1}


def test_a_fork_while_a_thread_waits(open_map: OpenMap) -> None:
    m = open_map()
    results: list[object] = []
    with m.transaction():
        thread = threading.Thread(target=lambda: results.append(m.set("thread", 1)))
        thread.start()
        time.sleep(0.1)

        def child() -> None:
            assert len(m) == 0
            m.close()

        assert in_child(child) == 0
        assert not results
    thread.join()
    assert m == {"thread": 1}


# -- death ----------------------------------------------------------------------------------------

DIES = """
import sys, os, signal
from holdfast import SharedMap
m = SharedMap(sys.argv[1], create=False)
m["before"] = os.getpid()
with m.transaction():
    m["a"] = 0
    m.clear()
    for i in range(1000):
        m[i] = "x" * i
    snapshot = m.snapshot()
    print("now", flush=True)
    signal.pause()
"""


def test_a_writer_that_is_killed(open_map: OpenMap) -> None:
    m = open_map(timeout=60)
    m["a"] = 1
    sizes = []
    for times in range(5):
        child = start_python(DIES, m.name)
        assert child.stdout is not None and child.stdin is not None
        assert child.stdout.readline() == "now\n"
        assert m["a"] == 1
        child.kill()
        m.incr("kills")
        assert child.wait(60) == -signal.SIGKILL
        child.stdout.close()
        child.stdin.close()
        assert m == {"a": 1, "kills": times + 1, "before": child.pid}
        m.check()
        sizes.append(m.stats().size)
    stats = m.stats()
    assert stats.writers_died == 5
    assert sizes[-1] == sizes[1]


# -- waiting --------------------------------------------------------------------------------------


@pytest.fixture
def busy(open_map: OpenMap) -> Any:
    """A map that a child writes to until it is told to let go."""
    m = open_map(timeout=0.2)
    m.update(a=1, n=1)
    child = start_python(
        "import sys; from holdfast import SharedMap\n"
        "m = SharedMap(sys.argv[1])\n"
        "with m.transaction():\n"
        "    m['child'] = 1; print('now', flush=True); sys.stdin.readline()\n"
        "print('done', flush=True)",
        m.name,
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == "now\n"

    def let_go() -> None:
        child.stdin.write("\n")
        child.stdin.flush()

    yield m, let_go
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_timeouts(busy: Any) -> None:
    m, let_go = busy
    for attempt in (
        lambda: m.set("a", 2), lambda: m.delete("a"), lambda: m.pop("a"), m.popitem, m.clear, lambda: m.incr("n"),
        lambda: m.update(a=2), lambda: m.setdefault("b", 1), lambda: m.compare_and_set("a", 1, 2),
        lambda: m.transaction().__enter__(), lambda: m.update_with("a", lambda value: value),
        lambda: m.incr("n", 0.5), m.check, lambda: m.update({i: i for i in range(1000)}),
    ):  # fmt: skip
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=r"others were writing for longer than 0\.2 seconds") as caught:
            attempt()
        assert isinstance(caught.value, holdfast.WaitTimeoutError) and m.name in str(caught.value)
        assert time.monotonic() - start >= 0.19
    assert dict(m) == {"a": 1, "n": 1} and m["a"] == 1
    at_once: SharedMap[Any, Any] = SharedMap(m.name, timeout=0)
    with pytest.raises(TimeoutError):
        at_once["a"] = 2
    at_once.close()
    let_go()
    wait_until(lambda: "child" in m)
    m["a"] = 2
    assert m["a"] == 2


def test_who_waits_gets_it_and_lets_others_run(busy: Any) -> None:
    short, let_go = busy
    m: SharedMap[Any, Any] = SharedMap(short.name)
    results: queue.Queue[object] = queue.Queue()
    threads = [threading.Thread(target=lambda: results.put(m.incr("n"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    ran = 0
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert m["n"] == 1
        ran += 1
    assert ran > 100 and results.empty()
    let_go()
    for thread in threads:
        thread.join(60)
    assert sorted(results.get() for _ in threads) == [2, 3, 4, 5]
    m.close()


def test_a_close_while_a_thread_waits(busy: Any) -> None:
    short, let_go = busy
    m: SharedMap[Any, Any] = SharedMap(short.name)
    results: list[object] = []

    def work(do: Callable[[], object]) -> None:
        try:
            results.append(do())
        except holdfast.ClosedError as error:
            results.append(type(error))

    todo = [lambda: m.incr("n"), lambda: m.transaction().__enter__(), lambda: m.update(z=1)]
    threads = [threading.Thread(target=work, args=(do,)) for do in todo]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    m.close()
    del m
    gc.collect()
    let_go()
    for thread in threads:
        thread.join(60)
    # What was under way is done; a transaction would have nothing to work on.
    assert sorted(results, key=repr) == sorted([2, None, holdfast.ClosedError], key=repr)
    assert short["n"] == 2 and short["z"] == 1


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's runtime handles signals itself")
def test_ctrl_c_while_waiting(busy: Any) -> None:
    m, _ = busy
    source = """
import sys, os, signal, threading, time
from holdfast import SharedMap
m = SharedMap(sys.argv[1])
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
for do in (lambda: m.set("a", 2), lambda: m.transaction().__enter__(), m.clear):
    try:
        do()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    time.sleep(60)
except KeyboardInterrupt:
    pass
assert m["a"] == 1 and len(m) == 2
"""
    done = run_python(source, m.name)
    assert done.stdout == "interrupted\n" * 3
    assert m == {"a": 1, "n": 1}


def test_a_signal_handler_may_use_the_map(busy: Any) -> None:
    short, let_go = busy
    m: SharedMap[Any, Any] = SharedMap(short.name)
    seen = []

    def handler(*_: object) -> None:
        seen.append(m["n"])
        if len(seen) == 2:
            m.close()
            let_go()

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        assert m.incr("n") == 2
    except holdfast.ClosedError:
        pytest.fail("what was waiting has a handle of its own")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen[:2] == [1, 1] and m.closed


# -- threads --------------------------------------------------------------------------------------


def test_threads(open_map: OpenMap) -> None:
    m = open_map(timeout=60)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(200):
                m.incr("n")
                with m.transaction():
                    m["x"] = m.get("x", 0) + 1
                    m["y"] = m.get("y", 0) + 1
                with m.snapshot() as s:
                    assert s.get("x") == s.get("y")
                m[number, i] = "v" * i
                assert m[number, i] == "v" * i
                del m[number, i]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert m == {"n": 800, "x": 800, "y": 800}
    m.check()


def test_snapshots_leave_others_something_to_read_with(open_map: OpenMap) -> None:
    m = open_map(timeout=5)
    snapshots: list[object] = []
    script = f"""
        from holdfast import SharedMap
        m = SharedMap({m.name!r}, create=False, timeout=5)
        assert m["n"] > 1000 and len(m) == 1
    """
    with pytest.raises(holdfast.SlotsError):
        while True:
            m.incr("n")
            snapshots.append(m.snapshot())
    assert len(snapshots) > 10_000
    check_python(script)  # a new process: a fork would have all the snapshots too
    snapshots.clear()
    assert m.stats().readers < 100
    check_python(script + "    assert m.snapshot()['n'] == m['n']\n")


# -- others' maps ---------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be two users")
def test_another_users_map(open_map: OpenMap) -> None:
    m = open_map(mode=0o666)
    m["a"] = 1
    private = open_map()

    def child() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(PermissionError, match=r"belongs to another user \(0\).*pickle=False") as caught:
            SharedMap(m.name)
        assert isinstance(caught.value, holdfast.DeniedError)
        for options in ({}, {"pickle": False}):
            with pytest.raises(PermissionError, match="permissions"):
                SharedMap(private.name, **options)
        with SharedMap[str, int](m.name, pickle=False) as other:
            assert other["a"] == 1
            other["b"] = 2
            with pytest.raises(PermissionError, match="another user's to unlink"):
                other.unlink()
        assert [info.owner for info in holdfast.list_shared() if info.name == m.name] == [0]

    assert in_child(child) == 0
    assert m == {"a": 1, "b": 2}
