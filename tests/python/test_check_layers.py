"""tools/check_layers.py notices each way an include can be wrong, and nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("check_layers", ROOT / "tools" / "check_layers.py")
assert spec is not None and spec.loader is not None
check_layers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_layers)

TREE = {
    "include/holdfast/status.h": "",
    "include/holdfast/map.h": "#include <holdfast/status.h>\n#include <stdint.h>\n",
    "src/base/os.h": "#include <holdfast/status.h>\n",
    "src/trie/trie_algo.h": '#include "base/os.h"\n',
    "src/vector/vector.h": "",
    "src/heap/map.c": '#include "map_private.h"\n#include "trie/trie_algo.h"\n#include <holdfast/map.h>\n',
    "src/heap/map_private.h": "",
    "src/value/word.h": "",
    "src/shared/shared.h": '#include "value/word.h"\n#include "trie/trie_algo.h"\n',
    "src/cask/log.h": "",
    "python/src/map.c": '#include <Python.h>\n#include "trie/trie_algo.h"\n#include <holdfast/map.h>\n#include "own.h"\n',
    "python/src/own.h": "",
    "examples/count.c": "#include <holdfast/map.h>\n",
}


def faults(tmp_path: Path, **changed: str) -> list[str]:
    for name, text in {**TREE, **changed}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(check_layers.check(tmp_path))


def test_a_clean_tree_has_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("src/base/bad.c", '#include "trie/trie_algo.h"'),
        ("src/base/bad.c", "#include <holdfast/map.h>"),
        ("src/base/bad.c", '  #  include "heap/map_private.h" /* why */'),
        ("src/trie/bad.h", '#include "vector/vector.h"'),
        ("src/trie/bad.h", "#include <Python.h>"),
        ("src/heap/bad.c", '#include "value/word.h"'),
        ("src/value/bad.c", '#include "heap/map_private.h"'),
        ("src/cask/bad.c", '#include "shared/shared.h"'),
        ("src/shared/bad.c", '#include "cask/log.h"'),
        ("src/heap/bad.c", '#include "../trie/trie_algo.h"'),
        ("src/heap/bad.c", "#include SOMETHING"),
        ("src/heap/bad.c", '#include "nowhere.h"'),
        ("src/heap/bad.c", "#include <holdfast/unheard_of.h>"),
        ("include/holdfast/status.h", "#include <holdfast/map.h>"),
        ("include/holdfast/map.h", '#include "base/os.h"'),
        ("include/holdfast/map.h", "#include <base/os.h>"),
        ("include/holdfast/unheard_of.h", "#include <holdfast/status.h>"),
        ("python/src/bad.c", '#include "heap/map_private.h"'),
        ("examples/bad.c", '#include "base/os.h"'),
        ("src/unheard_of/bad.c", ""),
    ],
)
def test_each_wrong_include_is_named(tmp_path: Path, file: str, line: str) -> None:
    found = faults(tmp_path, **{file: f"/* a\n comment */\n{line}\n"})
    assert len(found) == 1
    assert found[0].startswith(f"{file}:3: " if line else "src/unheard_of: ")


@pytest.mark.parametrize(
    "text",
    [
        '/*\n#include "heap/map_private.h"\n*/\n',
        '// #include "heap/map_private.h"\n',
        'const char *s = "/*";\n#include "base/os.h"\nconst char *t = "*/";\n',
    ],
)
def test_comments_are_not_read(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, **{"src/trie/fine.h": text}) == []


def test_a_string_does_not_hide_an_include(tmp_path: Path) -> None:
    text = 'const char *s = "/*";\n#include "heap/map_private.h"\n'
    assert len(faults(tmp_path, **{"src/trie/bad.h": text})) == 1


def test_an_empty_tree_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "src").mkdir()
    assert check_layers.main([str(tmp_path)]) == 1


def test_this_project_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_layers.main([]) == 0, capsys.readouterr().out
