"""What the tests of SharedMap share: names, threads, child processes."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import holdfast

# The fixture open_map (conftest.py).
OpenMap = Callable[..., "holdfast.SharedMap[Any, Any]"]

_numbers = itertools.count()


def unique_name() -> str:
    """A name in /dev/shm that no other test run has."""
    return f"hf-pytest-{os.getpid()}-{next(_numbers)}"


def names() -> set[str]:
    """Of all maps that there are."""
    return {info.name for info in holdfast.list_shared()}


def outcome(fn: Callable[[], object]) -> object:
    """What it returns, or the exception that it raises."""
    try:
        return fn()
    except Exception as error:
        return error


def in_thread(fn: Callable[[], object]) -> object:
    """Its outcome in another thread."""
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(outcome(fn)))
    thread.start()
    thread.join()
    return result[0]


def run_python(source: str, *args: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Another interpreter, to its end; warnings are errors there too."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=check,
    )


def start_python(source: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.002)


def in_child(fn: Callable[[], object]) -> int:
    """Runs it in a forked child; its exit status: 0, or 1 after an exception."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fn()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
