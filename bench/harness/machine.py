"""What the figures were measured on: nothing that names the machine or its user."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _field(path: str, name: str) -> str:
    try:
        with open(path, encoding="utf-8") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "unknown")
    except OSError:
        return "unknown"


def _first_line(*command: str) -> str:
    """Of what a command prints, on either stream; "" where it cannot be run."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    except OSError:
        return ""
    return (run.stdout or run.stderr).partition("\n")[0].strip() if run.returncode == 0 else ""


def describe() -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _first_line("git", "describe", "--always", "--dirty", "--exclude", "*"),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
