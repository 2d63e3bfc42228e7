"""docs/format/cask.md: its example is what a program prints that makes such files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.byteorder != "little", reason="the example is of a little-endian machine")
def test_the_example_of_a_cask() -> None:
    program = ROOT / "build/tests/c/cask_bytes"
    if not program.exists():
        raise AssertionError(f"{program} is not there: run `make build`")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    page = (ROOT / "docs/format/cask.md").read_text(encoding="utf-8")
    assert f"```text\n{done.stdout}```\n" in page
