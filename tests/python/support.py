"""Keys whose hashes a test chooses, keys that call back, and Python in a process of its own."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

TORTURE = os.environ.get("TORTURE", "") not in ("", "0")
# A sanitizer's stack frames are several times as large.
SANITIZED = "san.so" in os.environ.get("LD_PRELOAD", "")
HERE = Path(__file__).resolve().parent
MERSENNE = 2**61 - 1  # the modulus of int's hash: its multiples all hash to 0


def signed(bits: int) -> int:
    """64 bits as the signed number that __hash__ must return; more would be folded by int's own hash."""
    bits &= 2**64 - 1
    return bits - 2**64 if bits >= 2**63 else bits


#: How the hashes of one family of keys relate: i gives the 64 bits.
FAMILIES: dict[str, Callable[[int], int]] = {
    "spread": lambda i: i * 0x9E3779B97F4A7C15,
    "all 64 bits equal": lambda i: 0x123456789ABCDEF,
    "low 5 equal": lambda i: i * 0x9E3779B97F4A7C15 << 5 | 21,
    "low 10 equal": lambda i: i * 0x9E3779B97F4A7C15 << 10 | 682,
    "low 60 equal": lambda i: i << 60 | 0xABCDEF012345678,
    "high 59 equal": lambda i: 0xABCDEF012345660 | i & 31,
    "two of a kind": lambda i: (i >> 1) * 0x9E3779B97F4A7C15,
    "pairs down to the last level": lambda i: (i & 1) << 63 | (i >> 1) * 0x9E3779B97F4A7C15 & 2**60 - 1,
}


class Key:
    """A key of a family: equal to a key of the same family and number, whichever object it is."""

    __slots__ = ("__weakref__", "family", "hash", "number")

    def __init__(self, family: str, number: int) -> None:
        self.family = family
        self.number = number
        self.hash = signed(FAMILIES[family](number))

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return self.family == other.family and self.number == other.number

    def __repr__(self) -> str:
        return f"Key({self.family!r}, {self.number})"

    def __reduce__(self) -> Any:
        return Key, (self.family, self.number)


class Probe:
    """A key or value that calls `Probe.alarm` each time it is hashed, compared or shown."""

    __slots__ = ("__weakref__", "number", "payload")
    alarm: ClassVar[Callable[[], None] | None] = None

    def __init__(self, number: int) -> None:
        self.number = number
        self.payload: Any = None

    @staticmethod
    def ring() -> None:
        if Probe.alarm is not None:
            Probe.alarm()

    def __hash__(self) -> int:
        self.ring()
        # Each two neighbours collide in all 64 bits, so that every kind of node is met in a small map.
        return signed(FAMILIES["two of a kind"](self.number))

    def __eq__(self, other: object) -> bool:
        self.ring()
        return self.number == other.number if isinstance(other, Probe) else NotImplemented

    def __repr__(self) -> str:
        self.ring()
        return f"Probe({self.number})"

    def __reduce__(self) -> Any:
        self.ring()
        return Probe, (self.number,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Probe:
        self.ring()
        return Probe(self.number)


@contextmanager
def alarm(call: Callable[[], None]) -> Iterator[None]:
    """Within this block every hash and comparison of a Probe calls `call` first."""
    Probe.alarm = call
    try:
        yield
    finally:
        Probe.alarm = None


class Fuse:
    """Acts at the n-th call, and counts the calls."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.at = at
        self.act = act
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.act()

    @property
    def blown(self) -> bool:
        return self.calls >= self.at


class Boom(Exception):
    """What the tests' own hooks raise."""


def boom() -> None:
    raise Boom


def refcounts(things: Iterable[object]) -> list[int]:
    return [sys.getrefcount(thing) for thing in things]


def settled_refcounts(things: list[object], expected: list[int]) -> list[int]:
    """The counts now; a collection first where they differ, since a traceback may hold a cycle."""
    counts = refcounts(things)
    if counts != expected:
        gc.collect()
        counts = refcounts(things)
    return counts


def run_python(code: str, *args: str, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that can import these helpers; a crash there is a return code here."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *args],
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True, text=True, timeout=timeout, cwd=HERE,
    )  # fmt: skip


def check_python(code: str, *args: str, timeout: float = 120, **env: str) -> str:
    """run_python, which must succeed; what it printed."""
    done = run_python(code, *args, timeout=timeout, **env)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
