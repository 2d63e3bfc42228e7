"""The contenders of the rows of Cask: what keeps a dict in files, from Python. They are written as those of shared.py.

All files are in a folder of the process on the disk, in /var/tmp, which is removed at its end.
"""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from .shared import PREFIX, Home, Sharer, fresh_name

CACHE = 1 << 29


@cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir="/var/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _path() -> str:
    return os.path.join(_folder(), fresh_name())


class CaskHome(Home):
    """Closed and opened again once it is filled: a get finds everything in the keydir."""

    def make(self, d: dict[Any, bytes]) -> Any:
        import holdfast

        path = _path()
        with holdfast.Cask(path) as m:  # type: ignore[attr-defined, unused-ignore]
            m.update(d)
        opened: Any = holdfast.Cask(path)  # type: ignore[attr-defined, unused-ignore]
        atexit.register(opened.close)
        return opened


class PlyvelHome(Home):
    """LevelDB: no compression, a Bloom filter of 10 bits, a cache that holds everything; compacted once it is filled."""

    def make(self, d: dict[Any, bytes]) -> Any:
        import plyvel

        m = plyvel.DB(_path(), create_if_missing=True, compression=None, bloom_filter_bits=10, lru_cache_size=CACHE)
        atexit.register(m.close)
        self.text = isinstance(next(iter(d)), str)
        for k, v in d.items():
            m.put(_bytes(k), v)
        m.compact_range()
        return m

    def size(self, m: Any) -> int:
        return sum(1 for _ in m.iterator(include_value=False))

    def look(self, m: Any, k: Any) -> bytes | None:
        found: bytes | None = m.get(_bytes(k))
        return found

    def contents(self, m: Any) -> dict[Any, bytes]:
        return {k.decode() if self.text else k: v for k, v in m}


class Scheme:
    """pycask's way: the file is opened for each record that is read or appended; of a record, a value alone is read."""

    HEAD = struct.Struct("<IIII")  # checksum, time, sizes of key and value

    def __init__(self, path: str) -> None:
        self.path = path
        self.keydir: dict[Any, tuple[int, int]] = {}

    def put(self, k: Any, v: bytes) -> None:
        body = self.HEAD.pack(0, int(time.time()), len(k), len(v))[4:] + _bytes(k) + v
        with open(self.path, "ab") as file:
            file.write(struct.pack("<I", zlib.crc32(body)) + body)
            self.keydir[k] = (file.tell() - len(v), len(v))

    def get(self, k: Any) -> bytes:
        at, size = self.keydir[k]
        with open(self.path, "rb") as file:
            file.seek(at)
            return file.read(size)


class SchemeHome(Home):
    def make(self, d: dict[Any, bytes]) -> Any:
        m = Scheme(_path())
        for k, v in d.items():
            m.put(k, v)
        return m

    def size(self, m: Any) -> int:
        return len(m.keydir)

    def look(self, m: Any, k: Any) -> bytes | None:
        found: bytes = m.get(k)
        return found

    def contents(self, m: Any) -> dict[Any, bytes]:
        return {k: m.get(k) for k in m.keydir}


class Places(dict[Any, int]):
    """A file's descriptor, and where each value is in it."""

    fd = -1


class PreadHome(Home):
    """Values that are as far from each other as they are in a cask's log. Whoever reads knows where."""

    HEAD = 32

    def make(self, d: dict[Any, bytes]) -> Any:
        m = Places()
        m.fd = os.open(_path(), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        atexit.register(os.close, m.fd)
        self.wide = len(next(iter(d.values())))
        with os.fdopen(os.dup(m.fd), "wb") as file:
            for record in self._records(m, d):
                file.write(record)
        return m

    def _records(self, m: Places, d: dict[Any, bytes]) -> Iterator[bytes]:
        end = 0
        for k, v in d.items():
            m[k] = end + self.HEAD + len(k)
            record = bytes(self.HEAD) + _bytes(k) + v
            record += bytes(-len(record) % 8)
            end += len(record)
            yield record

    def look(self, m: Any, k: Any) -> bytes | None:
        return os.pread(m.fd, self.wide, m[k])

    def contents(self, m: Any) -> dict[Any, bytes]:
        return {k: os.pread(m.fd, self.wide, at) for k, at in m.items()}


def _bytes(k: Any) -> bytes:
    return k.encode() if isinstance(k, str) else bytes(k)


def _cask(**syntax: str) -> dict[str, str]:
    return {"get": "m.get(k)", "read": "r = m.get(k)", "put": "m.put(k, v)"} | syntax


# As str keys have to be spelled where bytes alone can be keys.
ENCODED = {"get": "m.get(k.encode())", "read": "r = m.get(k.encode())", "put": "m.put(k.encode(), v)"}

ALL = (
    Sharer(name="holdfast", module="holdfast", dist="holdfast", home=CaskHome(), syntax=_cask()),
    Sharer(name="plyvel", module="plyvel", dist="plyvel", home=PlyvelHome(), syntax=_cask()),
    Sharer(name="pycask scheme", module="builtins", dist=None, home=SchemeHome(), part=5, syntax=_cask()),
    Sharer(
        name="os.pread",
        module="os",
        dist=None,
        home=PreadHome(),
        imports={"pread": "pread"},
        syntax={"get": "pread(fd, size, k)", "read": "r = pread(fd, size, k)"},
    ),
)
BY_NAME = {sharer.name: sharer for sharer in ALL}
