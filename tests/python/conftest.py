"""How the Python tests run.

`quick`, the default, is for `make test` and CI: hypothesis derives its examples from the test itself, so
two runs of one commit do the same thing, and a failure prints what reproduces it. `TORTURE=1` runs many
times longer on fresh random examples, and prints a seed and a blob for each failure.

Tests that draw random numbers of their own take them from the `rng` fixture, seeded from HOLDFAST_SEED
(0 unless told; under TORTURE a fresh one), which the header of the run shows.
"""

import contextlib
import gc
import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

import holdfast
from shared_support import unique_name
from support import TORTURE

SEED = int(os.environ.get("HOLDFAST_SEED") or (random.SystemRandom().randrange(2**32) if TORTURE else 0))

# Building two maps and a dict for each step is slow by nature; a shared machine makes times meaningless.
NOISE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
settings.register_profile(
    "quick", max_examples=200, stateful_step_count=40, deadline=None, derandomize=True, print_blob=True,
    suppress_health_check=NOISE, report_multiple_bugs=False,
)  # fmt: skip
settings.register_profile(
    "torture", max_examples=3000, stateful_step_count=120, deadline=None, print_blob=True,
    suppress_health_check=NOISE, phases=tuple(Phase),
)  # fmt: skip
settings.load_profile("torture" if TORTURE else "quick")


def pytest_report_header() -> str:
    return f"holdfast: {'torture' if TORTURE else 'quick'} profile, HOLDFAST_SEED={SEED}"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on the seed and on the test, not on the tests run before it."""
    return random.Random(f"{SEED}/{request.node.nodeid}")


@pytest.fixture(scope="module")
def light_collector() -> Iterator[None]:
    """For modules that collect garbage very often: what is alive before them is not visited each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def collector_off() -> Iterator[None]:
    """For tests that say themselves when garbage is collected."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def open_map() -> Iterator[Callable[..., "holdfast.SharedMap[Any, Any]"]]:
    """SharedMap, by a name of this test's own if it is given none; what it has made is closed and unlinked in the end."""
    made: list[holdfast.SharedMap[Any, Any]] = []

    def open_one(name: str | None = None, **options: Any) -> "holdfast.SharedMap[Any, Any]":
        shared: holdfast.SharedMap[Any, Any] = holdfast.SharedMap(name or unique_name(), **options)
        made.append(shared)
        return shared

    yield open_one
    for shared in made:
        shared.close()
        with contextlib.suppress(FileNotFoundError):
            shared.unlink()


@pytest.fixture
def open_cask(tmp_path: Path) -> Iterator[Callable[..., "holdfast.Cask[Any, Any]"]]:
    """Cask, in a folder of this test's own if it is given none; what it has opened is closed in the end."""
    made: list[holdfast.Cask[Any, Any]] = []
    numbers = itertools.count()

    def open_one(path: Any = None, **options: Any) -> "holdfast.Cask[Any, Any]":
        cask: holdfast.Cask[Any, Any] = holdfast.Cask(path or tmp_path / f"cask-{next(numbers)}", **options)
        made.append(cask)
        return cask

    yield open_one
    for cask in made:
        cask.close()
