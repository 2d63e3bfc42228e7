"""Regions beside LMDB, casks beside LevelDB and LMDB, in C: bench/c/region_*.c and cask_*.c do all of it and check it; this runs
them and shows it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).resolve().parents[2] / "build" / "bench" / "c"
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Suite:
    """A program, and its groups of rows."""

    name: str
    groups: tuple[str, ...]

    @property
    def program(self) -> Path:
        return PROGRAMS / f"{self.name}_bench"

    def titles(self) -> list[str]:
        """The groups as they are listed, and chosen."""
        return [f"{self.name}: {group}" for group in self.groups]

    def named(self, texts: Iterable[str]) -> list[str]:
        """The groups of rows whose names, such as "region: readers", contain one of these."""
        chosen = [text.strip() for text in texts]
        return [group for group, title in zip(self.groups, self.titles()) if any(text in title for text in chosen)]

    def run(self, program: Path, groups: list[str], quick: bool) -> tuple[Records, str]:
        """(figures and verdicts as they were told, what went wrong or "")."""
        if not program.exists():
            return [], f"the {self.name} benchmark is not built"
        records = []
        command = [str(program), "--json", *(["--quick"] if quick else []), *groups]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            for text in child.stdout:
                records.append(json.loads(text))
                print(line(records[-1], quick), flush=True)
        return records, f"the {self.name} benchmark ended with exit status {child.returncode}" if child.returncode else ""


def line(record: dict[str, Any], quick: bool) -> str:
    if "goal" in record:
        verdict = "reached" if record["reached"] else "NOT REACHED"
        return f"{record['row']}: quick run" if quick else f"{record['row']}: {record['figure']:.4g}, goal {record['goal']}: {verdict}"
    row = record["row"] + (f", {record['size']:,}" if "size" in record else "")
    spread = f"({record['least']:.4g} to {record['most']:.4g})"
    return f"{row}: {record['who']} {record['median']:.4g} {record['unit']} {spread}"


ALL = (
    Suite("region", ("single", "snapshots", "readers", "beside", "takeover", "file")),
    Suite("cask", ("put", "get", "sizes", "merge", "durable", "memory", "reopen", "ycsb")),
)
