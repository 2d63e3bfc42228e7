"""What the documentation shows is what happens: every Python block of README.md and docs/, every docstring example.

The blocks of one file run one after the other in one namespace, in an empty folder, as a reader would try
them. A block with prompts (>>>) is checked as a doctest, any other one is executed. Blocks in other languages
are not ours to run here.
"""

from __future__ import annotations

import doctest
import inspect
import multiprocessing
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import holdfast

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)[^\n`]*\n(?P<code>.*?)^(?P=indent)(?P=ticks)`* *$", re.M | re.S)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    line: int
    code: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        if match["language"].lower() in ("python", "py", "pycon", "python3"):
            code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.M)
            found.append(Block(text.count("\n", 0, match.start("code")) + 1, code))
    return found


def run_examples(name: str, code: str, namespace: dict[str, Any], file: str, line: int = 0) -> int:
    """How many examples there are, all of which gave what is written there."""
    test = doctest.DocTestParser().get_doctest(code, namespace, name, file, line)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(test, out=report.append, clear_globs=False)
    assert runner.failures == 0, "".join(report)
    namespace.update(test.globs)
    return len(test.examples)


def run_block(page: Path, block: Block, namespace: dict[str, Any]) -> None:
    if ">>>" in block.code:
        assert run_examples(page.name, block.code, namespace, str(page), block.line - 1) > 0
    else:
        # Compiled on the page's own lines, so that a traceback points into it.
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


def test_the_readme_shows_python() -> None:
    assert len(blocks(ROOT / "README.md")) > 0


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists() and blocks(page)], ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What a block defines is in no module that a process which is not forked could import.
    monkeypatch.setattr(multiprocessing, "Process", multiprocessing.get_context("fork").Process)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        run_block(page, block, namespace)


# -- docstrings -------------------------------------------------------------------------------------------


def documented() -> Iterator[tuple[str, str]]:
    """The docstring of everything public, methods written in C included, which doctest's own finder passes over."""
    modules = [module for module in (holdfast, holdfast._core) if isinstance(module, types.ModuleType)]
    for module in modules:
        yield module.__name__, inspect.getdoc(module) or ""
    for name in holdfast.__all__:
        thing = getattr(holdfast, name)
        if not (isinstance(thing, type) or callable(thing)):
            continue
        yield name, inspect.getdoc(thing) or ""
        for attribute, value in vars(thing).items() if isinstance(thing, type) else ():
            if isinstance(getattr(value, "__doc__", None), str) and not isinstance(value, str | tuple | dict):
                yield f"{name}.{attribute}", inspect.cleandoc(value.__doc__)


def test_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = 0
    for name, doc in documented():
        namespace = {thing: getattr(holdfast, thing) for thing in holdfast.__all__} | {"holdfast": holdfast}
        count += run_examples(name, doc, namespace, name)
    assert count > 0


# -- the runner itself ------------------------------------------------------------------------------------


def test_the_runner_finds_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```python\nx = 1\n```\n\n```sh\nrm -rf nothing\n```\n\n- a list\n\n  ```python\n  x += 1\n  ```\n\n"
        "```pycon\n>>> x\n2\n```\n\n```python\nassert x == 3\n```\n\n```c\nint x;\n```\n\n```\n>>> wrong\n```\n"
    )
    found = blocks(page)
    assert [block.line for block in found] == [4, 14, 18, 23]
    namespace: dict[str, Any] = {}
    for block in found[:3]:
        run_block(page, block, namespace)
    with pytest.raises(AssertionError) as caught:
        run_block(page, found[3], namespace)
    assert caught.traceback[-1].lineno == 22
    with pytest.raises(AssertionError, match="Expected"):
        run_block(page, Block(1, ">>> x\n5\n"), namespace)
    with pytest.raises(NameError):
        run_block(page, Block(1, "nonsense"), namespace)
