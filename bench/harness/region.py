"""A region in shared memory beside LMDB: bench/c/region_*.c does all of it and checks it; this runs it and shows it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

C_PROGRAM = Path(__file__).resolve().parents[2] / "build" / "bench" / "c" / "region_bench"
GROUPS = ("single", "snapshots", "readers", "beside", "takeover", "file")


def named(texts: Iterable[str]) -> list[str]:
    """The groups of rows whose names, such as "region: readers", contain one of these."""
    return [group for group in GROUPS if any(text.strip() in f"region: {group}" for text in texts)]


def line(record: dict[str, Any]) -> str:
    if "goal" in record:
        return f"{record['row']}: {record['figure']:.4g}, goal {record['goal']}: {'reached' if record['reached'] else 'NOT REACHED'}"
    spread = f"({record['least']:.4g} to {record['most']:.4g})"
    return f"{record['row']}: {record['who']} {record['median']:.4g} {record['unit']} {spread}"


def run(program: Path, groups: list[str], quick: bool) -> tuple[list[dict[str, Any]], str]:
    """(figures and verdicts as they were told, what went wrong or "")."""
    if not program.exists():
        return [], "the benchmark of regions is not built"
    records = []
    command = [str(program), "--json", *(["--quick"] if quick else []), *groups]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for text in child.stdout:
            records.append(json.loads(text))
            print(line(records[-1]) if not (quick and "goal" in records[-1]) else f"{records[-1]['row']}: quick run", flush=True)
    return records, "" if child.returncode == 0 else f"the benchmark of regions ended with exit status {child.returncode}"
