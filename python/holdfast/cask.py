"""A dict on disk that is a log: Cask, its snapshots, its batches and its views.

What is called often is C (python/src/cask_map.c): `c[k]`, `c[k] = v`, `del`, `in`, `len`, `get`, `put`, `delete`, ... This
module adds what is seldom called and what only combines the above. The classes here define none of the special methods
that the C classes define, so a look-up goes straight there.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeVar, cast

from . import _homes
from ._core import MISSING
from ._homes import CaskBatch, CaskCore, CaskSnapshotCore, CorruptError
from ._mapping import StoredItems, StoredKeys, StoredMapping, StoredMutableMapping, StoredValues

_K = TypeVar("_K")
_V = TypeVar("_V")
_T = TypeVar("_T")

if TYPE_CHECKING:
    import datetime

    _Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    _Seconds = float | datetime.timedelta

_NEVER = 2**64 - 1  # HF_CASK_NEVER


def _moment(milliseconds: int) -> datetime.datetime:
    import datetime

    try:
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return datetime.datetime.max.replace(tzinfo=datetime.UTC)


class CaskInfo(NamedTuple):
    """What Cask.info() tells of a key."""

    sequence: int
    """The number of its record: each that is written has a higher one than all before it."""
    inserted: datetime.datetime
    """When it was put, by the cask's clock, in UTC, to the millisecond."""
    expires: datetime.datetime | None
    """From when on it is not there any more; None: never."""
    file: int
    """The number of the log file that it is in."""
    offset: int
    """Where, in bytes."""
    size: int
    """Of the whole record, in bytes."""
    value_size: int
    """Of the encoded value."""


class CaskFile(NamedTuple):
    """A log file, as Cask.status() tells of it."""

    number: int
    """Of its name."""
    active: bool
    """Whether it is written to; all others never change."""
    merged: bool
    """Whether a merge made it."""
    keys: int
    """Records in it."""
    dead_keys: int
    """Of them, those that no longer count: put again since, deleted, expired."""
    bytes: int
    """In all."""
    dead_bytes: int
    """Of records that no longer count."""
    fragmentation: int
    """Percent of the records that no longer count."""


class CaskMerged(NamedTuple):
    """What a merge has done."""

    files: int
    """Log files that were merged away."""
    copied: int
    """Bytes of records that still count, which were copied."""
    dropped: int
    """Bytes that no longer did, and are gone."""


class CaskStatus(NamedTuple):
    """What Cask.status() tells."""

    keys: int
    files: tuple[CaskFile, ...]
    """By number. What is dead in them is known as of the last checkpoint; where it was opened with mode='r', all of this is."""
    bytes: int
    """Of all log files."""
    dead_bytes: int
    """Of records that no longer count."""
    sequence: int
    """The number of the newest record,"""
    synced: int
    """and of the last that would survive a power cut, as far as is known."""
    keydir_bytes: int
    """What the keydir takes, in its file or in memory,"""
    tail_bytes: int
    """and what is not in it yet takes in memory."""
    written: int
    """Bytes written since it was opened: records, merges, hints, manifests;"""
    written_keydir: int
    """and to the keydir."""
    merged: CaskMerged
    """Since it was opened."""
    recovered: bool
    """It had not been closed before."""
    cut: int
    """Bytes that were cut off its end then: of records that a crash had interrupted."""
    lost: int
    """Bytes in which damage was found. See Cask.check()."""
    broken: bool
    """A flush has failed: nothing is written until it is closed and opened again."""


class CaskFault(NamedTuple):
    """Something that is wrong with a cask on the disk."""

    what: str
    file: int
    """Of the log file, or of its hint; 0: of none."""
    offset: int
    size: int
    """So many bytes, from there on."""

    def __str__(self) -> str:
        if self.file == 0:
            return self.what
        return f"file {self.file}, byte {self.offset}, {self.size} bytes: {self.what}"


# -- options --------------------------------------------------------------------------------------------------

_MODES = {"rw": 0, "x": 1, "r": 2}


def _choice(name: str, value: object, choices: Mapping[str, int]) -> int:
    if isinstance(value, str) and value in choices:
        return choices[value]
    raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")


def _seconds(name: str, value: object) -> float:
    if hasattr(value, "total_seconds"):
        return cast("datetime.timedelta", value).total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or a timedelta, not {type(value).__name__!r}")
    return value


def _sync(value: object) -> tuple[int, int]:
    """hf_cask_sync, and nanoseconds."""
    if isinstance(value, str):
        return _choice("sync", value, {"none": 0, "put": 1}), 0
    seconds = _seconds("sync", value)
    if not seconds > 0:
        raise ValueError(f"sync must be 'none', 'put' or more than 0 seconds, not {value!r}")
    return (2, min(max(int(seconds * 1e9), 1), 2**62)) if seconds < 1e9 else (0, 0)


