"""The benchmarks run, and get every result right: at tiny sizes, without the peers, which `make bench` installs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([True], "yes"),
        ([True, True], "yes"),
        ([False], "NO"),
        ([True, False], "NO, 1 of 2"),
        ([None], "no figure"),
        ([None, None], "no figure"),
        ([True, None], "yes, 1 without a figure"),
        ([False, None], "NO, 1 without a figure"),
        ([False, True, None], "NO, 1 of 2, 1 without a figure"),
    ],
)
def test_what_is_said_of_a_goal(verdicts: list[bool | None], text: str) -> None:
    """A goal that was missed is never told as one without a figure."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        from harness.report import count_text
    finally:
        sys.path.pop(0)
    assert count_text(verdicts) == text


def test_a_quick_run(tmp_path: Path) -> None:
    results = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, ROOT / "bench/run.py", "--quick", "--only", "holdfast,dict", "--no-plot", "--json", results],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    report = json.loads(results.read_text())
    assert report["troubles"] == []
    ours = [case["outcomes"]["holdfast"]["status"] for case in report["results"] if "holdfast" in case["outcomes"]]
    assert len(ours) > 100 and set(ours) == {"ok"}
