"""One dict for many processes, without a server: SharedMap, its snapshots and its views.

What is called often is C (python/src/shared_map.c): `m[k]`, `m[k] = v`, `del`, `in`, `len`, `get`, `set`, `incr`, ...
This module adds what is seldom called and what only combines the above. The classes here define none of the special
methods that the C classes define, so a look-up goes straight there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

from . import _homes
from ._core import MISSING, MissingType
from ._homes import AbsentError, SharedMapCore, SharedSnapshotCore
from ._mapping import StoredItems, StoredKeys, StoredMapping, StoredMutableMapping, StoredValues

_K = TypeVar("_K")
_V = TypeVar("_V")
_V2 = TypeVar("_V2")


class SharedStats(NamedTuple):
    """What SharedMap.stats() tells."""

    entries: int
    """How many the map has."""
    version: int
    """The number of the newest version: it grows with each change."""
    size: int
    """Bytes of shared memory."""
    used: int
    """Of them, in use now: old versions that somebody has pinned are counted."""
    max_size: int
    """It never has more bytes than these; 0: as many as the system has."""
    readers: int
    """Reader slots in use, in all processes."""
    writers_died: int
    """How often a writer was found dead."""
    readers_died: int
    """How often a reader was."""


class SharedInfo(NamedTuple):
    """A SharedMap that is there, as list_shared() tells of it."""

    name: str
    size: int
    """Bytes of shared memory."""
    owner: int
    """The user id of who made it."""
    mode: int
    """Permissions, such as 0o600."""
    created: int
    """Seconds since 1970."""
    in_use: bool
    """Whether a process has it open."""


# -- views ----------------------------------------------------------------------------------------------------


class SharedKeys(StoredKeys[_K]):
    """The keys of a SharedMap, live; or those of a snapshot. Each iteration runs over a snapshot."""

    __slots__ = ()


class SharedValues(StoredValues[_V]):
    """The values of a SharedMap, live; or those of a snapshot. Each iteration runs over a snapshot."""

    __slots__ = ()


class SharedItems(StoredItems[_K, _V]):
    """The pairs of a SharedMap, live; or those of a snapshot. Each iteration runs over a snapshot."""

    __slots__ = ()


# -- snapshots ------------------------------------------------------------------------------------------------


class SharedSnapshot(SharedSnapshotCore[_K, _V], StoredMapping[_K, _V]):
    """A version of a SharedMap, which never changes: a read-only mapping, made by SharedMap.snapshot().

    It costs nothing to make, and never makes a writer wait. While it is open, the memory that it alone needs is not
    used again: so close() it, or use it in a `with`; one that is forgotten is closed when the collector finds it.
    It outlives the close() of its map. It cannot be pickled; after a fork, parent and child both have it.
    """

    __slots__ = ()

    def keys(self) -> SharedKeys[_K]:
        """Its keys, as a set-like view."""
        return SharedKeys(self)

    def values(self) -> SharedValues[_V]:
        """Its values."""
        return SharedValues(self)

    def items(self) -> SharedItems[_K, _V]:
        """Its pairs, as a set-like view."""
        return SharedItems(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a snapshot of a SharedMap cannot be pickled: send the map, or snapshot.copy()")


Mapping.register(SharedSnapshot)


# -- maps -----------------------------------------------------------------------------------------------------


class SharedMap(SharedMapCore[_K, _V], StoredMutableMapping[_K, _V]):
    """A dict in shared memory, for any number of processes and threads at once.

    SharedMap(name) opens the map of this name, which is a file name in /dev/shm; or creates it.

    create      True: it must not exist (ExistsError). False: it must (AbsentError). None: either.
    capacity    About how many entries to make room for at once, when it is created, if there is so much. It grows beyond.
    max_size    Bytes that it may ever take, when it is created (at least 4 MiB): then FullError, a MemoryError.
                None: as much as the system has.
    mode        Permissions when it is created, whatever the umask.
    pickle      Whether values of types that have no encoding of their own are stored, and loaded, as pickles. A
                pickle can do anything: another user's map is opened only with pickle=False (else DeniedError).
    timeout     Seconds to wait for other writers, in each call that changes something: then WaitTimeoutError, a
                TimeoutError. 0: not at all. None: for ever. Ctrl-C ends the wait too.

    It behaves as a dict does, with these differences. Keys and values are stored as bytes: what comes back is
    equal, and of the same type, but a fresh object each time. So m[k].append(x) changes that copy alone: put it
    back, or use update_with(). Keys are hashable objects of Python's own types (KeyTypeError otherwise, KeyValueError
    for nan). Entries have no order. keys(), values() and items() are live, and each iteration runs over a snapshot,
    so the map may be changed meanwhile. copy() gives a dict of one version, and so do | and Map(m). dict(m) and {**m}
    do not: Python looks up each key on its own, and one that was deleted meanwhile is a KeyError. There is no fromkeys().

    Every call is one atomic step for all processes and threads; `with m.transaction():` makes one of many. Readers
    never wait. A process that is killed has done each of its steps or not begun it, and takes nothing from the
    others. Nothing survives a reboot.

    unlink() removes the name. Nothing else does: a map whose processes are gone stays (see list_shared()). A map
    can be an argument of a multiprocessing.Process, go through queues and pipes, and be used on both sides of a
    fork. A transaction is its thread's, and no child has it.

    Used in a `with`, it is closed at the end, and not unlinked.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        *,
        create: bool | None = None,
        capacity: int | None = None,
        max_size: int | None = None,
        mode: int = 0o600,
        pickle: bool = True,
        timeout: float | None = None,
    ) -> None:
        super().__init__(
            name, create=create, capacity=capacity, max_size=max_size, mode=mode, pickle=pickle, timeout=timeout
        )

    # -- as a dict ------------------------------------------------------------------------------

    def keys(self) -> SharedKeys[_K]:
        """The keys, as a live, set-like view."""
        return SharedKeys(self)

    def values(self) -> SharedValues[_V]:
        """The values, as a live view."""
        return SharedValues(self)

    def items(self) -> SharedItems[_K, _V]:
        """The pairs, as a live, set-like view."""
        return SharedItems(self)

    # -- atomic steps ---------------------------------------------------------------------------

    def update_with(self, key: _K, fn: Callable[[_V], _V2], default: _V | MissingType = MISSING) -> _V2:
        """Give the key the value fn(its value), in a transaction, and return that.

        fn is called once, with the default if the key is not there; without one that is a KeyError. Other writers
        wait while it runs. An exception of fn is passed on, and the value stays. What fn itself changes in the map is
        part of the transaction: of this call's, or, within another one, of that.
        """
        if self._depth() > 0:
            return self._updated_with(key, fn, default)
        with self.transaction():
            new = self._updated_with(key, fn, default)
        return new

    def _updated_with(self, key: _K, fn: Callable[[_V], _V2], default: _V | MissingType) -> _V2:
        old = cast("_V | MissingType", self.get(key, cast("_V", default)))
        if isinstance(old, MissingType):
            raise KeyError(key)
        new = fn(old)
        cast("MutableMapping[Any, Any]", self)[key] = new
        return new

    def snapshot(self) -> SharedSnapshot[_K, _V]:
        """The map as it is now, for as long as you like: see SharedSnapshot.

        That is what was published last: without what a transaction of this thread has changed.
        """
        return cast("SharedSnapshot[_K, _V]", self._snapshot(SharedSnapshot))

    # -- looking after --------------------------------------------------------------------------

    def stats(self) -> SharedStats:
        """Sizes and counts: see SharedStats."""
        return SharedStats(*self._stats())

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the map itself: by its descriptor if that is just being started, else by its name."""
        fd, identity, pickle, timeout = self._address()
        context = sys.modules.get("multiprocessing.context")
        sent = None
        if context is not None and context.get_spawning_popen() is not None:
            from multiprocessing.reduction import DupFd

            sent = DupFd(fd)
        return _attach, (type(self), self.name, identity, pickle, timeout, sent)


MutableMapping.register(SharedMap)


def _attach(
    cls: type[SharedMap[Any, Any]], name: str, identity: bytes, pickle: bool, timeout: float | None, sent: Any
) -> SharedMap[Any, Any]:
    """What a pickled SharedMap calls: the same map, in this process."""
    made = cls.__new__(cls)
    if sent is not None:
        fd: int = sent.detach()
        try:
            SharedMapCore.__init__(made, name, create=False, pickle=pickle, timeout=timeout, fd=fd)
        finally:
            os.close(fd)
        return made
    SharedMapCore.__init__(made, name, create=False, pickle=pickle, timeout=timeout)
    if made._address()[1] != identity:
        made.close()
        raise AbsentError(2, f"the SharedMap {name!r} that was sent has been unlinked, and another has its name")
    return made


def list_shared() -> list[SharedInfo]:
    """Every SharedMap of this machine that this user may read, by name: also those that nobody has open any more."""
    return sorted(SharedInfo(*row) for row in _homes.shared_list())


# Where users find them, and pickles and documentation look for them.
for _public in (SharedInfo, SharedMap, SharedSnapshot, SharedStats, list_shared):
    _public.__module__ = "holdfast"
