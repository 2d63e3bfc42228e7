"""A /dev/shm that is really full: an error each time, nothing lost, and the map works on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

FILL_UP = """
import os
from holdfast import SharedMap

with SharedMap("full", create=True) as m:
    m.update({("kept", i): i for i in range(1000)})
    before = m.copy()
    n = 0
    try:
        while True:
            m[n] = os.urandom(3000)
            n += 1
    except MemoryError as error:
        print(type(error).__name__, error)
    assert n > 500, n
    for _ in range(100):
        try:
            m["no"] = bytes(100_000)
            raise AssertionError("there was room")
        except MemoryError:
            pass
        try:
            with m.transaction():
                m["half"] = 1
                m["no"] = bytes(100_000)
            raise AssertionError("there was room")
        except MemoryError:
            pass
    m.check()
    assert "half" not in m and "no" not in m and len(m) == 1000 + n
    try:
        SharedMap("another", create=True)
        raise AssertionError("there was room")
    except MemoryError:
        pass
    assert os.listdir("/dev/shm") == ["full"]
    for i in range(n):
        assert m.delete(i)
    m.check()
    assert m == before
    for i in range(200):
        m[i] = os.urandom(3000)
    assert len(m) == 1200
    m.check()
    m.unlink()
print("done")
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounts a file system of its own")
def test_a_full_dev_shm() -> None:
    mount = "mount -t tmpfs -o size=8m holdfast-test /dev/shm && exec \"$0\" -c \"$1\""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, sys.executable, FILL_UP], capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0 and "mount" in done.stderr and "denied" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert first.startswith("FullError") and "full" in first and last == "done"
