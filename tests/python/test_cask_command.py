"""`python -m holdfast info|check|salvage|dump|load|merge`: what they show, what they do, how they fail."""

import datetime
import decimal
import enum
import fractions
import io
import json
import math
import os
import struct
import subprocess
import sys
import time
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast import Cask, _homes
from holdfast.__main__ import main
from holdfast._cask_json import from_json, to_json
from test_shared_basic import KEYS, VALUES, Plain, same

OpenCask = Callable[..., "Cask[Any, Any]"]
Output = pytest.CaptureFixture[str]


class Color(enum.Enum):
    RED = 1


ZONE = zoneinfo.ZoneInfo("Europe/Berlin")
MORE: list[Any] = [
    math.nan, -math.inf, struct.unpack(">d", bytes.fromhex("7ff8000000000123"))[0], complex(-0.0, math.nan),
    "\ud800\udc00", "\udc00", 10**5000, {"$tuple": [1]}, {"": 1, "$": 2}, {1: 2, (3,): [4]}, {None: None},
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=ZONE, fold=1), datetime.datetime(2024, 1, 1, 12, fold=1),
    datetime.datetime(1, 1, 1, microsecond=1, tzinfo=datetime.timezone(datetime.timedelta(seconds=-3))),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "name")), datetime.time(1, 2, 3, 4),
    datetime.time(1, tzinfo=ZONE), datetime.timedelta(-1, 2, 3), datetime.timezone.utc, ZONE, decimal.Decimal("sNaN123"),
    decimal.Decimal("-0E+5"), fractions.Fraction(-1, 10**40), uuid.UUID(int=7, is_safe=uuid.SafeUUID.safe), Color.RED,
    {"a": {"b": (1, [2, {3}])}}, frozenset({(1, 2), "x"}), set(), bytearray(), [[[[]]]], True, [1, 1.0, True],
]  # fmt: skip


# -- the encoding ---------------------------------------------------------------------------------


def test_json_is_faithful() -> None:
    for value in [*VALUES, *MORE]:
        stored = _homes.encode(value)
        text = to_json(stored)
        text.encode("ascii")
        assert from_json(json.loads(text)) == stored


def test_json_is_readable() -> None:
    for value, text in (
        (None, "null"), (1, "1"), (1.0, "1.0"), ("a", '"a"'), ([1, {"b": 2}], '[1, {"b": 2}]'),
        (b"\xff", '{"$bytes": "/w=="}'), ((1, "x"), '{"$tuple": [1, "x"]}'), ({1: 2}, '{"$dict": [[1, 2]]}'),
        (datetime.date(2024, 1, 2), '{"$date": "2024-01-02"}'), (decimal.Decimal("1.10"), '{"$decimal": "1.10"}'),
        (datetime.datetime(2024, 1, 2, 3, tzinfo=ZONE), '{"$datetime": "2024-01-02T03:00:00", "zone": "Europe/Berlin"}'),
        (fractions.Fraction(1, 3), '{"$fraction": "1/3"}'), (math.inf, '{"$float": "7ff0000000000000"}'),
        (uuid.UUID(int=5), '{"$uuid": "00000000-0000-0000-0000-000000000005"}'), ({1}, '{"$set": [1]}'),
        (datetime.timedelta(1, 2, 3), '{"$timedelta": [1, 2, 3]}'), (1 + 2j, '{"$complex": [1.0, 2.0]}'),
    ):  # fmt: skip
        assert to_json(_homes.encode(value)) == text


def test_what_cannot_be_made_here_is_kept_as_it_is() -> None:
    for value in (Plain(), Color.RED, [Plain()]):
        stored = _homes.encode(value, pickle=True)
        assert list(json.loads(to_json(stored))) == ["$encoded"]
        assert from_json(json.loads(to_json(stored))) == stored


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.datetimes()
        | st.characters(categories=["Cs"]),
        lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text("$a"), inner, max_size=3),
    )
)  # fmt: skip
def test_json_of_anything(value: Any) -> None:
    stored = _homes.encode(value)
    assert from_json(json.loads(to_json(stored))) == stored


