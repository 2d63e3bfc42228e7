"""The benchmarks run, and get every result right: at tiny sizes, without the peers, which `make bench` installs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


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
