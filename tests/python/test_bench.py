"""The benchmarks run, and get every result right: at tiny sizes, without the peers, which `make bench` installs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench() -> Iterator[None]:
    """The benchmark's own modules can be imported."""
    sys.path.insert(0, str(ROOT / "bench"))
    yield
    sys.path.pop(0)


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([True], "yes"),
        ([True, True], "yes"),
        ([False], "NO"),
        ([True, False], "NO, 1 of 2"),
        ([None], "no figure"),
        ([None, None], "no figure"),
        ([True, None], "yes, 1 without a figure"),
        ([False, None], "NO, 1 without a figure"),
        ([False, True, None], "NO, 1 of 2, 1 without a figure"),
    ],
)
def test_what_is_said_of_a_goal(bench: None, verdicts: list[bool | None], text: str) -> None:
    """A goal that was missed is never told as one without a figure."""
    from harness.report import count_text

    assert count_text(verdicts) == text


def test_a_quick_run(tmp_path: Path) -> None:
    results = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, ROOT / "bench/run.py", "--quick", "--only", "holdfast,dict", "--no-plot", "--json", results],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    report = json.loads(results.read_text())
    assert report["troubles"] == []
    ours = [case["outcomes"]["holdfast"] for case in report["results"] if "holdfast" in case["outcomes"]]
    lacking = [] if hasattr(holdfast, "Cask") else ["no Cask"]
    ours = [outcome for outcome in ours if outcome["note"] not in lacking]
    assert len(ours) > 100 and {outcome["status"] for outcome in ours} == {"ok"}
    assert {record["row"] for record in report["cask"]} >= {"put", "get, warm", "durable put, 64 threads", "YCSB F"}
    assert {record["row"] for record in report["region"]} >= {"get, a pin each", "pin and unpin"}
    shared = {case["row"] for case in report["results"] if case["row"].startswith("shared ")}
    assert len(shared) == 6


N = 2_000


@pytest.fixture
def data(bench: None) -> Any:
    from harness.data import Data

    return Data(N, "bytes", 1)


@pytest.mark.parametrize(
    ("mix", "first", "other", "part"),
    [("A", 0, 1, 0.5), ("B", 0, 1, 0.95), ("C", 0, 1, 1.0), ("D", 0, 2, 0.95), ("F", 0, 3, 0.5)],
)
def test_the_mixes_of_ycsb(data: Any, mix: str, first: int, other: int, part: float) -> None:
    from rows.shared_processes import operations

    amount = 10_000
    ops = operations(data, mix, 1, 4, amount, 0)
    kinds = Counter(kind for kind, _, _ in ops)
    assert set(kinds) <= {first, other}
    assert kinds[first] == pytest.approx(part * amount, abs=0.02 * amount)
    inserted = [k for kind, k, _ in ops if kind == 2]
    assert len(set(inserted)) == len(inserted) and not set(inserted) & set(data.keys)
    known = set(data.keys)
    for kind, k, v in ops:
        known |= {k} if kind == 2 else set()
        assert k in known and (v.startswith(k) and len(v) == 64 if kind in (1, 2) else v == b"")
    # Zipf's law: the first of n has a part of 1 / (1 + 1/2 ** 0.99 + ...), where in D it moves on with each insert.
    most = Counter(k for _, k, _ in ops).most_common(1)[0][1]
    if mix != "D":
        assert most == pytest.approx(amount / sum((i + 1) ** -0.99 for i in range(N)), rel=0.15)
        assert operations(data, mix, 2, 4, amount, 0) != ops != operations(data, mix, 1, 4, amount, 1)


def test_processes_insert_different_keys(data: Any) -> None:
    from rows.shared_processes import operations

    inserted = [k for who in range(4) for kind, k, _ in operations(data, "D", who, 4, 1_000, 0) if kind == 2]
    assert len(set(inserted)) == len(inserted) > 100


