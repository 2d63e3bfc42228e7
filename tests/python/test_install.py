"""What `make install` leaves is enough for a C program: those of README.md, docs/c-api.md and examples/ are built with
what pkg-config says, against the shared and the static library, and run; every public header compiles by itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
CC = os.environ.get("CC", "cc")


def run(*command: str | Path, **env: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


class Installed(NamedTuple):
    """The library below a folder, as it would be below /."""

    include: Path
    library: Path  # the folder with libholdfast.so

    def flags(self, *wanted: str) -> list[str]:
        root = self.include.as_posix().removesuffix("/usr/local/include")
        env = {"PKG_CONFIG_SYSROOT_DIR": root, "PKG_CONFIG_LIBDIR": str(self.library / "pkgconfig")}
        return run("pkg-config", *wanted, "holdfast", **env).split()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    build, root = ROOT / "build", tmp_path_factory.mktemp("root")
    if not (build / "build.ninja").exists():
        raise AssertionError("no build folder: run `make build`")
    meson = Path(sys.executable).with_name("meson")
    run(meson, "install", "-C", build, "--no-rebuild", "--quiet", "--tags", "runtime,devel", "--destdir", root)
    (pc,) = root.rglob("holdfast.pc")
    return Installed(root / "usr/local/include", pc.parents[1])


def program_of(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    (program,) = (code for code in re.findall(r"```c\n(.*?)```", text, re.S) if "int main" in code)
    return program


def printed_by(page: str) -> str:
    """What a page says that its program prints."""
    (printed,) = re.findall(r"It prints\n\n```\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    return printed


PROGRAMS = {
    "README.md": ([], "80, then 8080\n"),
    "docs/c-api.md": ([], printed_by("docs/c-api.md")),
    "word_count": ([ROOT / "README.md"], None),
    "own_type": ([], None),
    "two_processes": ([], None),
}


@pytest.mark.parametrize("how", ["shared", "static"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_against_what_is_installed(name: str, how: str, installed: Installed, tmp_path: Path) -> None:
    source = tmp_path / "demo.c"
    source.write_text(program_of(name) if name.endswith(".md") else (ROOT / f"examples/{name}.c").read_text("utf-8"))
    libraries = installed.flags("--libs", *(["--static"] if how == "static" else []))
    if how == "static":
        libraries = ["-Wl,-Bstatic", *(flag for flag in libraries if flag.startswith(("-L", "-lholdfast")))]
        libraries += ["-Wl,-Bdynamic", *(flag for flag in installed.flags("--libs", "--static") if "holdfast" not in flag)]
    program = tmp_path / "demo"
    warnings = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-pedantic"]
    run(CC, *warnings, source, *installed.flags("--cflags"), "-o", program, *libraries)
    arguments, expected = PROGRAMS[name]
    path = {"LD_LIBRARY_PATH": str(installed.library)} if how == "shared" else {}
    output = run(program, *arguments, **path)
    assert expected is None or output == expected
    assert ("libholdfast" in run("ldd", program, **path)) == (how == "shared")


def test_each_header_compiles_by_itself(installed: Installed, tmp_path: Path) -> None:
    headers = sorted(path.relative_to(installed.include) for path in installed.include.rglob("*.h"))
    assert {"holdfast/map.h", "holdfast/value.h", "holdfast/status.h"} <= {str(header) for header in headers}
    languages = [("c", "-std=c11")] + ([("c++", "-std=c++17")] if shutil.which("c++") else [])
    for header in headers:
        for language, standard in languages:
            source = tmp_path / "only.c"
            source.write_text(f"#include <{header}>\n#include <{header}>\nint only;\n")
            flags = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic"]
            run(CC, "-x", language, standard, *flags, f"-I{installed.include}", source)


def test_the_library_exports_only_its_own_names(installed: Installed) -> None:
    lines = run("nm", "-D", "--defined-only", installed.library / "libholdfast.so").splitlines()
    names = {line.split()[-1].split("@")[0] for line in lines}
    assert "hf_map_with" in names
    assert [name for name in names if not name.startswith("hf_")] == []