@pytest.mark.parametrize(
    "text",
    ['{"$what": 1}', '{"$bytes": "?"}', '{"$bytes": 5}', '{"$tuple": 5}', '{"$dict": [[1, 2, 3]]}', '{"$dict": [5]}',
     '{"$date": "soon"}', '{"$timedelta": ["a"]}', '{"$decimal": "x"}', '{"$fraction": "1/0"}', '{"$uuid": "5"}',
     '{"$set": [[1]]}', '{"$complex": [1]}', '{"$float": "7f"}', '{"$bytes": "", "a": 1}', '{"$encoded": "", "a": 1}',
     '{"$datetime": "2024-01-01T00:00:00", "zone": "No/Where"}', '{"$datetime": 5}', '{"$time": "1", "fold": 2}',
     '{"$datetime": "2024-01-01T00:00:00", "what": 1}'],
)  # fmt: skip
def test_json_that_is_nothing(open_cask: OpenCask, tmp_path: Path, capsys: Output, text: str) -> None:
    lines = tmp_path / "lines"
    lines.write_text(f'{{"key": "a", "value": 1}}\n\n{{"key": "b", "value": {text}}}\n{{"key": "c", "value": 1}}\n')
    assert main(["load", str(tmp_path / "new"), str(lines)]) == 1
    assert capsys.readouterr().err.startswith("holdfast load: line 3: ")
    assert open_cask(tmp_path / "new") == {"a": 1}


# -- dump, load -----------------------------------------------------------------------------------


