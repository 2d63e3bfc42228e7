"""What the tests of the tour's chapters share: the command, in a process of its own and in this one with a fault."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from holdfast import tour
from holdfast.__main__ import main
from holdfast.tour._chapter import Checks
from holdfast.tour._terminal import Terminal

FEW = "40"  # files: enough for names that several files share


def holdfast_command(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_here(
    monkeypatch: pytest.MonkeyPatch, patch: Callable[[pytest.MonkeyPatch], None], chapter: str
) -> tuple[int, Checks]:
    """One chapter by the command in this process, with a fault; its exit status and its checks."""
    made: list[Checks] = []

    class Kept(Checks):
        def __init__(self, terminal: Terminal) -> None:
            super().__init__(terminal)
            made.append(self)

    with monkeypatch.context() as patches:
        patches.setattr(tour, "Checks", Kept)
        patches.setattr(tour, "CHAPTERS", {chapter: tour.CHAPTERS[chapter]})
        patch(patches)
        status = main(["tour", "--files", FEW, "--quiet"])
    (checks,) = made
    return status, checks