def _size(name: str, value: object, least: int, most: int) -> int:
    """A whole number; None: the default."""
    if value is None:
        return 0
    number = int(cast(Any, value).__index__()) if hasattr(value, "__index__") else None
    if number is None:
        raise TypeError(f"{name} must be an int, not {type(value).__name__!r}")
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least:,} to {most:,}, not {value!r}")
    return number


def _limit(name: str, value: object, most: int = 2**63) -> int:
    """The same, or math.inf: never."""
    if isinstance(value, float) and value == math.inf:
        return _NEVER
    return _size(name, value, 1, most)


def _grace(value: object) -> int:
    seconds = _seconds("expiry_grace", value)
    if not seconds >= 0:
        raise ValueError(f"expiry_grace must be at least 0 seconds, not {value!r}")
    return int(seconds * 1000) if seconds < 1e15 else _NEVER


# -- views ----------------------------------------------------------------------------------------------------


class CaskKeys(StoredKeys[_K]):
    """The keys of a Cask, live; or those of a snapshot. Each iteration runs over a snapshot."""

    __slots__ = ()


class CaskValues(StoredValues[_V]):
    """The values of a Cask, live; or those of a snapshot. Each iteration runs over a snapshot."""

    __slots__ = ()


class CaskItems(StoredItems[_K, _V]):
    """The pairs of a Cask, live; or those of a snapshot. Each iteration runs over a snapshot."""

    __slots__ = ()


# -- snapshots ------------------------------------------------------------------------------------------------


class CaskSnapshot(CaskSnapshotCore[_K, _V], StoredMapping[_K, _V]):
    """A Cask as it was, which never changes: a read-only mapping, made by Cask.snapshot().

    It takes about a microsecond to make, however many keys there are, and never makes a writer or a merge wait. While it is open, the
    log files that it needs stay on the disk: so close() it, or use it in a `with`; one that is forgotten is closed when
    the collector finds it. What expires, expires in it too. It ends with the close() of its cask. It cannot be pickled, and a
    forked child does not have it.
    """

    __slots__ = ()

    def keys(self) -> CaskKeys[_K]:
        """Its keys, as a set-like view."""
        return CaskKeys(self)

    def values(self) -> CaskValues[_V]:
        """Its values."""
        return CaskValues(self)

    def items(self) -> CaskItems[_K, _V]:
        """Its pairs, as a set-like view."""
        return CaskItems(self)

    def fold(self, fn: Callable[[_K, _V, _T], _T], acc: _T) -> _T:
        """fn(key, value, acc) of each entry, in no particular order: what it returns is the next one's acc, and in the end the result."""
        for key, value in self.__holdfast_items__():
            acc = fn(key, value, acc)
        return acc

    def __reduce__(self) -> NoReturn:
        raise TypeError("a snapshot of a Cask cannot be pickled: send snapshot.copy(), or make a backup()")


Mapping.register(CaskSnapshot)


# -- casks ----------------------------------------------------------------------------------------------------