def test_dump_and_load(open_cask: OpenCask, tmp_path: Path, capsys: Output) -> None:
    c = open_cask(pickle=True)
    # Not those that are not equal to themselves, nor what repr() refuses.
    everything = [value for value in [*VALUES, *MORE] if type(value) not in (float, complex, decimal.Decimal, int)]
    c.update({("value", number): value for number, value in enumerate(everything)})
    c.update((key, number) for number, key in enumerate(KEYS))
    c["pickle"] = Plain()
    c.put("hour", 1, ttl=3600)
    c.put("moment", 1, ttl=0.4)
    c[True] = "the key as it was put last"
    path = c.path
    assert main(["dump", path]) == 0
    lines = capsys.readouterr().out
    assert len(lines.splitlines()) == len(c)
    file = tmp_path / "lines"
    assert main(["dump", path, str(file)]) == 0
    assert sorted(file.read_text().splitlines()) == sorted(lines.splitlines())
    assert main(["dump", path, str(file)]) == 1 and "exists" in capsys.readouterr().err
    time.sleep(0.5)

    assert main(["load", str(tmp_path / "again"), str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'again'}: {len(c)} put, 1 had expired\n" and err == ""
    again = open_cask(tmp_path / "again", pickle=True)
    assert again == c and again["pickle"] == Plain() and all(same(again["value", i], v) for i, v in enumerate(everything))
    assert any(key is True for key in again)
    left = again.info("hour").expires
    then = c.info("hour").expires
    assert left is not None and then is not None and abs(left - then) < datetime.timedelta(seconds=1)
    again.close()

    # Over what is there.
    assert main(["load", str(tmp_path / "again"), str(file)]) == 0
    assert open_cask(tmp_path / "again", pickle=True, mode="r") == c


def test_load_from_stdin(open_cask: OpenCask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    lines = "".join(f'{{"key": {i}, "value": "{i}"}}\n' for i in range(3000))
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["load", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new'}: 3,000 put\n"
    assert open_cask(tmp_path / "new") == {i: str(i) for i in range(3000)}


@pytest.mark.parametrize(
    "line",
    ["nonsense", "5", "[]", "{}", '{"key": 1}', '{"key": 1, "value": 2, "what": 3}', '{"key": [], "value": 2}', '{"key": NaN, "value": 1}',
     '{"key": 1, "value": 2, "expires": "soon"}', '{"key": 1, "value": 2, "expires": "2024-01-01T00:00:00"}',
     '{"key": 1, "value": 2, "expires": []}', '{"key": {"$encoded": "/w=="}, "value": 1}', '{"key": 1, "value": {"$encoded": ""}}'],
)  # fmt: skip
def test_lines_that_are_none(open_cask: OpenCask, tmp_path: Path, capsys: Output, line: str) -> None:
    file = tmp_path / "lines"
    file.write_text(line)
    assert main(["load", str(tmp_path / "new"), str(file)]) == 1
    assert capsys.readouterr().err.startswith("holdfast load: line 1: ")
    assert not open_cask(tmp_path / "new")


def test_a_pipe_that_closes(open_cask: OpenCask) -> None:
    c = open_cask()
    c.update({i: "x" * 1000 for i in range(1000)})
    done = subprocess.run(
        f"{sys.executable} -m holdfast dump {c.path} | head -2", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == "" and len(done.stdout.splitlines()) == 2


# -- the others -----------------------------------------------------------------------------------


def test_info(open_cask: OpenCask, capsys: Output) -> None:
    c = open_cask(max_file_size=1 << 14)
    for i in range(1500):
        c[i % 300] = "x" * 50
    assert main(["info", c.path]) == 0
    assert "keys       300" in capsys.readouterr().out
    c.close()
    assert main(["info", c.path]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{c.path}\n") and "keys       300" in out and "active" in out
    assert len([line for line in out.splitlines() if line.endswith(("KiB", " B"))]) >= 3
    assert main(["info", str(Path(c.path) / "no")]) == 1
    assert capsys.readouterr().err == f"holdfast info: there is no Cask {str(Path(c.path) / 'no')!r}\n"
    assert main(["info", str(Path(c.path).parent)]) == 1
    assert "holdfast info: " in capsys.readouterr().err


def test_merge(open_cask: OpenCask, tmp_path: Path, capsys: Output) -> None:
    c = open_cask(max_file_size=1 << 14, auto_merge=False)
    for i in range(3000):
        c[i % 300] = "x" * 50
    path, before = c.path, c.status().bytes
    assert main(["merge", path]) == 1
    assert "mode='r'" in capsys.readouterr().err
    c.close()
    assert main(["merge", path, "--all"]) == 0
    assert " files merged, " in capsys.readouterr().out
    assert main(["merge", str(tmp_path / "none")]) == 1 and not (tmp_path / "none").exists()
    c = open_cask(path)
    assert c.status().bytes < before / 3 and c == {i: "x" * 50 for i in range(300)}
    c.close()
    assert main(["merge", path]) == 0
    assert capsys.readouterr().out.endswith("no file is worth merging\n")


def test_check_and_salvage(open_cask: OpenCask, tmp_path: Path, capsys: Output) -> None:
    c = open_cask(max_file_size=1 << 14)
    c.update({i: f"some text that is found {i:5}" for i in range(1000)})
    path = c.path
    assert main(["check", path]) == 0
    assert capsys.readouterr().out == f"{path}: no fault found\n"
    assert main(["salvage", path, str(tmp_path / "saved")]) == 1
    assert not (tmp_path / "saved").exists() and "holdfast salvage: " in capsys.readouterr().err
    c.close()
    file = min(Path(path).glob("*.log"))
    data = file.read_bytes()
    at = data.index(b"some text that is found")
    file.write_bytes(data[:at] + b"X" + data[at + 1 :])
    assert main(["check", path]) == 1
    assert "holdfast check: file 1, byte" in capsys.readouterr().err
    assert main(["salvage", path, str(tmp_path / "saved")]) == 1
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'saved'}: 999 keys, something is lost\n" and "file 1, byte" in err
    assert main(["salvage", path, str(tmp_path / "saved")]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["salvage", str(tmp_path / "saved"), str(tmp_path / "more")]) == 0
    assert "999 keys, nothing is lost" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "more")]) == 0
    assert len(open_cask(tmp_path / "more")) == 999


def test_usage(capsys: Output) -> None:
    for args in (["dump"], ["salvage", "a"], ["info", "a", "b"], ["check", "--what", "a"]):
        with pytest.raises(SystemExit) as caught:
            main(args)
        assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    for name in ("info", "check", "salvage", "dump", "load", "merge"):
        assert name in out


def test_a_bar_on_a_terminal(open_cask: OpenCask, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    c = open_cask()
    c.update({i: "x" * 100 for i in range(5000)})
    mine, its = pty.openpty()
    file = tmp_path / "lines"
    for args in (["dump", c.path, str(file)], ["load", str(tmp_path / "new"), str(file)]):
        child = subprocess.Popen(
            [sys.executable, "-m", "holdfast", *args], stderr=its, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"}
        )
        assert child.wait(60) == 0
        shown = os.read(mine, 1 << 16).decode()
        assert "[" in shown and "5,000" in shown or "loading" in shown
        assert shown.endswith("\r\x1b[K")
    os.close(its)
    os.close(mine)
    assert open_cask(tmp_path / "new") == c
    assert isinstance(holdfast.__version__, str)
