"""Run by test_map_nomemory.py, in a process of its own: one operation, with each of its allocations failing.

Two rounds for each n, until a round goes through untouched: in one the n-th allocation fails and those after
it succeed, in the other they all fail from the n-th on. The hook is CPython's own (_testcapi.set_nomemory):
it covers objects, PyMem and the raw allocator, and so whatever of the core goes through these.
"""

from __future__ import annotations

import gc
import sys
from itertools import count
from typing import Any

from _testcapi import remove_mem_hooks, set_nomemory

import holdfast
from holdfast import Map
from model import Model
from operations import OPERATIONS, Material, World, outcome
from support import refcounts, settled_refcounts

EXPECTED_ERRORS = (KeyError, holdfast.Conflict)


def attempt(operation: Any, world: World, start: int, stop: int) -> Any:
    """The operation while allocations start..stop-1 fail (0: all from start); MemoryError if it had to give up."""
    set_nomemory(start, stop)
    try:
        result = operation(world)
    except MemoryError:
        result = MemoryError
    except EXPECTED_ERRORS as error:
        result = error
    finally:
        remove_mem_hooks()
    return result


def failed(result: Any) -> bool:
    # An error of the contract may itself be built while memory fails, and lose its arguments for a MemoryError.
    return result is MemoryError


def exhaust(name: str, kind: str) -> int:
    operation = OPERATIONS[name]
    material = Material(kind)
    expected = outcome(operation, World(Model, material))
    # Once in peace, so that caches of the interpreter are filled and imports are done.
    assert outcome(operation, World(Map, material)) == expected
    failures = 0
    for n in count(1):
        for stop in (n + 1, 0):
            world = World(Map, material)
            before = refcounts(material.things)
            result = attempt(operation, world, n, stop)
            world.assert_unchanged()
            went_through = not failed(result)
            failures += not went_through
            if went_through:
                # One allocation that failed may have been one that nobody depends on; the answer must be right.
                again = outcome(lambda _: raise_or_return(result), world)  # noqa: B023
                assert again == expected, f"allocation {n}: {again} is not {expected}"
            result = again = None
            counts = settled_refcounts(material.things, before)
            assert counts == before, f"allocation {n}, to {stop}: reference counts differ by {diff(before, counts)}"
            # The world is as good as new: the same operation works now.
            if n % 7 == 0:
                assert outcome(operation, world) == expected
        if went_through and stop == 0:
            return failures
    raise AssertionError


def raise_or_return(result: Any) -> Any:
    if isinstance(result, EXPECTED_ERRORS):
        raise result
    return result


def diff(before: list[int], after: list[int]) -> list[int]:
    return [b - a for a, b in zip(before, after, strict=True) if a != b]


if __name__ == "__main__":
    gc.disable()  # a collection in the middle would make the rounds differ
    for name in sys.argv[2:]:
        print(f"{name}...", end=" ", flush=True)
        print(exhaust(name, sys.argv[1]), "failures survived", flush=True)
