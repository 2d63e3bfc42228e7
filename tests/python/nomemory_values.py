"""Run by test_value_python.py, in a process of its own: values encoded and decoded with each allocation failing.

As nomemory_worker.py: for each n, once only the allocation after the first n fails, once all after it do.
"""

from __future__ import annotations

import enum
import gc
from collections.abc import Callable
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any
from uuid import UUID

from _testcapi import remove_mem_hooks, set_nomemory

from holdfast import HoldfastError, _homes, register_codec
from support import refcounts, settled_refcounts
from test_value_oracle import Colour, OneHour, Option, Size
from value_encoding import ZONES


class Point:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    def __hash__(self) -> int:
        return 1


class Plain(Point):
    """For a pickle."""


register_codec(Point, "p", lambda point: [point.x], lambda x: Point(x[0]))
HOUR = timezone(timedelta(hours=1), "name")
VALUES = {
    "int": 12345678,
    "long": 2**200,
    "float": 1.5,
    "str": "text",
    "wide": "\u20ac\udcff" * 30,
    "bytes": b"bytes" * 20,
    "tuple": ("a", (1.5, b"x"), 10**6),
    "list": ["abc" * 9, [1.5], 10**6],
    "dict": {"key": 10**6, 1.5: ["x"]},
    "set": {"abc", 1.5, (10**6,)},
    "frozenset": frozenset({"abc", 1.5, 10**6}),
    "datetime": datetime(2000, 1, 1, tzinfo=HOUR),
    "zone": datetime(2000, 1, 1, tzinfo=ZONES["Test/East"]),
    "other zone": datetime(2000, 1, 1, tzinfo=OneHour()),
    "time": time(1, 2, 3, tzinfo=timezone.utc),
    "timedelta": timedelta(5, 6, 7),
    "Decimal": Decimal("-1.250E+30"),
    "Fraction": Fraction(10**30, 7),
    "UUID": UUID(int=2**127 + 1),
    "Enum": Colour.RED,
    "Flag": Option.X | Option.Y,
    "IntEnum": Size.SMALL,
    "object": [Point(["x"]), Point(1.5)],
    "pickle": [Plain("x")],
}


def attempt(operation: Callable[[], Any], start: int, stop: int) -> Any:
    set_nomemory(start, stop)
    try:
        result = operation()
    except MemoryError:
        result = MemoryError
    except Exception as error:
        result = error
    finally:
        remove_mem_hooks()
    if isinstance(result, Exception):
        result.__traceback__ = None
    return result


def is_excused(result: Any) -> bool:
    """What Python's own library makes of a MemoryError. Ours may be the wrapper, never the damage."""
    if isinstance(result, HoldfastError):
        return type(result).__name__ == "ValueTypeError" and isinstance(result.__cause__, Exception)
    return isinstance(result, (SystemError, AttributeError, ImportError, TypeError, LookupError, ValueError))


def exhaust(operation: Callable[[], Any]) -> int:
    expected = operation()
    assert operation() == expected
    things = [_homes, Point, Colour, Option, Size, HOUR, ZONES["Test/East"], *VALUES.values()]
    failures = 0
    for n in count():
        for stop in (n + 1, 0):
            before = refcounts(things)
            result = attempt(operation, n, stop)
            failed = result is MemoryError or isinstance(result, Exception)
            failures += failed
            if failed:
                assert result is MemoryError or is_excused(result), repr(result)
            else:
                assert result == expected
            result = None
            assert settled_refcounts(things, before) == before, n
        if not failed:
            return failures
    raise AssertionError


if __name__ == "__main__":
    gc.disable()
    for name, value in VALUES.items():
        data = _homes.encode(value, pickle=True)
        steps: list[Callable[[], Any]] = [
            lambda value=value: _homes.encode(value, pickle=True),
            lambda data=data: _homes.decode(data, pickle=True),
        ]
        if not isinstance(value, (list, dict, set)):
            steps.append(lambda value=value: _homes.canonical(value, pickle=True))
        print(name, sum(map(exhaust, steps)), flush=True)
