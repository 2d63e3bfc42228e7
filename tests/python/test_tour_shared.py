"""The tour's second chapter: that each of its checks can fail, and that nothing is left of it, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import SharedMap, SharedSnapshot
from holdfast.tour import chapter_shared
from shared_support import wait_until
from tour_support import FEW, holdfast_command, run_here

Patch = Callable[[pytest.MonkeyPatch], None]


def segments() -> set[str]:
    return {info.name for info in holdfast.list_shared() if info.name.startswith("holdfast-tour-")}


def set_function(name: str, function: Callable[..., Any]) -> Patch:
    return lambda patches: patches.setattr(chapter_shared, name, function)


def spoiled(name: str, spoil: Callable[..., Any]) -> Patch:
    """Let the chapter's function `name` return spoil(its result, *its arguments)."""
    good = getattr(chapter_shared, name)
    return set_function(name, lambda *args: spoil(good(*args), *args))


# -- faults, in this process or in those that it forks -----------------------------------------------------------

good_add = chapter_shared.add_file


def lose_a_name(index: Any, number: int, item: Any, names: Any) -> None:
    """By one of the processes that survive."""
    good_add(index, number, item, list(names)[1:] if number == 2 else names)


def not_one_step(patches: pytest.MonkeyPatch) -> None:
    """What is written of a file is seen at once."""

    def add_file(index: Any, number: int, item: Any, names: Any) -> None:
        index[chapter_shared.FILE, item.file] = 0
        total = 0
        for name, count in names:
            index.incr(name, count)
            total += count
        index[chapter_shared.FILE, item.file] = total
        index.incr((chapter_shared.COUNTED, number))

    patches.setattr(chapter_shared, "add_file", add_file)


def count_twice(index: Any, number: int, item: Any, names: Any) -> None:
    good_add(index, number, item, names)
    if number == 3:
        index.incr((chapter_shared.COUNTED, number))


def forget_a_file(index: Any, number: int, item: Any, names: Any) -> None:
    good_add(index, number, item, names)
    if number == 1:
        index.delete((chapter_shared.FILE, item.file))