def test_what_processes_wrote_is_replayed(data: Any) -> None:
    """Any division into orders gives what one write after the other gives."""
    from rows.shared_processes import Team, batches, replay

    for orders in ([1], [3, 0, 4], [500, 7], [10_000]):
        team, state, wanted = Team(None, None), dict(data.oracle), dict(data.oracle)  # type: ignore[arg-type]
        for done in orders:
            replay(data, state, team, 1, 4, done)
        every = batches(data, 1, 4)
        for number in range(sum(orders)):
            for k, v in every[number % len(every)]:
                assert wanted[k] != v  # each write is a change
                wanted[k] = v
        assert state == wanted


def test_a_wrong_map_is_found(data: Any) -> None:
    from harness.row import FULL, SPOT, Mismatch
    from harness.shared import BY_NAME, expect_shared

    c = BY_NAME["dict"]
    m = dict(data.oracle)
    for effort in (SPOT, FULL):
        expect_shared(c, m, data.oracle, effort)
    m[data.keys[0]] = b"another"
    with pytest.raises(Mismatch):
        expect_shared(c, m, data.oracle, FULL)
    del m[data.keys[0]]
    with pytest.raises(Mismatch):
        expect_shared(c, m, data.oracle, SPOT)


def test_a_process_that_fails_or_dies_is_reported(data: Any) -> None:
    from harness.row import Mismatch
    from harness.shared import BY_NAME, Crew

    crew = Crew(BY_NAME["dict"], {}, 2, data, failing)
    assert crew.do(["right", "right"]) == [N, N]
    with pytest.raises(Mismatch, match="said so"):
        crew.do(["wrong", "right"])
    with pytest.raises(RuntimeError, match="KeyError"):
        crew.do(["right", "raise"])
    with pytest.raises(RuntimeError, match="has died"):
        crew.do(["die", "right"])
    crew.close()
    for process in crew.processes:
        process.join(60)
        assert process.exitcode is not None


def failing(member: Any, order: str) -> Any:
    """What the crew above does."""
    import os

    from harness.row import Mismatch

    if order == "wrong":
        raise Mismatch("said so")
    if order == "raise":
        raise KeyError(order)
    if order == "die":
        os._exit(1)
    return len(member.m)


def test_a_server_that_is_not_there_is_reported(bench: None) -> None:
    from dataclasses import replace

    from harness.contenders import installed
    from harness.shared import BY_NAME

    assert installed(BY_NAME["dict"]) == ("", None)
    _, trouble = installed(replace(BY_NAME["dict"], program="no-such-server"))
    assert trouble == "not installed (no no-such-server: apt-get install no-such-server)"


def test_slow_contenders_go_through_all_keys(data: Any) -> None:
    from harness.row import Case
    from harness.shared import BY_NAME
    from rows import BY_NAME as ROWS

    row: Any = ROWS["shared set"]
    case = Case(row.name, N, N, "bytes")
    c = BY_NAME["Manager"]
    seen = [k for _ in range(c.part) for k in row.part(c, case, data, data.keys)]
    assert sorted(seen) == sorted(data.keys)
    assert row.part(c, case, data, data.keys) == seen[: row.ops(c, case)]
    assert row.part(BY_NAME["dict"], case, data, data.keys) == data.keys


def test_the_rows_of_c_programs_are_chosen_by_name(bench: None) -> None:
    from harness.suites import ALL

    region, cask = ALL
    assert cask.named(["cask: put"]) == ["put"]
    assert cask.named([""]) == list(cask.groups) and region.named(["cask"]) == []
    assert region.named(["beside", "region: file"]) == ["beside", "file"]


