"""`python -m holdfast shared`: what it shows, what it removes, what it leaves alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import SharedMap
from holdfast.__main__ import main
from shared_support import OpenMap, names, unique_name
from support import HERE

Output = pytest.CaptureFixture[str]


def test_ls(open_map: OpenMap, capsys: Output) -> None:
    m, left = open_map(), open_map(mode=0o640)
    left.close()
    assert main(["shared", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "OWNER", "MODE", "CREATED", "IN", "USE"]
    rows = {line.split()[0]: line.split() for line in lines[1:]}
    assert rows[m.name][-1] == "yes" and rows[left.name][-1] == "no"
    assert "0600" in rows[m.name] and "0640" in rows[left.name]
    column = lines[0].index("MODE")
    assert all(line[column : column + 2] == "06" for line in lines[1:])


def test_info(open_map: OpenMap, capsys: Output) -> None:
    m = open_map(max_size=8 << 20)
    m.update({i: {i} for i in range(1500)})
    assert main(["shared", "info", "--check", m.name]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{m.name}\n")
    for text in ("entries    1,500", "at most 8.0 MiB", "no fault found", "in use     yes", "0600"):
        assert text in out
    assert main(["shared", "info", "nobody-has-this"]) == 1
    assert capsys.readouterr().err == "holdfast shared: there is no SharedMap 'nobody-has-this'\n"
    assert main(["shared", "info", "a/b"]) == 1
    assert "there is a '/' in it" in capsys.readouterr().err


def test_rm(open_map: OpenMap, capsys: Output) -> None:
    used, left, alien = open_map(), open_map(), unique_name()
    left.close()
    path = Path("/dev/shm", alien)
    path.write_bytes(b"not ours")
    try:
        assert main(["shared", "rm", used.name, alien, left.name, left.name]) == 1
        out, err = capsys.readouterr()
        assert out == f"removed {left.name}\n"
        assert f"'{used.name}' is in use" in err and f"there is no SharedMap '{alien}'" in err
        assert left.name not in names() and used.name in names() and path.exists()
    finally:
        path.unlink()
    assert main(["shared", "rm", "--force", used.name]) == 0
    assert used.name not in names()
    used["still"] = 1
    assert main(["shared", "rm"]) == 2


def test_rm_of_what_a_creator_left(capsys: Output) -> None:
    name = unique_name()
    path = Path("/dev/shm", name)
    path.touch(0o600)
    try:
        assert name not in names()
        assert main(["shared", "rm", name]) == 1
        assert path.exists()
        assert main(["shared", "rm", "--force", name]) == 0
        assert not path.exists()
        path.write_bytes(b"not ours")
        assert main(["shared", "rm", "--force", name]) == 1
        assert path.exists()
    finally:
        path.unlink(missing_ok=True)
    assert main(["shared", "rm", "--force", name]) == 1
    assert f"there is no SharedMap '{name}'" in capsys.readouterr().err


def test_rm_all_unused_in_a_world_of_its_own(tmp_path: Path) -> None:
    """It takes what every other test has left, so it gets a /dev/shm of its own, where that can be had."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs a mount of its own")
    source = f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
from holdfast import SharedMap, FullError, list_shared
from holdfast.__main__ import main
left, used = SharedMap("left"), SharedMap("used")
left.close()
open("/dev/shm/alien", "w").close()
assert main(["shared", "rm", "--all-unused"]) == 0
assert os.listdir("/dev/shm") == ["alien", "used"] or sorted(os.listdir("/dev/shm")) == ["alien", "used"]
assert main(["shared", "rm", "--all-unused"]) == 0

# This /dev/shm has 16 MiB: a MemoryError, not a signal, and the map works on.
used["a"] = 1
try:
    for i in range(100000):
        used[i] = "x" * 1000
except MemoryError as error:
    assert isinstance(error, FullError) and "no shared memory is left" in str(error), error
else:
    raise SystemExit("it was never full")
count = len(used)
assert used["a"] == 1 and used[count - 2] == "x" * 1000
used.check()
try:
    SharedMap("another", capacity=10**7)
except MemoryError as error:
    assert "not enough shared memory" in str(error), error
else:
    raise SystemExit("there was room")
assert sorted(os.listdir("/dev/shm")) == ["alien", "used"]
used.clear()
used.update({{i: "y" * 1000 for i in range(1000)}})
assert len(used) == 1000
used.unlink()
print("well")
"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=16m none /dev/shm && exec "$0" "$@"',
         sys.executable, "-W", "error", "-c", source],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "mount" in done.stderr and ("denied" in done.stderr or "not permitted" in done.stderr):
        pytest.skip("may not mount")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("well\n")
