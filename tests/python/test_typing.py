"""The stubs, judged by mypy --strict: what it must accept, what it must reject, and whether they are true.

`typing/accepted.py` must pass without one message; in `typing/rejected.py` each line marked `# E: codes`
must be refused with exactly those codes, and no other line. `stubtest` then compares the stub of the
extension with the extension itself, so neither can grow a method that the other lacks.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "python"


def run_mypy(cache: Path, *args: str, module: str = "mypy") -> subprocess.CompletedProcess[str]:
    # The sources come first on the path: an editable install is found by an import hook, which mypy cannot follow.
    env = dict(os.environ, MYPYPATH=str(PACKAGE), MYPY_CACHE_DIR=str(cache))
    return subprocess.run(
        [sys.executable, "-m", module, *args], cwd=HERE, env=env, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def cache(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept from run to run, where pytest keeps anything: the first run reads all of typeshed."""
    kept = getattr(pytestconfig, "cache", None)
    return tmp_path_factory.mktemp("mypy") if kept is None else kept.mkdir("mypy")


def test_the_package_and_its_stubs_are_strictly_typed(cache: Path) -> None:
    assert (PACKAGE / "holdfast" / "py.typed").exists()
    done = run_mypy(cache, "--strict", "-p", "holdfast")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_must_be_accepted(cache: Path) -> None:
    done = run_mypy(cache, "--strict", "typing/accepted.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_must_be_rejected(cache: Path) -> None:
    expected = {}
    for number, line in enumerate((HERE / "typing" / "rejected.py").read_text().splitlines(), 1):
        if marked := re.search(r"# E: (.+)$", line):
            expected[number] = sorted(marked[1].split(", "))
    assert len(expected) > 40

    done = run_mypy(cache, "--strict", "--show-error-codes", "--no-pretty", "typing/rejected.py")
    found: dict[int, list[str]] = {}
    for number, code in re.findall(r"rejected\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE):
        found.setdefault(int(number), []).append(code)
    assert {number: sorted(codes) for number, codes in found.items()} == expected, done.stdout + done.stderr


@pytest.mark.parametrize("extension", ["holdfast._core", "holdfast._homes"])
def test_the_stubs_match_the_extension(cache: Path, extension: str) -> None:
    done = run_mypy(cache, "--concise", extension, module="mypy.stubtest")
    assert done.returncode == 0, done.stdout + done.stderr
