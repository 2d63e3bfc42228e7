"""The tour's third chapter: that each of its checks can fail, and that nothing is left of it, however it ends."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import holdfast
from holdfast.tour import chapter_cask
from shared_support import wait_until
from tour_support import FEW, holdfast_command, run_here

Patch = Callable[[pytest.MonkeyPatch], None]

good_write = chapter_cask.write_batch


def lose_a_file(cask: Any, number: int, batch: Any) -> None:
    good_write(cask, number, dict(list(batch.items())[1:]))


def forget_a_deletion(cask: Any, number: int, batch: Any) -> None:
    good_write(cask, number, {file: counts for file, counts in batch.items() if counts is not None})


def unsound(patches: pytest.MonkeyPatch) -> None:
    def check(self: Any) -> None:
        raise holdfast.CorruptError("a test says so")

    patches.setattr(holdfast.Cask, "check", check)


def another_pickle(patches: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(**vars(pickle) | {"loads": lambda data: None})
    patches.setattr(chapter_cask, "pickle", fake)


class Staying:
    """A temporary folder that stays."""

    made: str

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __enter__(self) -> str:
        Staying.made = tempfile.mkdtemp(prefix=self.prefix)
        return Staying.made

    def __exit__(self, *_: object) -> None:
        pass


def folder_stays(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(chapter_cask, "tempfile", SimpleNamespace(TemporaryDirectory=Staying))


def live_versions(patches: pytest.MonkeyPatch) -> None:
    """They say that they are of their time, and change with the cask."""

    class Live:
        def __init__(self, cask: Any) -> None:
            self.cask, self.number = cask, cask[chapter_cask.BATCHES]

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __getitem__(self, key: object) -> Any:
            return self.number

        def copy(self) -> Any:
            return self.cask.copy() | {chapter_cask.BATCHES: self.number}

    patches.setattr(chapter_cask, "take_version", Live)


def set_function(name: str, function: Callable[..., Any]) -> Patch:
    return lambda patches: patches.setattr(chapter_cask, name, function)


FAULTS: dict[str, tuple[Patch, str]] = {
    "a file is lost": (set_function("write_batch", lose_a_file), "with the rest written"),
    "what is deleted stays": (set_function("write_batch", forget_a_deletion), "nothing deleted is there"),
    "versions change": (live_versions, "kept through merges"),
    "the writer dies of something else": (set_function("shoot", lambda process: process.terminate()), "SIGKILL"),
    "the cask is damaged": (unsound, "no fault in itself"),
    "the pickles say something else": (another_pickle, "is the same in both"),
    "the folder stays": (folder_stays, "nothing is left"),
}


def left() -> set[str]:
    return {str(path) for path in Path(tempfile.gettempdir()).glob("holdfast-tour-*")}


@pytest.fixture(autouse=True)
def leaves_nothing() -> Any:
    before = left()
    yield
    assert left() <= before


def test_every_claim_holds_and_each_can_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_with(patch: Patch) -> tuple[int, list[str], list[str]]:
        with monkeypatch.context() as patches:
            patches.setattr(chapter_cask, "PATIENCE", 20)
            status, checks = run_here(monkeypatch, patch, "cask")
        return status, [claim for claim, _ in checks.results], checks.failed

    def without_number(claims: list[str]) -> set[str]:
        return {claim for claim in claims if "snapshot" not in claim}

    status, claims, failed = run_with(lambda patches: None)
    assert (status, failed) == (0, [])
    assert len(claims) == len(set(claims)) >= 11
    assert capsys.readouterr().out == ""
    ever: set[str] = set()
    for fault, (patch, claim) in FAULTS.items():
        status, _, failed = run_with(patch)
        if fault == "the folder stays":
            shutil.rmtree(Staying.made)
        assert status == 1, fault
        assert any(claim in text for text in failed), (fault, failed)
        assert capsys.readouterr().out.count("FAILED") == len(failed) + 1
        ever.update(failed)
    # The number of snapshots depends on how fast the writer was.
    assert without_number(claims) <= ever and any("snapshot" in claim for claim in ever)


@pytest.mark.parametrize("count", ["1", "2", "5", "40"])
def test_hardly_any_files(count: str) -> None:
    done = holdfast_command("tour", "--files", count, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["chapters"]["cask"]
    assert 1 <= figures["killed_after"] <= figures["batches"]


def test_the_figures() -> None:
    done = holdfast_command("tour", "--files", FEW, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["chapters"]["cask"]
    assert 0.7 * figures["batches"] - 1 <= figures["killed_after"] <= figures["batches"]
    assert figures["merged_files"] > 0 and figures["bytes"] < figures["bytes_before_merge"]
    assert figures["snapshots_at"] == sorted(figures["snapshots_at"])


# The command, and only this chapter.
TOUR = """
import sys
from holdfast import tour
from holdfast.__main__ import main
tour.CHAPTERS = {"cask": tour.CHAPTERS["cask"]}
sys.exit(main(["tour", "--quiet"]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(number: signal.Signals, status: int) -> None:
    before = left()
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", TOUR], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_until(lambda: child.poll() is not None or left() - before != set())
    if number == signal.SIGINT:
        os.killpg(child.pid, number)
    else:
        child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (status, b""), err
    assert left() <= before
