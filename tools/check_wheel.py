"""Check that `pip install .` gives a package that works by itself.

    .venv/bin/python tools/check_wheel.py

Builds the wheel with the meson-python of the running environment (so that the network is not
needed), looks at what is in it, installs it into a scratch environment and imports it there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What the extension may be linked with: the C library and what the compiler brings along.
# Not libpython (an extension finds it in the process), and not libholdfast.
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libpthread|librt|libgcc_s|ld-linux[\w-]*)\.so\.\d+")

OURS = re.compile(r"holdfast(-[\w.]+\.dist-info)?/")
THE_LIBRARYS = re.compile(r"\.([acho]|pc|so\.[\d.]+)$|/lib\w+\.so$")
NEEDED = (
    r"holdfast/__init__\.py",
    r"holdfast/_core\w*\.[\w-]+\.so",
    r"holdfast/_core\.pyi",
    r"holdfast/_homes\.[\w-]+\.so",
    r"holdfast/_homes\.pyi",
    r"holdfast/py\.typed",
    r"holdfast-[\w.]+\.dist-info/licenses/LICENSE",
)

USE = """
import sys
import holdfast
assert holdfast.__file__.startswith(sys.prefix), holdfast.__file__
m = holdfast.Map({"a": 1})
n = m.set("b", 2)
assert (dict(m), dict(n)) == ({"a": 1}, {"a": 1, "b": 2})
print("imported", holdfast.__version__, "from a scratch environment")
"""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout)
        raise SystemExit(f"check_wheel: failed: {' '.join(map(str, command))}")
    return done.stdout


def build(folder: Path) -> Path:
    # A build folder that stays: what did not change is not compiled again.
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps",
        "--disable-pip-version-check", f"--config-settings=build-dir={ROOT / 'build-wheel'}", "-w", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def content_faults(names: list[str], metadata: str) -> list[str]:
    """What is wrong with a wheel that holds these files."""
    faults = [f"{name} does not belong there" for name in names if not OURS.match(name) or THE_LIBRARYS.search(name)]
    for pattern in NEEDED:
        if not any(re.fullmatch(pattern, name) for name in names):
            faults.append(f"nothing in it is {pattern}")
    if "Requires-Dist:" in metadata:
        faults.append("it depends on other packages")
    if "Requires-Python: >=3.11" not in metadata.splitlines():
        faults.append("it does not say that it needs Python 3.11")
    return faults


def extension_faults(extension: Path) -> list[str]:
    """What is wrong with the extension as a shared object."""
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "--dynamic", extension))
    faults = [f"it is linked with {name}" for name in needed if not SYSTEM_LIBRARIES.fullmatch(name)]
    exported = [line.split()[-1] for line in run("nm", "--dynamic", "--defined-only", extension).splitlines()]
    faults += [f"it exports {name}" for name in exported if not name.startswith("PyInit_")]
    return faults


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="holdfast-wheel-") as name:
        folder = Path(name)
        wheel = build(folder)
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
            faults = content_faults(names, archive.read(metadata).decode())
            for extension in (name for name in names if name.endswith(".so")):
                faults += extension_faults(Path(archive.extract(extension, folder)))
        if faults:
            print(*(f"{wheel.name}: {fault}" for fault in faults), sep="\n")
            return 1
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        python = folder / "venv" / "bin" / "python"
        run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index",
            "--no-deps", "--disable-pip-version-check", wheel)
        print(f"wheel: {wheel.name}:", run(python, "-I", "-c", USE).strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
