"""The tour: what it reads, what it prints, and that every one of its checks can fail.

A tour that cannot fail shows nothing. So a good run is made first; then faults are put into the code
that is checked, one at a time, and between them they must make each claim of the good run fail.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import sysconfig
import token
import tokenize
from collections import Counter
from collections.abc import Callable
from keyword import iskeyword
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import Change, Map
from holdfast.__main__ import main
from holdfast.tour import _oracle, chapter_map, tell
from holdfast.tour._chapter import Checks, Tour
from holdfast.tour._source import Skipped, Source, find_files, identifiers, read
from holdfast.tour._terminal import WIDTH, Terminal, bytes_text, ratio_text, seconds_text, table_lines
from tour_support import FEW, holdfast_command, run_here

STDLIB = Path(sysconfig.get_path("stdlib"))


# -- the command -----------------------------------------------------------------------------------


def test_the_main_job_on_the_whole_standard_library() -> None:
    done = holdfast_command("tour", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["ok"] and len(told["checks"]) > 10 and all(check["ok"] for check in told["checks"])
    figures = told["chapters"]["map"]
    assert figures["files"] + len(figures["skipped"]) == len(find_files(STDLIB)[0])
    assert figures["versions"] == figures["files"] + 1
    assert (
        figures["names"] > 10_000
        and figures["entries"] > figures["names"]
        and figures["merges"][0]["conflicts"] > 1_000
    )
    # Each file changes a few hundred names of tens of thousands: copies that share nothing cost many times more.
    assert figures["dict_bytes"] > 10 * figures["map_bytes"] > 0
    shared = told["chapters"]["shared"]
    assert sum(shared["files_by_process"]) == len(find_files(STDLIB)[0]) and shared["names"] == figures["names"]
    assert shared["written_in_vain"] > 100


def test_plain_text_where_there_is_no_terminal() -> None:
    done = holdfast_command("tour", "--files", FEW)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= WIDTH
    assert "indexing: 25% 50% 75% 100%\n" in done.stdout
    assert f"A tour of holdfast {holdfast.__version__} under " in done.stdout
    assert re.search(r"\n   memory of 41 versions +\S+ [kM]B +\S+ [kM]B +\S+ x\n", done.stdout)
    assert re.search(r"\n\n   All \d+ checks passed, \d+\.\d s\.\n$", done.stdout)


def test_json_keeps_stdout_to_itself() -> None:
    done = holdfast_command("tour", "--files", FEW, "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["holdfast"] == holdfast.__version__ and told["chapters"]["map"]["files"] == int(FEW)
    for check in told["checks"]:
        assert check["claim"][:50] in done.stderr
    assert "checks passed" in done.stderr


def test_quiet_says_nothing_when_all_is_well() -> None:
    done = holdfast_command("tour", "--files", FEW, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("count", ["1", "2", "3"])
def test_a_history_of_hardly_any_files(count: str) -> None:
    done = holdfast_command("tour", "--files", count)
    assert (done.returncode, done.stderr) == (0, "")
    assert "checks passed" in done.stdout


@pytest.mark.parametrize(
    "args", [(), ("nosuch",), ("tour", "--files", "0"), ("tour", "--files", "x"), ("tour", "--nosuch")]
)
def test_wrong_usage(args: tuple[str, ...]) -> None:
    done = holdfast_command(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m holdfast")


def test_version() -> None:
    done = holdfast_command("--version")
    assert (done.returncode, done.stdout) == (0, f"holdfast {holdfast.__version__}\n")


def test_a_reader_that_goes_away_is_no_crash() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "tour", "--files", "2"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(chapter_map, "add_file", interrupt)
    assert main(["tour", "--files", "1"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


# -- every check can fail --------------------------------------------------------------------------


def spoiled(name: str, spoil: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """Let chapter_map's function `name` return spoil(its result, *its arguments)."""
    good = getattr(chapter_map, name)
    return lambda patches: patches.setattr(chapter_map, name, lambda *args: spoil(good(*args), *args))


SPOILED = "_collections_abc.py"  # an early file, and in every version of Python


def drop_a_name(index: Map[str, Any], old: Map[str, Any], source: Source) -> Map[str, Any]:
    return index.delete(min(source.counts)) if source.file == SPOILED else index