class Cask(CaskCore[_K, _V], StoredMutableMapping[_K, _V]):
    """A dict on disk: an append-only log of records, and an index of it that is there at once when it is opened.

    Cask(path) opens the cask in this folder, which is made if it is not there; path is a str, bytes or a PathLike.

    mode        'rw': to read and write; made if it is not there. 'x': it must not be there (ExistsError). 'r': to read
                what is there (AbsentError), also while another process writes.
    sync        When what was put is made durable, so that it survives a power cut. 'none': by sync(), by close(), and
                at each checkpoint. 'put': before each put, delete or batch returns; several threads share a flush.
                Seconds (a number, or a timedelta): at the latest so long after it.
    max_file_size   Bytes at which a log file is sealed and the next one begun: 4 KiB to 8 GiB.
    ttl         The time to live, in seconds or as a timedelta, of what is put without one. None: for ever.
    keydir      'file': the index is in a file beside the log. 'memory': in this process's memory; then nobody else can open the cask,
                and to open it the hints or the log are read.
    pickle      Whether values of types that have no encoding of their own are stored, and loaded, as pickles. Off, because
                a pickle can do anything, and a file may come from anywhere.
    checkpoint  The index is written when so many bytes of log have come together; None: as many as twice its size.
    background  Whether the cask has a thread of its own, which writes the index, syncs and merges; if not, all of that is
                done within the calls that make it due.
    auto_merge  Whether that merges too; if not, only merge() does.

    A log file is worth merging where one of these is reached by any file (None: the default; math.inf: not for this reason):
    fragmentation_trigger   Percent of its records that no longer count. 60
    dead_bytes_trigger      Bytes of them. Half of max_file_size
    Then it is done with the files that reach one of these:
    fragmentation_threshold 40
    dead_bytes_threshold    A quarter of max_file_size
    small_file_threshold    Smaller than so many bytes. An eighth of max_file_size
    expiry_grace            All its records have expired so many seconds ago
    merge_rate              Bytes a second that are read for it at most. None: no limit

    It behaves as a dict does, with these differences. Keys and values are stored as bytes: what comes back is equal, and of the
    same type, but a fresh object each time; c[k].append(x) changes that copy alone. Keys are hashable objects of Python's own
    types (KeyTypeError otherwise, KeyValueError for nan); of equal ones (1, 1.0, True) iteration gives the one that was put last. Entries have no
    order. keys(), values() and items() are live, and each iteration runs over a snapshot, so the cask may be changed
    meanwhile. copy() gives a dict, and so does |. There is no fromkeys(). len() looks at every entry where any expires.

    When a put returns, its effect is visible in every process that has the cask open, and survives the end of this one, kill -9 at
    any moment included. A power cut takes, at most, the last of what was not synced, in the order in which it was written, a batch or
    update() as a whole. What was deleted or has expired does not come back.

    One process at a time has it open to write (else BusyError), any number to read. A forked child does not have its parent's casks
    (LostError): it opens them again, with mode='r'. A Cask that was opened with mode='r' can be pickled, and sent to other
    processes, which open it again; one that writes cannot. All threads of a process can use one Cask. Those that
    wait for the disk let the others run.

    Used in a `with`, it is closed at the end.
    """

    __slots__ = ("_candidates", "_lot")

    def __init__(
        self,
        path: _Path,
        *,
        mode: Literal["rw", "r", "x"] = "rw",
        sync: Literal["none", "put"] | _Seconds = "none",
        max_file_size: int = 64 << 20,
        ttl: _Seconds | None = None,
        keydir: Literal["file", "memory"] = "file",
        pickle: bool = False,
        checkpoint: int | None = None,
        background: bool = True,
        auto_merge: bool = True,
        fragmentation_trigger: float | None = None,
        dead_bytes_trigger: float | None = None,
        fragmentation_threshold: float | None = None,
        dead_bytes_threshold: float | None = None,
        small_file_threshold: float | None = None,
        expiry_grace: _Seconds = 0,
        merge_rate: int | None = None,
    ) -> None:
        self._candidates: Iterator[_K] = iter(())
        self._lot = 32
        super().__init__(
            os.fsencode(path),
            _choice("mode", mode, _MODES),
            *_sync(sync),
            _size("max_file_size", max_file_size, 4 << 10, 8 << 30),
            ttl,
            _choice("keydir", keydir, {"file": 0, "memory": 1}),
            pickle,
            not background,
            _size("checkpoint", checkpoint, 1, 2**62),
            (
                _limit("fragmentation_trigger", fragmentation_trigger, 100),
                _limit("dead_bytes_trigger", dead_bytes_trigger),
                _limit("fragmentation_threshold", fragmentation_threshold, 100),
                _limit("dead_bytes_threshold", dead_bytes_threshold),
                _limit("small_file_threshold", small_file_threshold),
                _grace(expiry_grace),
                _size("merge_rate", merge_rate, 1, 2**63),
            ),
            not auto_merge,
        )

    # -- as a dict ------------------------------------------------------------------------------

    def keys(self) -> CaskKeys[_K]:
        """The keys, as a live, set-like view."""
        return CaskKeys(self)

    def values(self) -> CaskValues[_V]:
        """The values, as a live view."""
        return CaskValues(self)

    def items(self) -> CaskItems[_K, _V]:
        """The pairs, as a live, set-like view."""
        return CaskItems(self)

    def popitem(self) -> tuple[_K, _V]:
        """Remove an entry, whichever, and return it as a pair. KeyError if there is none."""
        # To find one in a log of deletions may take long: so a lot of them is looked for at a time, larger each time.
        value: Any
        while True:
            for key in self._candidates:
                value = self.pop(key, MISSING)
                if value is not MISSING:
                    return key, value
            found = list(itertools.islice(iter(self), self._lot))
            self._lot = min(2 * self._lot, 1 << 16)
            if not found:
                raise KeyError("popitem(): dictionary is empty")
            self._candidates = iter(found)

    def list_keys(self) -> list[_K]:
        """A list of the keys there are now."""
        return list(iter(self))

    def fold(self, fn: Callable[[_K, _V, _T], _T], acc: _T) -> _T:
        """fn(key, value, acc) of each entry of a snapshot, in no particular order: what it returns is the next one's acc, and in
        the end the result."""
        for key, value in self.__holdfast_items__():
            acc = fn(key, value, acc)
        return acc

    def info(self, key: _K) -> CaskInfo:
        """What is known of a key's record: see CaskInfo. KeyError if it is not there."""
        sequence, inserted, expires, *rest = self._info(key)
        return CaskInfo(sequence, _moment(inserted), None if expires is None else _moment(expires), *rest)

    def snapshot(self) -> CaskSnapshot[_K, _V]:
        """The cask as it is now, for as long as you like: see CaskSnapshot."""
        return cast("CaskSnapshot[_K, _V]", self._snapshot(CaskSnapshot))

    # -- looking after --------------------------------------------------------------------------

    def status(self) -> CaskStatus:
        """Sizes and counts, of each log file too: see CaskStatus."""
        keys, files, *rest = self._status()
        rest[8] = CaskMerged(*rest[8])
        return CaskStatus._make((keys, tuple(CaskFile(*row) for row in files), *rest))

    def merge(self, files: int | None = None) -> CaskMerged:
        """Merge the log files that are worth it, at most so many of them; say what was done.

        What still counts in a file is copied, and the file removed: at once where no snapshot needs it, else later. Readers and writers
        go on meanwhile. It takes space for one log file at most, and time to read each file. BusyError where it is being
        done already. Ctrl-C ends it, in good order.
        """
        count = 0 if files is None else _size("files", files, 1, 2**31)
        return CaskMerged(*self._merge(count))

    def check(self) -> None:
        """Read everything, and verify it: every record of every log file, hints, manifest, index. CorruptError says what is wrong.

        Readers and writers go on meanwhile. Ctrl-C ends it.
        """
        faults = self._faults()
        if faults:
            shown = "; ".join(map(str, faults[:3]))
            more = f"; and {len(faults) - 3:,} more" if len(faults) > 3 else ""
            raise CorruptError(f"Cask {self.path!r} is damaged: {shown}{more}")

    def _faults(self, progress: Callable[[int, int], object] | None = None) -> list[CaskFault]:
        faults: list[CaskFault] = []
        if not self._check(_reporter(faults, progress)) and not faults:
            faults.append(CaskFault("it cannot be read", 0, 0, 0))
        return faults

    def backup(self, path: _Path) -> None:
        """Make a copy in another folder, which must not be there (ExistsError): of this moment, durable when this returns.

        Sealed log files become hard links where the folder is on the same file system, so it takes little space, and time for
        the one that is written to. It is a cask as any other.
        """
        self._backup(os.fsencode(path))

    @staticmethod
    def salvage(source: _Path, target: _Path) -> list[CaskFault]:
        """Make a cask in the folder target, which must not be there, of every whole record in the folder source.

        For one that is so damaged that it cannot be opened; nobody may have it open. Of each key the newest record counts.
        What was lost is returned.
        """
        return _salvage(source, target)

    def __reduce__(self) -> tuple[Any, ...]:
        """Of one that reads: opened again, wherever that is."""
        if not self.read_only:
            raise TypeError(
                "a Cask that writes cannot be pickled, since only one process at a time can: send its path, and open it there "
                "with mode='r'"
            )
        return _reopen, (type(self), os.path.abspath(self.path), self._pickles())


