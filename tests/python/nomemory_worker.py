"""Run by test_map_nomemory.py, in a process of its own: one operation, with each of its allocations failing.

Two rounds for each n, until a round goes through untouched: in one only the allocation after the first n
fails, in the other all after the first n do. The hook is CPython's own (_testcapi.set_nomemory):
it covers objects, PyMem and the raw allocator, and so whatever of the core goes through these.
"""

from __future__ import annotations

import gc
import pickle
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
CAUGHT = (*EXPECTED_ERRORS, SystemError, pickle.PicklingError)  # made here, for there is no memory where it is needed


def attempt(operation: Any, world: World, start: int, stop: int) -> Any:
    """The operation while the allocations after `start`, up to `stop` (0: all), fail."""
    set_nomemory(start, stop)
    try:
        result = operation(world)
    except MemoryError:
        result = MemoryError
    except CAUGHT as error:
        result = error
    finally:
        remove_mem_hooks()
    if isinstance(result, CAUGHT):
        result.__traceback__ = None  # it holds this frame, and with it the world
    return result


def gave_up(result: Any, expected: Any) -> bool:
    if isinstance(result, SystemError):
        # The interpreter's own: it loses an error that passes through a frame for which it cannot make a frame
        # object (`{}[key]` does the same). Where no error passes, there is no excuse.
        assert str(result) == "error return without exception set"
        assert isinstance(expected, tuple) and issubclass(expected[0], EXPECTED_ERRORS)
        return True
    if isinstance(result, pickle.PicklingError):
        # What pickle makes of any error while it looks up the function that loads a Map.
        assert "import of module" in str(result) or "not found as" in str(result)
        return True
    return result is MemoryError


def counts_at_rest(material: Material) -> list[int]:
    """The references to the material from a world whose Maps have all been read."""
    world = World(Map, material)
    world.assert_unchanged()
    return refcounts(material.things)


def exhaust(name: str, kind: str) -> int:
    operation = OPERATIONS[name]
    material = Material(kind)
    expected = outcome(operation, World(Model, material))
    # Once in peace, so that caches of the interpreter are filled and imports are done.
    assert outcome(operation, World(Map, material)) == expected
    failures = 0
    for n in count():
        for stop in (n + 1, 0):
            world = None
            before = counts_at_rest(material)
            world = World(Map, material)
            result = attempt(operation, world, n, stop)
            world.assert_unchanged()
            went_through = not gave_up(result, expected)
            failures += not went_through
            if went_through:
                # One allocation that failed may have been one that nobody depends on; the answer must be right.
                again = outcome(lambda _: raise_or_return(result), world)  # noqa: B023
                assert again == expected, f"allocation {n + 1}: {again} is not {expected}"
            result = again = None
            counts = settled_refcounts(material.things, before)
            assert counts == before, f"after {n} allocations, to {stop}: reference counts differ by {diff(before, counts)}"
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
