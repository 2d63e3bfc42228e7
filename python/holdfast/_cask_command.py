"""`python -m holdfast info|check|salvage|dump|load|merge PATH`: looking after casks."""

import argparse
import contextlib
import datetime
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

from .cask import Cask, CaskStatus, _salvage
from ._command import Bar, complain, printable, size_text, table, text_of

_LOT = 1000  # lines that load() makes a batch of

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def add(name: str, run: Any, text: str, description: str) -> argparse.ArgumentParser:
        parser = subparsers.add_parser(name, help=text, description=description)
        parser.add_argument("path", metavar="PATH", help="the folder of a cask")
        parser.set_defaults(run=run, command=name)
        return parser

    add("info", run_info, "what is in a cask", "Say what is in a cask, and how much of each of its log files still counts.")
    add("check", run_check, "verify a cask", "Read all of a cask, and say what is wrong with it. Exit status 1 if anything is.")
    parser = add(
        "salvage", run_salvage, "make a cask of what is whole in a damaged one",
        "Make a cask in the folder TO of every whole record in the folder PATH, which may be damaged anyhow, and which nobody "
        "may have open. Say what is lost; exit status 1 if anything is.",
    )  # fmt: skip
    parser.add_argument("to", metavar="TO", help="a folder that is not there yet")
    parser = add(
        "dump", run_dump, "write a cask as JSON lines", "Write every key and value of a cask, of one moment, as lines of JSON."
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="where to, instead of stdout; must not be there yet")
    parser = add(
        "load", run_load, "put JSON lines into a cask",
        "Put what dump has written into a cask, which is made if it is not there. Keys that are there get the new values.",
    )  # fmt: skip
    parser.add_argument("file", metavar="FILE", nargs="?", help="where from, instead of stdin")
    parser = add("merge", run_merge, "merge a cask's log files", "Give back the space of what no longer counts in a cask.")
    parser.add_argument("--all", action="store_true", help="every file with anything in it that does not count")


def stopping_well(run: Any) -> Any:
    """What goes wrong is said in a line."""

    def runs(args: argparse.Namespace) -> int:
        try:
            status: int = run(args)
        except BrokenPipeError:
            raise
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            return complain(args.command, text_of(error))
        return status

    return runs


def to_read(args: argparse.Namespace) -> "Cask[Any, Any]":
    return Cask(args.path, mode="r")


# -- info, check, salvage, merge ------------------------------------------------------------------------------


@stopping_well
def run_info(args: argparse.Namespace) -> int:
    with to_read(args) as cask:
        print("\n".join(describe(cask.path, cask.status())))
    return 0


def describe(path: str, status: CaskStatus) -> Iterable[str]:
    yield printable(path)
    yield f"  keys       {status.keys:,}"
    yield f"  log        {size_text(status.bytes)} in {len(status.files):,} files, of which {size_text(status.dead_bytes)} dead"
    yield f"  keydir     {size_text(status.keydir_bytes)}"
    yield f"  sequence   {status.sequence:,}, synced up to {status.synced:,}"
    if status.recovered:
        yield f"  recovered  it had not been closed; {size_text(status.cut)} cut off its end"
    if status.lost:
        yield f"  lost       {size_text(status.lost)} are damaged: see check"
    if status.broken:
        yield "  broken     a flush has failed"
    if not status.files:
        return
    rows = [("FILE", "", "RECORDS", "DEAD", "%", "SIZE", "DEAD")]
    rows += [
        (
            str(file.number),
            "active" if file.active else "merged" if file.merged else "",
            f"{file.keys:,}",
            f"{file.dead_keys:,}",
            f"{file.fragmentation}",
            size_text(file.bytes),
            size_text(file.dead_bytes),
        )
        for file in status.files
    ]
    yield ""
    yield from (f"  {line}" for line in table(rows))


@stopping_well
def run_check(args: argparse.Namespace) -> int:
    with to_read(args) as cask, Bar("checking") as bar:
        faults = cask._faults(bar)
    for fault in faults:
        complain(args.command, fault)
    if not faults:
        print(f"{printable(args.path)}: no fault found")
    return 1 if faults else 0