MutableMapping.register(Cask)


def _reopen(cls: type[Cask[Any, Any]], path: str, pickle: bool) -> Cask[Any, Any]:
    """What a pickled Cask calls."""
    made = cls.__new__(cls)
    Cask.__init__(made, path, mode="r", pickle=pickle)
    return made


def _reporter(
    faults: list[CaskFault], progress: Callable[[int, int], object] | None
) -> Callable[[str | None, int, int, int, int, int], None]:
    def report(what: str | None, file: int, offset: int, size: int, done: int, of: int) -> None:
        if what is not None:
            faults.append(CaskFault(what, file, offset, size))
        elif progress is not None:
            progress(done, of)

    return report


def _salvage(
    source: _Path, target: _Path, progress: Callable[[int, int], object] | None = None
) -> list[CaskFault]:
    faults: list[CaskFault] = []
    _homes.cask_salvage(os.fsencode(source), os.fsencode(target), _reporter(faults, progress))
    return faults


# Where users find them, and pickles and documentation look for them.
for _public in (Cask, CaskFault, CaskFile, CaskInfo, CaskMerged, CaskSnapshot, CaskStatus):
    _public.__module__ = "holdfast"

__all__ = [
    "Cask",
    "CaskBatch",
    "CaskFault",
    "CaskFile",
    "CaskInfo",
    "CaskMerged",
    "CaskSnapshot",
    "CaskStatus",
]
