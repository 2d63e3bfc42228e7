"""Run the C tests of a build folder and say how many there were.

    python tools/run_c_tests.py build [meson test options]

`meson test` counts programs; what passes or fails is a test in a program, which only
cmocka's output tells. The last line is the sum: "C tests in build: 80 passed, 0 failed".
A program that fails outside any of its tests (it crashes, or leaks) counts as one failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PASSED = "[       OK ]"
FAILED = "[  FAILED  ]"
BROKEN = "[  ERROR   ] "  # in stderr, with a test's name: its teardown failed, perhaps it too
REASON = "[  ERROR   ] ---"  # in stderr, why a test failed


def count(report: dict[str, object]) -> tuple[int, int]:
    """(passed, failed) for one line of meson's testlog.json."""
    lines = str(report.get("stdout", "")).splitlines()
    errors = str(report.get("stderr", "")).splitlines()
    passed = sum(line.startswith(PASSED) for line in lines)
    failed = sum(line.startswith(FAILED) for line in lines)
    failed += sum(line.startswith(BROKEN) and not line.startswith(REASON) for line in errors)
    if report["result"] == "OK":
        # A program without cmocka, such as an example, is one test.
        return (passed or 1), failed
    return passed, (failed or 1)


def main(arguments: list[str]) -> int:
    build, *options = arguments
    log = Path(build, "meson-logs", "testlog.json")
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "mesonbuild.mesonmain", "test", "-C", build, "--no-rebuild"]
    done = subprocess.run([*command, "--print-errorlogs", *options])
    if not log.exists():
        print(f"C tests in {build}: no test was run", file=sys.stderr)
        return done.returncode or 1
    counts = [count(json.loads(line)) for line in log.read_text().splitlines()]
    passed, failed = (sum(column) for column in zip(*counts))
    print(f"C tests in {build}: {passed} passed, {failed} failed")
    return done.returncode or min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
