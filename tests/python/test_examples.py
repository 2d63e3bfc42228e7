"""The programs in examples/: each runs, says that it is right, and leaves nothing in /dev/shm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import holdfast
from shared_support import names, wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAYS = {
    "producer_consumer.py": ("500", r"1,000 things in .* s; the consumers took \[\d+, \d+, \d+\]\n"),
    "distributed.py": (
        "3",
        r"worker 0 ended with -9; to do again: \[\('job', \d+\)\]\n"
        r"78,498 primes below 1,000,000; 1 of the workers died writing\n",
    ),
    "stress.py": (
        "1",
        r"[\d,]+ steps, \d+ kills, \d+ of them within a step: all is right\n"
        r"[\d,]+ bytes of shared memory, [\d,]+ in use\n",
    ),
}


def command(name: str, argument: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), argument]


def map_of(name: str, pid: int) -> str:
    return f"{name.removesuffix('.py').replace('_', '-')}-{pid}"


def test_each_example_is_run() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_example(name: str) -> None:
    argument, expected = SAYS[name]
    child = subprocess.Popen(command(name, argument), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    assert re.fullmatch(expected, out), out
    assert map_of(name, child.pid) not in names()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("name", SAYS)
def test_with_processes_that_are_not_forked(name: str, method: str) -> None:
    """As multiprocessing makes them elsewhere, and on newer Pythons by default."""
    argument, expected = SAYS[name]
    source = (
        "import multiprocessing, runpy, sys\n"
        f"multiprocessing.set_start_method({method!r})\n"
        "sys.argv[:] = sys.argv[1:]\n"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
        f"import {name.removesuffix('.py')} as example\n"
        "if __name__ == '__main__': example.main(int(sys.argv[1]))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source, str(EXAMPLES / name), argument],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    assert re.fullmatch(expected, out), out
    assert map_of(name, child.pid) not in names()


def is_at_work(pid: int) -> bool:
    """Whether a stress test has begun: one that is interrupted while it makes its map may leave that."""
    try:
        with holdfast.SharedMap[Any, Any](map_of("stress.py", pid), create=False) as m:
            return len(m) > 0
    except holdfast.AbsentError:
        return False


def test_an_example_that_is_interrupted_leaves_nothing() -> None:
    child = subprocess.Popen(
        command("stress.py", "600"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: child.poll() is not None or is_at_work(child.pid))
    os.killpg(child.pid, signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode != 0
    assert map_of("stress.py", child.pid) not in names()