def miscount(index: Map[str, Any], old: Map[str, Any], source: Source) -> Map[str, Any]:
    return index.assoc_in([min(source.counts), SPOILED], -1) if source.file == SPOILED else index


def lose_a_change(found: list[Change[str, Any]], *_: Any) -> list[Change[str, Any]]:
    return found[1:]


def repeat_a_change(found: list[Change[str, Any]], *_: Any) -> list[Change[str, Any]]:
    return found + found[:1]


def swap_old_and_new(found: list[Change[str, Any]], *_: Any) -> list[Change[str, Any]]:
    return [Change(key, new, old) for key, old, new in found]


def wrong_dict(patches: pytest.MonkeyPatch) -> None:
    """The fault may as well be in the oracle."""
    good = _oracle.copy_with
    patches.setattr(_oracle, "copy_with", lambda names, sources: {**good(names, sources), "nosuch": {}})


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "a name is lost": (spoiled("add_file", drop_a_name), "every version differs"),
    "a count is wrong": (spoiled("add_file", miscount), "by look-up"),
    "an edit leaves a name behind": (
        spoiled("take_out_file", lambda index, old, source: index.set("nosuch", Map())),
        "by hand",
    ),
    "a diff loses a change": (spoiled("changes", lose_a_change), "is what comparing two dicts finds"),
    "a diff repeats a change": (spoiled("changes", repeat_a_change), "is what comparing two dicts finds"),
    "a diff is the wrong way round": (spoiled("changes", swap_old_and_new), "is what comparing two dicts finds"),
    "a change is not made": (spoiled("apply", lambda new, old, found: old), "is the newer; and back"),
    "a merge takes one side": (
        spoiled("merge", lambda merged, base, mine, theirs: mine),
        "it is what merging dicts gives",
    ),
    "a conflict is settled for one side": (
        spoiled("both", lambda files, name, base, mine, theirs: mine),
        "it is what merging dicts gives",
    ),
    "a conflict is not told": (
        spoiled("conflicting", lambda keys, *_: keys[1:]),
        "the Conflict names just what both",
    ),
    "a conflict is made up": (
        spoiled("conflicting", lambda keys, *_: ("nosuch", *keys)),
        "the Conflict names just what both",
    ),
    "the dict is wrong": (wrong_dict, "compared in full"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_check(
    fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patch, claim = FAULTS[fault]
    status, checks = run_here(monkeypatch, patch, "map")
    assert status == 1
    assert any(claim in failed for failed in checks.failed), checks.failed
    written = capsys.readouterr().out
    assert written.count("FAILED") == len(checks.failed) + 1
    assert f"FAILED  {len(checks.failed)} of {len(checks.results)} checks" in written


def test_every_claim_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    status, checks = run_here(monkeypatch, lambda patches: None, "map")
    assert (status, checks.failed) == (0, [])
    claims = [claim for claim, _ in checks.results]
    assert len(claims) == len(set(claims)) > 10
    failed: set[str] = set()
    for patch, _ in FAULTS.values():
        failed.update(run_here(monkeypatch, patch, "map")[1].failed)
    assert set(claims) <= failed


def test_a_chapter_that_breaks_off_has_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(*args: Any) -> Any:
        raise LookupError("told apart")

    status, checks = run_here(monkeypatch, lambda patches: patches.setattr(chapter_map, "merge", raises), "map")
    assert status == 1
    assert checks.failed == ["the chapter 'map' comes to its end"]
    assert "LookupError: told apart" in capsys.readouterr().err


def test_the_exit_status_of_the_process() -> None:
    code = """
import sys
from holdfast.tour import chapter_map
from holdfast.__main__ import main
good = chapter_map.add_file
chapter_map.add_file = lambda index, source: good(index, source).delete(min(source.counts, default=None))
sys.exit(main(["tour", "--files", "20", "--json"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["ok"]
    assert [check["ok"] for check in told["checks"]].count(False) >= 3
    assert "FAILED  every version differs" in done.stderr and "checks passed" not in done.stderr


# -- the input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = b + a", {"a": 2, "b": 1}),
        ("if x: pass  # not y", {"x": 1}),
        ("'a' \"b\" '''c\nd''' \"\"\"e'\"f\"\"\" g", {"g": 1}),
        (r"'\'a' b; '\\' + c; " + '"\\"d" e', {"b": 1, "c": 1, "e": 1}),
        ("r'a\\' b' c; Rb'd' e; f'{f}' u'g' h", {"c": 1, "e": 1, "h": 1}),
        ("'a\\\nb' c", {"c": 1}),
        ("0xff 1e5 1_000 2j 3.4e-5 0b1 x1", {"x1": 1}),
        ("x.y['z'] @ _w1 and été", {"x": 1, "y": 1, "_w1": 1, "été": 1}),
        ("raw = bar'x'", {"raw": 1, "bar": 1}),
        ("'''unclosed a", {"unclosed": 1, "a": 1}),
        ("", {}),
    ],
)
def test_identifiers(text: str, expected: dict[str, int]) -> None:
    assert identifiers(text) == expected


def names_by_tokenize(text: str) -> Counter[str] | None:
    """What tokenize takes for an identifier. None where quotes inside an f-string end it for older Pythons.

    From 3.12 on an f-string is many tokens, and may have its own quotes inside (PEP 701). For the tour
    it is one string, as it was before: names in its fields do not count, and its next quote ends it.
    """
    counts: Counter[str] = Counter()
    quotes: list[str] = []
    for item in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = token.tok_name[item.type]
        if kind in ("FSTRING_END", "TSTRING_END"):
            quotes.pop()
        elif quotes and kind != "FSTRING_MIDDLE" and quotes[-1] in item.string:
            return None
        elif kind in ("FSTRING_START", "TSTRING_START"):
            quotes.append(item.string.lstrip("rRfFtT"))
        elif item.type == token.NAME and not quotes and not iskeyword(item.string):
            counts[item.string] += 1
    return counts


def test_identifiers_are_those_of_tokenize() -> None:
    compared = 0
    for path in sorted(STDLIB.glob("[a-s]*.py")):
        with tokenize.open(path) as stream:
            text = stream.read()
        expected = names_by_tokenize(text)
        if expected is not None:
            assert identifiers(text) == expected, path.name
            compared += 1
    assert compared > 80


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "good.py").write_text("one = two\n")
    (tmp_path / "latin.py").write_bytes("# coding: latin-1\né = one\n".encode("latin-1"))
    (tmp_path / "bytes.py").write_bytes(b"x = 1\n" * 10 + b"# \xff\n")
    (tmp_path / "early.py").write_bytes(b"# \xff\nx = 1\n")
    (tmp_path / "cookie.py").write_bytes(b"# coding: nosuch\nx = 1\n")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    (tmp_path / "text.txt").write_text("three = four\n")
    for folder in ("site-packages", "dist-packages", "__pycache__"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "other.py").write_text("five = six\n")
    return tmp_path


def test_what_is_read_and_what_is_skipped(tree: Path) -> None:
    files, unlisted = find_files(tree)
    assert files == ["bytes.py", "cookie.py", "early.py", "gone.py", "latin.py", "pkg/good.py"]
    assert unlisted == []
    items = {file: read(tree, file) for file in files}
    assert items["pkg/good.py"] == Source("pkg/good.py", Counter(one=1, two=1))
    assert items["latin.py"] == Source("latin.py", Counter(é=1, one=1))
    reasons = {item.file: item.reason for item in items.values() if isinstance(item, Skipped)}
    assert reasons == {
        "bytes.py": "not valid utf-8: byte 62",
        "cookie.py": "unknown encoding: nosuch",
        "early.py": "invalid or missing encoding declaration",
        "gone.py": "No such file or directory",
    }


def test_skipped_files_are_counted_and_named(tree: Path) -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    checks = Checks(terminal)
    summary = tell(Tour(terminal, checks, root=tree))["map"]
    assert not checks.failed and checks.results
    assert summary.figures["files"] == 2 and summary.figures["names"] == 3
    skipped = summary.figures["skipped"]
    assert isinstance(skipped, list) and [skip["file"] for skip in skipped] == [
        "bytes.py", "cookie.py", "early.py", "gone.py",
    ]  # fmt: skip
    written = stream.getvalue()
    assert "4 skipped" in written and "gone.py: No such file or directory" in written


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    files, unlisted = find_files(tmp_path / "nowhere")
    assert (files, unlisted) == ([], [Skipped(".", "No such file or directory")])


def test_nothing_to_read_is_a_failure(tmp_path: Path) -> None:
    checks = Checks(Terminal(io.StringIO()))
    tell(Tour(Terminal(io.StringIO()), checks, root=tmp_path))
    assert checks.failed == [f"there is Python source to read under {tmp_path}"]


# -- the terminal ----------------------------------------------------------------------------------


def on_a_terminal(*args: str, **env: str) -> tuple[int, str]:
    """The command with a pseudo-terminal for its output; exit status and all that it wrote."""
    ours, theirs = pty.openpty()
    environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    child = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *args],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm", **env},
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: nobody holds the other end any more
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    return child.wait(timeout=120), written.decode()


def test_a_terminal_gets_a_bar_and_bold_headings() -> None:
    status, written = on_a_terminal("tour", "--files", FEW, COLUMNS="70")
    assert status == 0
    bars = re.findall(r"\r\x1b\[K(   indexing \[[#.]+\] \d+ of 40)", written)
    assert bars and {len(bar) for bar in bars} <= {67, 68, 69}
    assert "\x1b[1mStep back through the history\x1b[0m" in written
    assert "25%" not in written
    # On the screen nothing is left of the bars: each is wiped before the next line is written.
    shown = [re.sub(r".*\r\x1b\[K", "", line) for line in written.replace("\r\n", "\n").split("\n")]
    assert not any("[#" in line or "[." in line for line in shown)


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_terminal_without_color(env: dict[str, str]) -> None:
    status, written = on_a_terminal("tour", "--files", FEW, **env)
    assert status == 0
    assert not re.search(r"\x1b\[\d*m", written)
    assert ("\x1b[K" in written) == ("NO_COLOR" in env)
    assert ("25%" in written) == ("TERM" in env)


def test_a_name_that_the_encoding_lacks_is_escaped() -> None:
    raw = io.BytesIO()
    terminal = Terminal(io.TextIOWrapper(raw, encoding="ascii"))
    terminal.line("caf\xe9 \udcff")
    assert raw.getvalue() == b"   caf\\xe9 \\udcff\n"


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_940, "99.9 kB"), (99_960, "100 kB"),
     (999_499, "999 kB"), (999_500, "1.0 MB"), (2.2e9, "2.2 GB"), (5e15, "5,000.0 TB")],
)  # fmt: skip
def test_bytes_text(n: float, text: str) -> None:
    assert bytes_text(n) == text


@pytest.mark.parametrize(
    ("s", "text"),
    [(0, "0 ns"), (1e-9, "1 ns"), (9.99e-7, "999 ns"), (1e-6, "1.0 us"), (0.0123, "12.3 ms"), (0.5, "500 ms"),
     (0.9996, "1.0 s"), (61.04, "61.0 s"), (123.4, "123 s")],
)  # fmt: skip
def test_seconds_text(s: float, text: str) -> None:
    assert seconds_text(s) == text


def test_ratio_text() -> None:
    assert [ratio_text(*pair) for pair in ((1, 2), (99, 10), (1e6, 10), (1, 0))] == [
        "0.5 x",
        "9.9 x",
        "100,000 x",
        "",
    ]


def test_a_table_fits_and_lines_up() -> None:
    lines = table_lines(("", "Map", "dict"), [("x" * 100, "1.5 MB", "12 GB"), ("short", "1 MB", "")])
    assert max(map(len, lines)) == WIDTH - 3
    assert lines[1] == "-" * (WIDTH - 3)
    assert lines[0].index("Map") + 3 == lines[2].index("1.5 MB") + 6 == lines[3].index("1 MB") + 4
    assert "x..." in lines[2] and lines[2].endswith("12 GB")


# -- the chapter in C ------------------------------------------------------------------------------


def test_the_page_shows_what_the_two_processes_print() -> None:
    root = Path(__file__).resolve().parents[2]
    program = root / "build/examples/two_processes"
    if not program.exists():
        raise AssertionError(f"{program} is not there: run `make build`")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    page = (root / "docs/tour.md").read_text(encoding="utf-8")
    assert f"```text\n{done.stdout}```\n" in page
    assert max(len(line) for line in done.stdout.splitlines()) <= WIDTH