class Live:
    """A snapshot that is none."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    close = __exit__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.index, name)

    def __getitem__(self, key: Any) -> Any:
        return self.index[key]

    def __contains__(self, key: object) -> bool:
        return key in self.index

    def __iter__(self) -> Any:
        return iter(self.index)


def live_versions(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(chapter_shared, "take_version", Live)
    patches.setattr(chapter_shared, "changes", lambda old, new: [])


def lack_a_name(totals: dict[str, int], index: object) -> dict[str, int]:
    return dict(list(totals.items())[1:]) if isinstance(index, SharedSnapshot) else totals


def unsound(patches: pytest.MonkeyPatch) -> None:
    def check(self: Any) -> None:
        raise holdfast.CorruptError("a test says so")

    patches.setattr(SharedMap, "check", check)


FAULTS: dict[str, tuple[Patch, str]] = {
    "names are lost": (set_function("add_file", lose_a_name), "all totals are"),
    "a file is not one step": (not_one_step, "nobody saw"),
    "a file is counted twice": (set_function("add_file", count_twice), "no file twice"),
    "a file is not noted": (set_function("add_file", forget_a_file), "each file is noted"),
    "the victim dies of something else": (set_function("shoot", lambda process: process.terminate()), "SIGKILL"),
    "versions change": (live_versions, "nobody saw"),
    "a version lacks a name": (spoiled("totals_in", lack_a_name), "each is exactly the totals"),
    "a diff loses a change": (spoiled("changes", lambda found, *_: found[:-1]), "what counting the files"),
    "a diff of nothing": (spoiled("changed_names", lambda found, *_: found | {"nosuch"}), "one more file"),
    "the map is damaged": (unsound, "no fault in itself"),
    "the name stays": (set_function("remove", lambda index: None), "nothing is left"),
}


@pytest.fixture(autouse=True)
def leaves_nothing() -> Any:
    before = segments()
    yield
    # Where a test's fault is that it stays, the test removes it.
    assert segments() <= before


def run_with(monkeypatch: pytest.MonkeyPatch, patch: Patch) -> tuple[int, list[str], list[str]]:
    """Exit status, claims, failed claims."""
    with monkeypatch.context() as patches:
        patches.setattr(chapter_shared, "PATIENCE", 20)
        status, checks = run_here(monkeypatch, patch, "shared")
    with contextlib.suppress(holdfast.AbsentError):
        SharedMap[Any, Any](f"holdfast-tour-{os.getpid()}", create=False).unlink()
    return status, [claim for claim, _ in checks.results], checks.failed


def test_every_claim_holds_and_each_can_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, claims, failed = run_with(monkeypatch, lambda patches: None)
    assert (status, failed) == (0, [])
    assert len(claims) == len(set(claims)) >= 9
    assert capsys.readouterr().out == ""
    ever: set[str] = set()
    for fault, (patch, claim) in FAULTS.items():
        status, _, failed = run_with(monkeypatch, patch)
        assert status == 1, fault
        assert any(claim in text for text in failed), (fault, failed)
        assert capsys.readouterr().out.count("FAILED") == len(failed) + 1
        ever.update(failed)
    assert set(claims) <= ever


def test_a_process_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def add_file(index: Any, number: int, item: Any, names: Any) -> None:
        if number == 2:
            raise LookupError("in a worker")
        good_add(index, number, item, names)

    status, _, failed = run_with(monkeypatch, set_function("add_file", add_file))
    assert (status, failed) == (1, ["the chapter 'shared' comes to its end"])
    written = capfd.readouterr().err
    assert "LookupError: in a worker" in written and "process 3 has ended with 1" in written


@pytest.mark.parametrize("count", ["1", "2", "5"])
def test_hardly_any_files(count: str) -> None:
    done = holdfast_command("tour", "--files", count, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["chapters"]["shared"]
    assert sum(figures["files_by_process"]) == int(count)
    assert figures["versions"][-1] == int(count)


def test_the_figures() -> None:
    done = holdfast_command("tour", "--files", FEW, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["chapters"]["shared"]
    by = figures["files_by_process"]
    assert sum(by) == int(FEW) and by[0] < int(FEW) // 4 and max(by) > int(FEW) // 4
    assert figures["written_in_vain"] > 0 and figures["names"] > 100
    assert figures["versions"] == sorted(figures["versions"])
    assert "indexing: 25% 50% 75% 100%\n" in done.stderr
    assert re.search(r"\n   process 1: +\d files  killed in \S+\.py\n", done.stderr)


# -- ends in another way ----------------------------------------------------------------------------------------

# The command, with a way to see when the processes are at work.
TOUR = """
import sys
from holdfast import tour
from holdfast.__main__ import main
tour.CHAPTERS = {"shared": tour.CHAPTERS["shared"]}
sys.exit(main(["tour", "--quiet"]))
"""


def processes_of_session(session: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                stat = Path("/proc", entry, "stat").read_text()
                state, _, _, sid = stat.rpartition(")")[2].split()[:4]
                if int(sid) == session and state not in "ZX":
                    found.append(int(entry))
    return found


def start_tour() -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", TOUR],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    name = f"holdfast-tour-{child.pid}"
    wait_until(lambda: child.poll() is not None or name in segments())
    with SharedMap[Any, Any](name, create=False) as index:
        wait_until(lambda: chapter_shared.files_counted(index) > 20)
    return child


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")],
)
def test_interrupted(number: signal.Signals, status: int, said: str) -> None:
    child = start_tour()
    # As a terminal does for Ctrl-C: to all of them.
    if number == signal.SIGINT:
        os.killpg(child.pid, number)
    else:
        child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (status, "", said)
    assert f"holdfast-tour-{child.pid}" not in segments()
    assert processes_of_session(child.pid) == []


def test_killed() -> None:
    """Then the name stays, for nobody is left to remove it; the processes go by themselves."""
    child = start_tour()
    name = f"holdfast-tour-{child.pid}"
    child.kill()
    child.communicate(timeout=60)
    wait_until(lambda: processes_of_session(child.pid) == [])
    assert [info.in_use for info in holdfast.list_shared() if info.name == name] == [False]
    assert holdfast_command("shared", "rm", name).returncode == 0
