"""The contenders of the rows of SharedMap: what several processes of one machine can use as one dict.

Each has a home, which makes a map, opens it in another process and takes it away at the end. Everything is in
memory: in /dev/shm, or in that of a server which the benchmark starts on a socket of its own. Variables of the syntax
are those of contenders.py; `r` is where a value is left that is looked at.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

from .contenders import Contender
from .data import Data
from .row import FULL, SAMPLE, Mismatch

PREFIX = "holdfast-bench"
SPAWN = multiprocessing.get_context("spawn")  # a forked child would hold descriptors that are not its own
PAGE = 4096
PATIENCE = 60.0  # seconds for a server or a process to answer
_numbers = itertools.count()


def die_with_parent() -> None:
    """Called in a server's process: it does not outlive a benchmark that is killed."""
    pdeathsig = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(pdeathsig, signal.SIGKILL)


def fresh_name() -> str:
    return f"{PREFIX}-{os.getpid()}-{next(_numbers)}"


def _folder() -> str:
    """Of this process in memory, for files and sockets; removed at its end."""
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir="/dev/shm")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Home:
    """A dict of one process, and what others do alike."""

    def create(self, n: int) -> Any:
        return {}

    def address(self, m: Any) -> Any:
        """What another process, to which it is sent, opens the map by."""
        return None

    def attach(self, address: Any) -> Any:
        return {}

    def make(self, d: dict[bytes, bytes]) -> Any:
        m = self.create(len(d))
        self.load(m, d)
        return m

    def load(self, m: Any, d: dict[bytes, bytes]) -> None:
        """Fills a map, untimed."""
        m.update(d)

    def size(self, m: Any) -> int:
        return len(m)

    def look(self, m: Any, k: bytes) -> bytes | None:
        found: bytes | None = m.get(k)
        return found

    def contents(self, m: Any) -> dict[bytes, bytes]:
        return dict(m.items())

    def remove(self, m: Any, ks: list[bytes]) -> None:
        for k in ks:
            del m[k]


class HoldfastHome(Home):
    def create(self, n: int) -> Any:
        import holdfast

        self._sweep(holdfast)
        m: Any = holdfast.SharedMap(fresh_name(), create=True, capacity=n)
        atexit.register(m.unlink)
        return m

    def _sweep(self, holdfast: Any) -> None:
        """Removes what benchmarks that were killed have left."""
        for info in holdfast.list_shared():
            if info.name.startswith(PREFIX) and not info.in_use:
                with contextlib.suppress(OSError):
                    holdfast.SharedMap(info.name, create=False).unlink()

    def address(self, m: Any) -> Any:
        return m  # it goes through multiprocessing as it is

    def attach(self, address: Any) -> Any:
        return address


class LmdbHome(Home):
    """The file is in /dev/shm: nothing is written to a disk, and no commit waits for one."""

    def _open(self, path: str, n: int) -> Any:
        import lmdb

        # A page has some 30 entries; the old version and what readers keep are beside it.
        size = max(1 << 28, n * PAGE)
        return lmdb.open(path, map_size=size, subdir=False, writemap=True, sync=False, metasync=False)

    def create(self, n: int) -> Any:
        path = os.path.join(_folder(), "lmdb")
        return self._open(path, n)

    def address(self, m: Any) -> Any:
        return m.path(), m.info()["map_size"] // PAGE

    def attach(self, address: Any) -> Any:
        return self._open(*address)

    def load(self, m: Any, d: dict[bytes, bytes]) -> None:
        with m.begin(write=True) as t:
            for k, v in d.items():
                t.put(k, v)

    def size(self, m: Any) -> int:
        return int(m.stat()["entries"])

    def look(self, m: Any, k: bytes) -> bytes | None:
        with m.begin() as t:
            found: bytes | None = t.get(k)
        return found

    def contents(self, m: Any) -> dict[bytes, bytes]:
        with m.begin() as t:
            return dict(t.cursor())

    def remove(self, m: Any, ks: list[bytes]) -> None:
        with m.begin(write=True) as t:
            for k in ks:
                t.delete(k)


class ManagerHome(Home):
    """One server process of multiprocessing for all maps."""

    @cached_property
    def manager(self) -> Any:
        manager = SyncManager(ctx=SPAWN)
        manager.start(die_with_parent)
        atexit.register(manager.shutdown)
        return manager

    def create(self, n: int) -> Any:
        return self.manager.dict()

    def address(self, m: Any) -> Any:
        return m

    def attach(self, address: Any) -> Any:
        return address


