"""The examples in the documentation run: each Python block by itself, and the C program of the README."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


PYTHON = [
    pytest.param(block, id=f"{page.name} {number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"), 1)
]


def test_there_is_something_to_run() -> None:
    assert blocks(ROOT / "README.md", "python") and blocks(ROOT / "README.md", "c")


@pytest.mark.parametrize("block", PYTHON)
def test_python(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_c_program_of_the_readme(tmp_path: Path) -> None:
    (source,) = blocks(ROOT / "README.md", "c")
    (tmp_path / "demo.c").write_text(source)
    library = ROOT / "build" / "src"
    build = subprocess.run(
        [*os.environ.get("CC", "cc").split(), "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", "demo", "demo.c",
         f"-I{ROOT / 'include'}", f"-L{library}", "-lholdfast", f"-Wl,-rpath,{library}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (build.returncode, build.stderr) == (0, "")
    done = subprocess.run([tmp_path / "demo"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "80, then 8080\n", "")
