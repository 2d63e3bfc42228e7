"""docs/format/region.md: its examples are what programs print that make such regions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.byteorder != "little", reason="the example is of a little-endian machine")
@pytest.mark.parametrize("name", ["region_bytes", "region_file_bytes"])
def test_the_example_of_a_region(name: str) -> None:
    program = ROOT / "build/tests/c" / name
    if not program.exists():
        raise AssertionError(f"{program} is not there: run `make build`")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    page = (ROOT / "docs/format/region.md").read_text(encoding="utf-8")
    assert f"```text\n{done.stdout}```\n" in page
