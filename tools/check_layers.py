"""Fail if an #include points upward.

    python tools/check_layers.py [root]

The layers, lowest first, and what each may include besides itself (and what is below):

    base <- trie, vector <- heap
            trie, vector <- region <- value <- shared, cask, store
    python, on the public headers, the two templates (base, trie, vector), value: objects become values there;
            and shared, with keys and values that are encoded already

Public headers include public headers only, examples see nothing else, and nothing outside
python/ includes Python.h. Tests, fuzz targets and benchmarks may look at everything.

A new folder under src/, or a new public header, has to be entered below: that is the moment
to decide where it belongs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Each layer with the layers directly below it.
BELOW: dict[str, set[str]] = {
    "base": set(),
    "trie": {"base"},
    "vector": {"base"},
    "heap": {"trie", "vector"},
    "region": {"trie", "vector"},
    "value": {"region"},
    "shared": {"value"},
    "cask": {"value"},
    "store": {"value"},
}

# The layer that implements each public header.
PUBLIC: dict[str, str] = {
    "api.h": "base",
    "datum.h": "base",
    "cask.h": "cask",
    "shared.h": "shared",
    "memory.h": "base",
    "status.h": "base",
    "version.h": "base",
    "value.h": "heap",
    "map.h": "heap",
}

# Examples of what has no public header yet, and the layer they use instead.
EARLY: dict[str, str] = {}

SOURCES = ("include", "src", "python", "examples")
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b[ \t]*(.*?)[ \t]*$", re.MULTILINE)
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|("(?:\\.|[^"\\\n])*")', re.DOTALL)


def visible(layer: str) -> set[str]:
    """The layer and all below it."""
    return {layer}.union(*(visible(lower) for lower in BELOW[layer]))


def without_comments(text: str) -> str:
    """The text with its comments blanked, lines kept in place, strings left alone."""
    return COMMENT.sub(lambda m: m[1] or "\n" * m[0].count("\n") or " ", text)


def includes(text: str) -> Iterator[tuple[int, str]]:
    """(line number, what stands behind #include), as written."""
    text = without_comments(text)
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[1]


def wrong(root: Path, file: Path, target: str) -> str | None:
    """Why this file may not include this, or None."""
    match = re.fullmatch(r'[<"]([^<>"]+)[>"]', target)
    if match is None:
        return "a computed include cannot be checked"
    name = match[1]
    path = file.relative_to(root)
    area = path.parts[0]
    layer = path.parts[1] if area == "src" and len(path.parts) > 2 else None

    if ".." in Path(name).parts:
        return "name it from src/ or include/, not by a way up"
    if name == "Python.h":
        return None if area == "python" else "only python/ may include Python.h"

    first, _, rest = name.partition("/")
    if first == "holdfast" and rest:
        owner = PUBLIC.get(rest)
        if owner is None:
            return "enter this public header in tools/check_layers.py"
        if area == "include":
            layer = PUBLIC.get(path.name)
            if layer is None:
                return f"enter {path.name} in tools/check_layers.py"
        if layer is not None and owner not in visible(layer):
            return f"{layer} is below {owner}"
        return None

    if (root / "src" / name).is_file():
        if first not in BELOW:
            return "enter this layer in tools/check_layers.py"
        if first == EARLY.get(path.as_posix()):
            return None
        if area in ("include", "examples"):
            return "only public headers may be included here"
        if area == "python":
            allowed = visible("trie") | visible("vector") | {"value", "shared"}
            return None if first in allowed else f"python stands on the homes, value and templates, not on {first}"
        if layer is None or first not in visible(layer):
            return f"{layer} is not above {first}"
        return None

    if target.startswith('"') and not (file.parent / name).is_file():
        return "there is no such file"
    return None


def check(root: Path) -> Iterator[str]:
    """One line for each include that is wrong."""
    for folder in sorted((root / "src").iterdir()):
        if folder.is_dir() and folder.name not in BELOW:
            yield f"{folder.relative_to(root)}: enter this layer in tools/check_layers.py"
    for area in SOURCES:
        for file in sorted((root / area).rglob("*.[ch]")):
            for line, target in includes(file.read_text(encoding="utf-8")):
                reason = wrong(root, file, target)
                if reason is not None:
                    yield f"{file.relative_to(root)}:{line}: #include {target}: {reason}"


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    faults = list(check(root))
    for fault in faults:
        print(fault)
    files = sum(1 for area in SOURCES for _ in (root / area).rglob("*.[ch]"))
    if files == 0:
        print(f"check_layers: no source under {root}", file=sys.stderr)
        return 1
    print(f"layers: {files} files, {len(faults)} includes that point the wrong way")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
