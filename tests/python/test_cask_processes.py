"""Cask between processes and threads: readers, fork, kill -9, a flush that is shared, Ctrl-C."""

import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import Cask
from shared_support import in_child, run_python, start_python, wait_until

OpenCask = Callable[..., "Cask[Any, Any]"]
METHODS = ["fork", "spawn", "forkserver"]


# -- readers --------------------------------------------------------------------------------------

READS = """
import sys
from holdfast import Cask
with Cask(sys.argv[1], mode="r") as c:
    names = {"c": c}
    for line in sys.stdin:
        print(repr(eval(line, names)), flush=True)
"""


class Reader:
    """Another process, which is asked."""

    def __init__(self, path: str) -> None:
        self.process = start_python(READS, path)

    def __call__(self, question: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return eval(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()


def test_readers_see_what_is_put_at_once(open_cask: OpenCask) -> None:
    c = open_cask(max_file_size=1 << 14, checkpoint=1 << 14)
    c["n"] = 0
    readers = [Reader(c.path) for _ in range(2)]
    for i in range(200):
        c["n"] = i
        c[i % 20] = "x" * 100
        assert readers[i % 2]("c['n']") == i
        if i % 20 == 0:
            c.update({("batch", j): i for j in range(10)})
            assert readers[1 - i % 2]("sorted({c['batch', j] for j in range(10)})") == [i]
            del c[i % 20]
            assert readers[0](f"{i % 20} in c") is False
            assert readers[0]("len(c)") == len(c) and readers[1]("c.copy()") == c.copy()
    path = c.path
    c.close()
    assert readers[0]("c['n']") == 199
    # The next writer.
    c = open_cask(path)
    c["n"] = "again"
    assert [reader("c['n']") for reader in readers] == ["again"] * 2
    assert readers[0]("c.snapshot() == c")
    for reader in readers:
        reader.close()


def test_a_reader_keeps_its_snapshot_while_merges_go_on(open_cask: OpenCask) -> None:
    c = open_cask(max_file_size=1 << 14, auto_merge=False, fragmentation_trigger=10, fragmentation_threshold=10)
    c.update({i: f"first {i}" * 10 for i in range(500)})
    reader = Reader(c.path)
    assert reader("globals().update(s=c.snapshot())") is None
    for generation in range(4):
        c.update({i: f"{generation} {i}" * 10 for i in range(500)})
        c.merge()
    assert reader("s == {i: f'first {i}' * 10 for i in range(500)}") is True
    assert reader("c == {i: f'3 {i}' * 10 for i in range(500)}") is True
    reader.close()


def test_in_memory_is_one_process_alone(open_cask: OpenCask) -> None:
    c = open_cask(keydir="memory")
    c["a"] = 1
    for mode in ("r", "rw"):
        with pytest.raises(holdfast.BusyError):
            Cask(c.path, mode=mode)  # type: ignore[arg-type]
    path = c.path
    c.close()
    assert open_cask(path, mode="r") == {"a": 1}


def total(path: str, answers: Any) -> None:
    with Cask[Any, Any](path, mode="r") as c:
        answers.put(sum(c.values()))


def total_of(c: "Cask[Any, Any]", answers: Any) -> None:
    answers.put(sum(c.values()))
    c.close()


@pytest.mark.parametrize("method", METHODS)
def test_with_multiprocessing(open_cask: OpenCask, method: str) -> None:
    c = open_cask()
    c.update({i: i for i in range(100)})
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    workers = [context.Process(target=total, args=(c.path, answers)) for _ in range(2)]
    if method != "fork":
        # One that reads can be sent; a fork would have it without its being sent.
        reader = open_cask(c.path, mode="r")
        workers.append(context.Process(target=total_of, args=(reader, answers)))
        with pytest.raises(TypeError, match="mode='r'"):
            context.Process(target=total_of, args=(c, answers)).start()
    for worker in workers:
        worker.start()
    assert [answers.get(timeout=60) for _ in workers] == [4950] * len(workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


# -- fork -----------------------------------------------------------------------------------------


def test_a_child_does_not_have_it(open_cask: OpenCask) -> None:
    c = open_cask()
    c["a"] = 1
    snapshot, iterator, batch = c.snapshot(), iter(c), c.batch()
    batch["b"] = 1

    def child() -> None:
        for attempt in (
            lambda: c["a"], lambda: c.put("a", 2), lambda: c.delete("a"), lambda: len(c), lambda: list(c), lambda: bool(c),
            lambda: c.update(a=2), c.snapshot, c.sync, c.merge, c.status, lambda: snapshot["a"], lambda: list(snapshot),
            batch.commit, c.clear, c.batch, lambda: "a" in c, lambda: c.pop("a"), lambda: c.setdefault("z", 1),
        ):  # fmt: skip
            with pytest.raises(holdfast.LostError, match="parent"):
                attempt()
        with pytest.raises(holdfast.LostError):
            next(iterator)
        snapshot.close()
        c.close()
        assert c.closed
        with Cask[str, int](c.path, mode="r") as again:
            assert again == {"a": 1}
        with pytest.raises(holdfast.BusyError):
            Cask(c.path)

    assert in_child(child) == 0
    assert c == {"a": 1} == snapshot and next(iterator) == "a"
    batch.commit()
    assert c == {"a": 1, "b": 1}


def test_a_fork_while_threads_write(open_cask: OpenCask) -> None:
    c = open_cask(sync="put")
    stop = threading.Event()

    def write(number: int) -> None:
        i = 0
        while not stop.is_set():
            c[number, i % 50] = i
            i += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()

    def child() -> None:
        with pytest.raises(holdfast.LostError):
            c["child"] = 1
        c.close()
        with Cask[Any, Any](c.path, mode="r") as again:
            assert len(again) >= 0

    try:
        for _ in range(5):
            assert in_child(child) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    c.close()
    # The children did not keep the lock.
    assert "child" not in open_cask(c.path)


# -- death ----------------------------------------------------------------------------------------

DIES = """
import sys, os
from holdfast import Cask
c = Cask(sys.argv[1], max_file_size=1 << 15, checkpoint=1 << 14)
n = c.get("n", 0)
b = c.batch()
while True:
    n += 1
    c["n"] = n
    print(n, flush=True)
    c.update({("batch", i): n for i in range(20)})
    if n % 5 == 0:
        del c["batch", 0]
    b["never"] = n
"""


def test_a_writer_that_is_killed(open_cask: OpenCask, tmp_path: Path, rng: random.Random) -> None:
    path = tmp_path / "cask"
    told = 0
    for _ in range(6):
        child = start_python(DIES, str(path))
        assert child.stdout is not None and child.stdin is not None
        for _ in range(rng.randrange(30, 200)):
            told = int(child.stdout.readline())
        child.kill()
        told = int((child.stdout.read().splitlines() or [told])[-1])
        assert child.wait(60) == -signal.SIGKILL
        child.stdout.close()
        child.stdin.close()
        c = open_cask(path)
        assert c.status().recovered and c.status().lost == 0
        n = c["n"]
        assert n in (told, told + 1)
        batch = {c.get(("batch", i)) for i in range(1, 20)}
        assert len(batch) == 1 and batch <= {n, n - 1} and "never" not in c
        c.check()
        c.close()


# -- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"sync": "put"}, {"sync": 0.01}, {"background": False}, {"keydir": "memory"}], ids=repr)
def test_threads(open_cask: OpenCask, options: dict[str, Any]) -> None:
    c = open_cask(max_file_size=1 << 14, checkpoint=1 << 13, **options)
    errors: list[BaseException] = []
    claimed: list[int] = []
    c.update({("job", i): i for i in range(100)})

    def work(number: int) -> None:
        try:
            for i in range(60):
                c[number, i] = "v" * i
                assert c[number, i] == "v" * i
                with c.batch() as b:
                    b["x"] = b["y"] = (number, i)
                with c.snapshot() as s:
                    assert s.get("x") == s.get("y")
                del c[number, i]
                taken = c.pop(("job", i), None)
                if taken is not None:
                    claimed.append(taken)
                c.setdefault(("first", i), number)
                if i % 20 == 0:
                    c.sync()
                    dict(c.items())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    # Each was popped by one.
    assert sorted(claimed) == list(range(60))
    assert c["x"] == c["y"] and len(c) == 2 + 40 + 60
    c.check()


def test_others_run_while_the_disk_is_waited_for(open_cask: OpenCask) -> None:
    c = open_cask(sync="put")
    stop = threading.Event()

    def write() -> None:
        i = 0
        while not stop.is_set():
            c[i % 10] = i
            i += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        before, ran, end = c.status().sequence, 0, time.monotonic() + 0.5
        while time.monotonic() < end:
            c.get(1)
            ran += 1
    finally:
        stop.set()
        thread.join()
    assert c.status().sequence > before and ran > 100


def test_a_close_while_threads_write(open_cask: OpenCask) -> None:
    for sync in ("none", "put"):
        c = open_cask(sync=sync)
        done: list[object] = []

        def write(number: int, c: "Cask[Any, Any]" = c, done: list[object] = done) -> None:
            try:
                for i in range(10**9):
                    c[number, i] = i
            except holdfast.ClosedError as error:
                done.append((number, i, error))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda c=c: len(c) > 20)
        c.close()
        for thread in threads:
            thread.join(60)
        assert len(done) == 3
        with open_cask(c.path) as again:
            for number, i, _ in done:  # type: ignore[misc]
                assert (number, i - 1) in again and (number, i) not in again


def test_a_batch_belongs_to_one_thread_at_a_time(open_cask: OpenCask) -> None:
    c = open_cask(sync="put")
    b = c.batch()
    outcomes: list[object] = []

    def commit() -> None:
        for _ in range(30):
            try:
                b["k"] = "x" * 100_000
                b.commit()
            except holdfast.BusyError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=commit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("another thread" in str(error) for error in outcomes)
    assert c == {"k": "x" * 100_000}


# -- signals --------------------------------------------------------------------------------------


def test_signals_while_it_writes(open_cask: OpenCask) -> None:
    c = open_cask(sync="put")
    seen: list[int] = []

    def handler(*_: object) -> None:
        seen.append(c.get("n", 0))
        c["handler"] = len(seen)

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        end, n = time.monotonic() + 60, 0
        while len(seen) < 20 and time.monotonic() < end:
            n += 1
            c["n"] = n
            c.update(a=n, b=n)
            assert c.pop("a") == n
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(seen) >= 20 and c["n"] == n and c["handler"] == len(seen)


class Enough(Exception):
    pass


def test_a_signal_ends_a_merge_in_good_order(open_cask: OpenCask) -> None:
    c = open_cask(max_file_size=1 << 16, auto_merge=False, fragmentation_trigger=1, fragmentation_threshold=1, merge_rate=200_000)
    for i in (*range(1000), *range(0, 1000, 3)):
        c[i] = "x" * 1000
    refused: list[str] = []

    def handler(*_: object) -> None:
        try:
            c.close()
        except holdfast.BusyError as error:
            refused.append(str(error))
        assert c[5] == "x" * 1000
        c["handler"] = 1
        raise Enough

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    start = time.monotonic()
    try:
        with pytest.raises(Enough):
            c.merge()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert time.monotonic() - start < 5 and len(refused) == 1 and "middle" in refused[0]
    assert c.pop("handler") == 1 and c == {i: "x" * 1000 for i in range(1000)}
    c.check()
    path = c.path
    c.close()
    c = open_cask(path, auto_merge=False, fragmentation_trigger=1, fragmentation_threshold=1)
    c.merge()
    assert c == {i: "x" * 1000 for i in range(1000)} and not c.needs_merge()


CTRL_C = """
import os, signal, sys, threading
from holdfast import Cask
c = Cask(sys.argv[1])
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
n = 0
try:
    while True:
        n += 1
        c["n"] = n
except KeyboardInterrupt:
    print(n, c["n"])
c.close()
"""


def test_ctrl_c(open_cask: OpenCask, tmp_path: Path) -> None:
    done = run_python(CTRL_C, str(tmp_path / "cask"))
    n, kept = map(int, done.stdout.split())
    assert n - kept in (0, 1)
    assert open_cask(tmp_path / "cask")["n"] == kept


# -- permissions, space ---------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be two users")
def test_another_users_cask(open_cask: OpenCask) -> None:
    c = open_cask()
    c["a"] = 1
    os.chmod(Path(c.path).parent, 0o755)

    def child() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        for mode in ("r", "rw"):
            with pytest.raises(PermissionError) as caught:
                Cask(c.path, mode=mode)  # type: ignore[arg-type]
            assert isinstance(caught.value, holdfast.DeniedError)

    assert in_child(child) == 0
    assert os.stat(c.path).st_mode & 0o777 == 0o700


FILL_UP = """
import errno, os, sys
import holdfast
from holdfast import Cask

path = sys.argv[1] + "/full"
c = Cask(path, max_file_size=1 << 20, background=False)
c.update({("kept", i): i for i in range(1000)})
n = 0
try:
    while True:
        c[n] = os.urandom(30000)
        n += 1
except OSError as error:
    assert isinstance(error, holdfast.DiskFullError) and error.errno == errno.ENOSPC, error
    assert "nothing has changed" in str(error)
assert n > 100, n
for attempt in (lambda: c.put("no", bytes(100_000)), lambda: c.update(half=1, no=bytes(100_000))):
    try:
        attempt()
        raise AssertionError("there was room")
    except OSError:
        pass
assert "half" not in c and "no" not in c and len(c) == 1000 + n
try:
    c.close()
except holdfast.DiskFullError as error:
    assert "its log will be read" in str(error), error
assert c.closed
with Cask(path, mode="r") as c:
    assert len(c) == 1000 + n and c["kept", 5] == 5
    c.check()
open(sys.argv[1] + "/more", "w").close()
print("well")
"""


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    import shutil
    import subprocess
    import sys

    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs a mount of its own")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=16m none {tmp_path} && exec "$0" "$@"',
         sys.executable, "-W", "error", "-c", FILL_UP, str(tmp_path)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "mount" in done.stderr and ("denied" in done.stderr or "not permitted" in done.stderr):
        pytest.skip("may not mount")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "well\n"


def test_a_pickle_of_what_is_gone(open_cask: OpenCask) -> None:
    import shutil

    c = open_cask()
    c.close()
    data = pickle.dumps(open_cask(c.path, mode="r"))
    shutil.rmtree(c.path)
    with pytest.raises(holdfast.AbsentError, match="there is no Cask"):
        pickle.loads(data)