class RedisHome(Home):
    """A server for each map, which writes nothing to a disk and dies with the process that started it."""

    def create(self, n: int) -> Any:
        path = os.path.join(_folder(), "socket")
        options = ("--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--daemonize", "no")
        server = subprocess.Popen(
            ["redis-server", *options, "--dir", os.path.dirname(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        atexit.register(self._stop, server)
        return self._connect(path)

    def _stop(self, server: subprocess.Popen[bytes]) -> None:
        server.kill()
        server.wait()

    def _connect(self, path: str) -> Any:
        import redis

        m = redis.Redis(unix_socket_path=path)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                m.ping()
                return m
            except redis.ConnectionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def address(self, m: Any) -> Any:
        return m.connection_pool.connection_kwargs["path"]

    def attach(self, address: Any) -> Any:
        return self._connect(address)

    def load(self, m: Any, d: dict[bytes, bytes]) -> None:
        m.mset(d)

    def size(self, m: Any) -> int:
        return int(m.dbsize())

    def contents(self, m: Any) -> dict[bytes, bytes]:
        ks = m.keys()
        return dict(zip(ks, m.mget(ks)))

    def remove(self, m: Any, ks: list[bytes]) -> None:
        if ks:
            m.delete(*ks)


def _make_hash_map(name: str, d: dict[bytes, bytes]) -> None:
    from shared_hashmap import SharedHashMap

    m = SharedHashMap(name, capacity=2 * len(d) + 64, max_key_size=16, max_value_size=64)
    for k, v in d.items():
        m.set(k, v)
    m.close()


class HashMapHome(Home):
    """shared-hashmap does not grow: it gets twice as many buckets as entries, each as large as is needed. Whoever touches
    a bucket keeps some 10 kB for it, so another process makes and fills the map, with all buckets, and ends."""

    def make(self, d: dict[bytes, bytes]) -> Any:
        from shared_hashmap import SharedHashMap

        name = fresh_name()
        maker = SPAWN.Process(target=_make_hash_map, args=(name, d))
        maker.start()
        maker.join()
        m = SharedHashMap(name, create=False)
        atexit.register(lambda: (m.close(), m.unlink()))
        return m

    def size(self, m: Any) -> int:
        return int(m.size())

    def contents(self, m: Any) -> None:
        """It cannot be walked over: look-ups alone say what is in it."""


class UltraDictHome(Home):
    """With its lock for several writers, and room for so many updates that it seldom writes all of itself anew."""

    SETTINGS = {"shared_lock": True, "buffer_size": 1 << 25}

    def create(self, n: int) -> Any:
        from UltraDict import UltraDict

        m = UltraDict(name=fresh_name(), auto_unlink=True, **self.SETTINGS)
        atexit.register(m.close, unlink=True)
        return m

    def address(self, m: Any) -> Any:
        return m.name

    def attach(self, address: Any) -> Any:
        from UltraDict import UltraDict

        return UltraDict(name=address, create=False, auto_unlink=False, **self.SETTINGS)

    def contents(self, m: Any) -> dict[bytes, bytes]:
        m.apply_update()
        return dict(m.data)


@dataclass(frozen=True)
class Sharer(Contender):
    home: Home = field(default_factory=Home, compare=False)
    part: int = 1  # it does so much less of the same operations: who is slow would take minutes
    program: str = ""  # which it needs, besides the module

    def trouble(self) -> str | None:
        if self.program and not shutil.which(self.program):
            return f"not installed (no {self.program}: apt-get install {self.program})"
        return None

    def make(self, d: dict[Any, Any]) -> Any:
        return self.home.make(d)


def _dictlike(**syntax: str) -> dict[str, str]:
    return {
        "enter": "pass",
        "leave": "pass",
        "get": "m[k]",
        "read": "r = m[k]",
        "put": "m[k] = v",
        "insert": "m[k] = v",
    } | syntax


_LMDB = {
    "get": "with m.begin() as t: t.get(k)",
    "read": "with m.begin() as t: r = t.get(k)",
    "put": "with m.begin(write=True) as t: t.put(k, v)",
    "insert": "with m.begin(write=True) as t: t.put(k, v)",
    "begin": "with m.begin(write=True) as t:",
    "tput": "t.put(k, v)",
    "commit": "pass",
    "modify": "with m.begin(write=True) as t: t.put(k, more(t.get(k)))",
}

ALL = (
    Sharer(
        name="holdfast",
        module="holdfast",
        dist="holdfast",
        home=HoldfastHome(),
        syntax=_dictlike(
            begin="with m.transaction():",
            tput="m[k] = v",
            commit="pass",
            modify="with m.transaction(): m[k] = more(m[k])",
        ),
    ),
    Sharer(name="dict", module="builtins", dist=None, home=Home(), syntax=_dictlike(private="")),
    Sharer(name="lmdb", module="lmdb", dist="lmdb", home=LmdbHome(), syntax=_dictlike(**_LMDB)),
    Sharer(
        name="lmdb in one",
        module="lmdb",
        dist="lmdb",
        home=LmdbHome(),
        syntax={"enter": "t = m.begin()", "get": "t.get(k)", "read": "r = t.get(k)", "leave": "t.abort()"},
    ),
    Sharer(
        name="Manager",
        module="multiprocessing.managers",
        dist=None,
        home=ManagerHome(),
        part=50,
        syntax=_dictlike(),
    ),
    Sharer(
        name="redis",
        module="redis",
        dist="redis",
        program="redis-server",
        home=RedisHome(),
        part=50,
        syntax=_dictlike(
            get="m.get(k)",
            read="r = m.get(k)",
            put="m.set(k, v)",
            insert="m.set(k, v)",
            begin="with m.pipeline() as t:",
            tput="t.set(k, v)",
            commit="t.execute()",
            modify="m.transaction(lambda t: (lambda old: (t.multi(), t.set(k, more(old))))(t.get(k)), k)",
        ),
    ),
    Sharer(
        name="shared-hashmap",
        module="shared_hashmap",
        dist="shared-hashmap",
        home=HashMapHome(),
        part=200,
        syntax=_dictlike(get="m.get(k)", read="r = m.get(k)", put="m.set(k, v)", insert="m.set(k, v)"),
    ),
    Sharer(
        name="UltraDict",
        module="UltraDict",
        dist="UltraDict",
        home=UltraDictHome(),
        part=20,
        syntax=_dictlike(modify="with m.lock: m[k] = more(m[k])"),
    ),
)
BY_NAME = {sharer.name: sharer for sharer in ALL}


def expect_shared(c: Sharer, m: Any, oracle: dict[bytes, bytes], effort: int) -> None:
    """m holds just what the oracle holds."""
    if (size := c.home.size(m)) != len(oracle):
        raise Mismatch(f"it has {size} entries, not {len(oracle)}")
    if effort == FULL:
        contents = c.home.contents(m)
        if contents is not None and contents != oracle:
            raise Mismatch("iteration gives other items")
    wanted = max(1, min(effort, SAMPLE) // c.part)
    for k in itertools.islice(oracle, 0, None, -(-len(oracle) // wanted) or 1):
        if (found := c.home.look(m, k)) != oracle[k]:
            raise Mismatch(f"m[{k!r}] is {found!r}, not {oracle[k]!r}")


# -- several processes -----------------------------------------------------------------------------------------


class Member:
    """One process of a crew, as the rows see it: its contender's map, and what it remembers from one order to the next."""

    def __init__(self, c: Sharer, m: Any, who: int, data: Data) -> None:
        self.c, self.m, self.who, self.data = c, m, who, data
        self._memory: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def run(self, source: str, args: tuple[str, ...], at: int, *values: Any) -> Any:
        """Begins when it is that time. Compiled once for each source."""
        run = self.once(source, lambda: self.c.compile(source, args, f"process {self.who}"))
        while (left := at - time.perf_counter_ns()) > 0:
            time.sleep(left / 1e9 if left > 1_000_000 else 0)
        return run(*values)


Work = Callable[[Member, Any], Any]


def _serve(pipe: Any, name: str, address: Any, who: int, about: tuple[int, str, int], work: Work) -> None:
    """A process of a crew: does its work with each order, until the pipe is closed."""
    c = BY_NAME[name]
    member = Member(c, c.home.attach(address), who, Data(*about))
    if address is None:
        c.home.load(member.m, member.data.oracle)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            order = pipe.recv()
            try:
                pipe.send(("", work(member, order)))
                gc.collect()
            except Mismatch as mismatch:
                pipe.send(("wrong", str(mismatch)))
            except Exception as error:  # a contender's, which is reported and costs nobody else anything
                pipe.send(("error", f"{type(error).__name__}: {error}"))


class Crew:
    """Processes that have one map open; of dicts they have one each. They end when their maker does."""

    def __init__(self, c: Sharer, m: Any, count: int, data: Data, work: Work) -> None:
        self.pipes: list[Any] = []
        self.processes: list[Any] = []
        about = (data.n, data.kind, data.seed)
        for who in range(count):
            mine, theirs = SPAWN.Pipe()
            args = (theirs, c.name, c.home.address(m), who, about, work)
            self.processes.append(SPAWN.Process(target=_serve, args=args, daemon=True))
            self.processes[-1].start()
            theirs.close()
            self.pipes.append(mine)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()

    def do(self, orders: list[Any]) -> list[Any]:
        """What the first processes answer, of which each gets an order."""
        for pipe, order in zip(self.pipes, orders):
            pipe.send(order)
        found = [self._answer(who) for who in range(len(orders))]
        for trouble, answer in found:
            if trouble == "wrong":
                raise Mismatch(answer)
            if trouble:
                raise RuntimeError(answer)
        return [answer for _, answer in found]

    def _answer(self, who: int) -> tuple[str, Any]:
        try:
            if self.pipes[who].poll(PATIENCE):
                answer: tuple[str, Any] = self.pipes[who].recv()
                return answer
        except EOFError:
            return "error", f"process {who} of {len(self.pipes)} has died"
        for process in self.processes:
            process.kill()
        return "error", f"process {who} of {len(self.pipes)} does not answer"