@pytest.mark.parametrize("suite", ["region", "cask"])
def test_a_c_program_says_what_is_wrong(bench: None, suite: str, tmp_path: Path) -> None:
    from harness.suites import ALL

    found = next(each for each in ALL if each.name == suite)
    done = subprocess.run([found.program, "--quick", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 1 and "no such rows" in done.stderr and found.groups[-1] in done.stderr
    assert subprocess.run([found.program, "--rounds", "0"], capture_output=True).returncode == 1
    assert found.run(tmp_path / "absent", [], quick=True)[1] == f"the {suite} benchmark is not built"
    failed = tmp_path / "fails"
    failed.write_text('#!/bin/sh\necho \'{"row": "r", "goal": "<= 1 x", "figure": 1, "reached": true}\'\nexit 3\n')
    failed.chmod(0o700)
    records, trouble = found.run(failed, [], quick=True)
    assert len(records) == 1 and trouble == f"the {suite} benchmark ended with exit status 3"


@pytest.mark.parametrize("kind", ["bytes, 100 B", "bytes, 1 kB", "bytes, 10 kB", "str, 100 B"])
def test_keys_and_values_of_casks(bench: None, kind: str) -> None:
    from harness.data import Data, other_objects

    data = Data(50, kind, 1)
    width = {"100 B": 100, "1 kB": 1_000, "10 kB": 10_000}[kind.partition(", ")[2]]
    text = str if kind.startswith("str") else bytes
    everything = data.pairs + data.updates
    assert {type(k) for k, _ in everything} == {text} and {len(k) for k, _ in everything} == {16}
    assert {type(v) for _, v in everything} == {bytes} and {len(v) for _, v in everything} == {width}
    assert all(v.startswith(k if isinstance(k, bytes) else k.encode()) for k, v in everything)
    assert len({k for k, _ in data.pairs}) == 50 and len({v for _, v in everything}) == 100
    assert all(a == b and a is not b for a, b in zip(data.keys, other_objects(data.keys)))


@pytest.mark.parametrize("kind", ["bytes, 100 B", "str, 100 B"])
@pytest.mark.parametrize("name", ["pycask scheme", "os.pread"])
def test_what_stands_beside_a_cask_is_right(bench: None, name: str, kind: str) -> None:
    """And is found out where it is not."""
    from harness.cask import BY_NAME, Scheme
    from harness.contenders import NotOffered
    from harness.data import Data
    from harness.row import FULL, SPOT, Case, Mismatch
    from rows import BY_NAME as ROWS

    data, c = Data(N, kind, 1), BY_NAME[name]
    get, put = ROWS["cask get"], ROWS["cask put"]
    for row in (get, put):
        case = Case(row.name, N, N, kind)
        row.inputs(case, data)
        if row is put and name == "os.pread":
            with pytest.raises(NotOffered):
                c.compile(row.code(c, case), row.args, "test")
            continue
        run = c.compile(row.code(c, case), row.args, "test")
        for effort in (FULL, SPOT):
            args = row.prepare(c, case, data)
            row.check(c, case, data, args, run(**args), effort)
    args = get.prepare(c, case, data)
    m = args["m"]
    if isinstance(m, Scheme):
        m.put(data.keys[0], bytes(100))
    else:
        m[data.keys[0]] += 1
    with pytest.raises(Mismatch):
        get.check(c, case, data, args, None, FULL)


def test_keys_that_plyvel_cannot_have_are_encoded(bench: None) -> None:
    from harness.cask import BY_NAME
    from harness.row import Case
    from rows import BY_NAME as ROWS

    row = ROWS["cask get, other keys and values"]
    code = {kind: row.code(BY_NAME["plyvel"], Case(row.name, N, N, kind)) for kind in ("str, 100 B", "bytes, 1 kB")}
    assert "k.encode()" in code["str, 100 B"] and "encode" not in code["bytes, 1 kB"]


def test_the_plot_of_casks(bench: None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from harness import plot

    path = tmp_path / "cask.png"
    point = {"row": "get", "who": "cask", "size": 10, "unit": "ns", "median": 2.0, "p25": 1.0, "p75": 3.0}
    assert not plot.sizes([{"row": "put", "who": "cask"}], path, "") and not path.exists()
    assert plot.sizes([point, point | {"size": 100}, point | {"who": "lmdb"}], path, "") and path.stat().st_size > 1_000