@stopping_well
def run_salvage(args: argparse.Namespace) -> int:
    with Bar("salvaging") as bar:
        faults = _salvage(args.path, args.to, bar)
    for fault in faults:
        complain(args.command, fault)
    with Cask[Any, Any](args.to, mode="r") as cask:
        print(f"{printable(args.to)}: {len(cask):,} keys, {'something is lost' if faults else 'nothing is lost'}")
    return 1 if faults else 0


@stopping_well
def run_merge(args: argparse.Namespace) -> int:
    to_read(args).close()  # it must be there
    worth: dict[str, Any] = {"fragmentation_trigger": 1, "fragmentation_threshold": 1} if args.all else {}
    with Cask[Any, Any](args.path, auto_merge=False, **worth) as cask:
        done = cask.merge()
    if done.files == 0:
        print(f"{printable(args.path)}: no file is worth merging")
    else:
        print(
            f"{printable(args.path)}: {done.files:,} files merged, {size_text(done.copied)} copied, "
            f"{size_text(done.dropped)} dropped"
        )
    return 0


# -- dump, load -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(name: str | None, mode: str, standard: IO[str]) -> Iterator[IO[str]]:
    if name is None:
        yield standard
    else:
        with open(name, mode, encoding="utf-8") as file:
            yield file


def moment_text(milliseconds: int) -> str | int:
    try:
        moment = _EPOCH + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return milliseconds
    return moment.isoformat(timespec="milliseconds")


def moment_of(shown: Any) -> int:
    if isinstance(shown, int):
        return shown
    if not isinstance(shown, str):
        raise ValueError(f"'expires' is {shown!r}, which is no time")
    moment = datetime.datetime.fromisoformat(shown)
    if moment.tzinfo is None:
        raise ValueError(f"'expires' is {shown!r}, without a time zone")
    return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)


@stopping_well
def run_dump(args: argparse.Namespace) -> int:
    from ._cask_json import to_json

    with (
        to_read(args) as cask,
        cask.snapshot() as snapshot,
        opened(args.file, "x", sys.stdout) as out,
        Bar("writing", beside=args.file is None) as bar,
    ):
        count = len(snapshot)
        for number, (key, value, expires) in enumerate(snapshot._iter_records(), 1):
            until = "" if expires is None else f', "expires": {json.dumps(moment_text(expires))}'
            out.write(f'{{"key": {to_json(key)}, "value": {to_json(value)}{until}}}\n')
            bar(number, count)
    return 0


@stopping_well
def run_load(args: argparse.Namespace) -> int:
    put = late = 0
    with (
        opened(args.file, "r", sys.stdin) as lines,
        Cask[Any, Any](args.path) as cask,
        cask.batch() as batch,
        Bar("loading") as bar,
    ):
        size, read = size_of(lines), 0
        for number, line in enumerate(lines, 1):
            read += len(line)
            if not line.strip():
                continue
            try:
                key, value, ttl = parsed(line)
                if ttl is not None and ttl <= 0:
                    late += 1
                    continue
                batch._put_encoded(key, value, ttl)
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                batch.commit()
                return complain(args.command, f"line {number}: {error}; what is before it is in the cask")
            put += 1
            if len(batch) >= _LOT:
                batch.commit()
                if size > 0:
                    bar(min(read, size), size)
    expired = f", {late:,} had expired" if late else ""
    print(f"{printable(args.path)}: {put:,} put{expired}")
    return 0


def size_of(lines: IO[str]) -> int:
    """Of a file; 0: who knows."""
    try:
        return os.fstat(lines.fileno()).st_size
    except (OSError, ValueError):
        return 0


def parsed(line: str) -> tuple[bytes, bytes, float | None]:
    """Key and value, encoded, and how many seconds are left."""
    from ._cask_json import from_json

    shown = json.loads(line)
    if not isinstance(shown, dict) or not {"key", "value"} <= shown.keys() <= {"key", "value", "expires"}:
        raise ValueError('this is no object with "key", "value" and perhaps "expires"')
    expires = shown.get("expires")
    left = None if expires is None else moment_of(expires) / 1000 - time.time()
    return from_json(shown["key"]), from_json(shown["value"]), left
